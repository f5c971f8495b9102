"""PDEBench's radial dam break of shallow water, by our own finite volumes."""

from ml_collections import ConfigDict

from ups_jax.config import base

VARIANTS = ("default", "gpu", "smoke")


def get_config(variant: str = "default") -> base.Config:
    """`default`: 64 x 64 means of 128 x 128 cells. `gpu`: all of them. `smoke`: in seconds."""
    cfg = base.get_config()
    cfg.pde = ConfigDict(dict(name="shallow_water"))
    cfg.data.update(cells=(128, 128), steps=100, train=64, val=8, test=32)
    cfg.operator = ConfigDict(dict(name="resnet", width=48, blocks=2, dilations=(1, 2, 1), patch=2))
    cfg.fit.operator.update(steps=3500, batch=8, lr=2e-3, warmup=200, steps_per_call=10)
    cfg.fit.operator.update(val_every=700, unroll=(1, 2), phase_fractions=(0.7, 0.3))
    # The water is at rest at first: without a floor its momentum would dominate the loss.
    cfg.fit.operator.loss_floor = 0.1
    cfg.eval.update(protocol="p10", batch=8, horizons=(0.2, 0.5, 0.9))
    if variant == "gpu":
        cfg.pde.points = (128, 128)
        cfg.data.update(train=800, val=50, test=100)
        cfg.operator.update(width=96, patch=4)
        cfg.fit.operator.update(steps=20000, batch=32, steps_per_call=50, val_every=4000)
        cfg.eval.batch = 32
    if variant == "smoke":
        cfg.pde.points = (16, 16)
        cfg.data.update(cells=(32, 32), steps=20, train=16, val=4, test=4)
        cfg.operator.update(width=8, blocks=1, dilations=(1,), patch=2)
        cfg.fit.operator.update(steps=40, warmup=5, steps_per_call=20, val_every=20)
        cfg.eval.update(batch=4, num_figures=1, context_frames=5, horizons=(0.05, 0.1))
    return cfg
