"""Decaying two-dimensional turbulence: vortices merge from random vorticity."""

from ml_collections import ConfigDict

from ups_jax.config import base

VARIANTS = ("default", "gpu", "smoke")


def get_config(variant: str = "default") -> base.Config:
    """`default`: 64 x 64 of 128 x 128 points. `gpu`: a wider network. `smoke`: in seconds."""
    cfg = base.get_config()
    cfg.pde = ConfigDict(dict(name="decaying_turbulence"))
    cfg.data.update(cells=(128, 128), steps=40, train=128, val=16, test=32)
    spec = dict(name="resnet", width=48, blocks=2, dilations=(1, 2, 4, 1), patch=2)
    cfg.operator = ConfigDict(spec)
    cfg.fit.operator.update(steps=3500, batch=8, lr=2e-3, warmup=200, steps_per_call=10)
    cfg.fit.operator.update(val_every=700, unroll=(1, 2), phase_fractions=(0.7, 0.3))
    cfg.eval.update(batch=8, horizons=(1.0, 2.0, 4.0))
    if variant == "gpu":
        cfg.data.update(train=1024, val=64, test=128)
        cfg.operator.update(width=96, blocks=3)
        cfg.fit.operator.update(steps=20000, batch=32, steps_per_call=50, val_every=4000)
        cfg.eval.batch = 32
    if variant == "smoke":
        cfg.pde.update(points=(16, 16), nu=0.05, low=1, high=2)
        cfg.data.update(cells=(16, 16), steps=20, train=16, val=4, test=4)
        cfg.operator.update(width=8, blocks=1, dilations=(1,), patch=2)
        cfg.fit.operator.update(steps=40, warmup=5, steps_per_call=20, val_every=20)
        cfg.eval.update(batch=4, num_figures=1, horizons=(0.5, 1.0))
    return cfg
