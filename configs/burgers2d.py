"""Burgers equation of a velocity in two dimensions, two channels."""

from ml_collections import ConfigDict

from ups_jax.config import base, planes

VARIANTS = ("default", "gpu", "smoke")


def get_config(variant: str = "default") -> base.Config:
    """`default`: 64 x 64 of 128 x 128 points. `gpu`: a wider network. `smoke`: in seconds."""
    cfg = base.get_config()
    cfg.pde = ConfigDict(dict(name="burgers2d"))
    cfg.data.update(cells=(128, 128), steps=40, train=128, val=16, test=32)
    cfg.eval.update(batch=8, horizons=(0.5, 1.0, 2.0))
    planes.set_recipe(cfg, variant, dilations=(1, 2, 4, 1))
    if variant == "gpu":
        cfg.data.update(train=1024, val=64, test=128)
        cfg.operator.blocks = 3
    if variant == "smoke":
        cfg.pde.update(points=(16, 16), nu=0.05)
        cfg.data.cells = (32, 32)
        cfg.eval.horizons = (0.5, 1.0)
    return cfg
