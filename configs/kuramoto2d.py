"""Kuramoto-Sivashinsky equation in two dimensions on 32 x 32 points: chaotic."""

from ml_collections import ConfigDict

from ups_jax.config import base

VARIANTS = ("default", "gpu", "smoke")


def get_config(variant: str = "default") -> base.Config:
    """`default`: 100 intervals are evaluated. `gpu`: more data, a wider network. `smoke`."""
    cfg = base.get_config()
    cfg.pde = ConfigDict(dict(name="kuramoto2d"))
    cfg.data.update(cells=(32, 32), steps=40, eval_steps=100, train=512, val=32, test=64)
    spec = dict(name="resnet", width=48, blocks=2, dilations=(1, 2, 4, 1), zero_mean=True)
    cfg.operator = ConfigDict(spec)
    cfg.fit.operator.update(steps=3500, batch=8, lr=2e-3, warmup=200, steps_per_call=10)
    cfg.fit.operator.update(val_every=700, unroll=(1, 2), phase_fractions=(0.7, 0.3))
    # The data come from this solver on the same points, so its error would be zero.
    forecasters = ("persistence", "mean", "operator")
    cfg.eval.update(forecasters=forecasters, batch=16, horizons=(1.0, 5.0, 10.0))
    if variant == "gpu":
        cfg.data.update(train=2048, val=128, test=256)
        cfg.operator.update(width=96, blocks=3)
        cfg.fit.operator.update(steps=20000, batch=32, steps_per_call=50, val_every=4000)
        cfg.eval.batch = 32
    if variant == "smoke":
        cfg.pde.update(points=(16, 16), length=10.0)
        cfg.data.update(cells=(16, 16), steps=20, eval_steps=20, train=16, val=4, test=4)
        cfg.operator.update(width=8, blocks=1, dilations=(1,), patch=2)
        cfg.fit.operator.update(steps=40, warmup=5, steps_per_call=20, val_every=20)
        cfg.eval.update(batch=4, num_figures=1, horizons=(1.0, 2.0))
    return cfg
