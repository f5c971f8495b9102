"""Linear advection with an exact solution: one dimension, or two with `:2d`."""

from ml_collections import ConfigDict

from ups_jax.config import base

VARIANTS = ("default", "2d", "smoke")


def get_config(variant: str = "default") -> base.Config:
    """`default`: 64 points. `2d`: 32 x 32 points. `smoke`: the same code in seconds."""
    cfg = base.get_config()
    cfg.pde = ConfigDict(dict(name="advection", points=(64,)))
    cfg.operator = ConfigDict(dict(name="fno", width=24, modes=8, layers=4))
    cfg.data.update(cells=(256,), train=512, val=64, test=200)
    cfg.fit.operator.update(steps=3000, warmup=200, val_every=500)
    if variant == "2d":
        cfg.pde.points = (32, 32)
        cfg.data.update(cells=(128, 128), steps=20, train=256, val=32, test=64)
        cfg.eval.update(batch=32, horizons=(0.5, 1.0))
    if variant == "smoke":
        cfg.pde.points = (32,)
        cfg.data.update(cells=(64,), steps=20, train=32, val=8, test=8)
        cfg.operator.update(width=8, modes=4, layers=2)
        cfg.fit.operator.update(steps=40, warmup=5, steps_per_call=20, val_every=20, unroll=(1, 2))
        cfg.fit.operator.phase_fractions = (0.5, 0.5)
        cfg.eval.update(batch=8, horizons=(0.5, 1.0))
    return cfg
