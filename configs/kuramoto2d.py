"""Kuramoto-Sivashinsky equation in two dimensions on 32 x 32 points: chaotic."""

from ml_collections import ConfigDict

from ups_jax.config import base, planes

VARIANTS = ("default", "gpu", "smoke")


def get_config(variant: str = "default") -> base.Config:
    """`default`: 100 intervals are evaluated. `gpu`: more data, a wider network. `smoke`."""
    cfg = base.get_config()
    cfg.pde = ConfigDict(dict(name="kuramoto2d"))
    cfg.data.update(cells=(32, 32), steps=40, eval_steps=100, train=512, val=32, test=64)
    # The data come from the solver on these points: a solver row has half of them along an axis.
    forecasters = ("persistence", "mean", "coarse_solver", "operator")
    cfg.eval.update(forecasters=forecasters, batch=16, horizons=(1.0, 5.0, 10.0))
    planes.set_recipe(cfg, variant, dilations=(1, 2, 4, 1))
    cfg.operator.update(zero_mean=True, patch=2 if variant == "smoke" else 1)
    if variant == "gpu":
        cfg.data.update(train=2048, val=128, test=256)
        cfg.operator.blocks = 3
    if variant == "smoke":
        cfg.pde.update(points=(16, 16), length=10.0)
        cfg.data.update(cells=(16, 16), eval_steps=20)
        # After 40 updates it is no better than persistence.
        cfg.fit.operator.update(steps=160, val_every=80)
        cfg.eval.horizons = (1.0, 2.0)
    return cfg
