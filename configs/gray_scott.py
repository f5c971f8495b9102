"""Gray-Scott patterns: six pairs of feed and kill rates, as in The Well."""

from ml_collections import ConfigDict

from ups_jax.config import base, planes

VARIANTS = ("default", "gpu", "smoke")


def get_config(variant: str = "default") -> base.Config:
    """`default`: 64 x 64 points. `gpu`: The Well's 128 x 128 on twice the length. `smoke`."""
    cfg = base.get_config()
    cfg.pde = ConfigDict(dict(name="gray_scott"))
    cfg.data.update(cells=(64, 64), steps=40, train=192, val=24, test=48)
    # The data come from the solver on these points: a solver row has half of them along an axis.
    forecasters = ("persistence", "mean", "coarse_solver", "operator")
    cfg.eval.update(forecasters=forecasters, batch=8, horizons=(50.0, 200.0, 400.0))
    planes.set_recipe(cfg, variant)
    if variant == "gpu":
        cfg.pde.update(points=(128, 128), length=2.0)
        cfg.data.update(cells=(128, 128), train=960, val=60, test=120)
        cfg.operator.blocks = 3
    if variant == "smoke":
        cfg.pde.update(points=(16, 16), length=0.25, warmup=2)
        cfg.data.cells = (16, 16)
        cfg.eval.horizons = (50.0, 100.0)
    return cfg
