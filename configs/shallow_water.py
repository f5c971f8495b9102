"""PDEBench's radial dam break of shallow water, by our own finite volumes."""

from ml_collections import ConfigDict

from ups_jax.config import base, planes

VARIANTS = ("default", "gpu", "smoke")


def get_config(variant: str = "default") -> base.Config:
    """`default`: 64 x 64 means of 128 x 128 cells. `gpu`: all of them. `smoke`: in seconds."""
    cfg = base.get_config()
    cfg.pde = ConfigDict(dict(name="shallow_water"))
    cfg.data.update(cells=(128, 128), steps=100, train=64, val=8, test=32)
    # The water is at rest at first: without a floor its momentum would dominate the loss.
    cfg.fit.operator.loss_floor = 0.1
    cfg.eval.update(protocol="p10", batch=8, horizons=(0.2, 0.5, 0.9))
    planes.set_recipe(cfg, variant)
    if variant == "gpu":
        cfg.pde.points = (128, 128)
        cfg.data.update(train=800, val=50, test=100)
        cfg.operator.patch = 4
        # The solver on these points made the data.
        cfg.eval.forecasters = ("persistence", "mean", "coarse_solver", "operator")
    if variant == "smoke":
        cfg.pde.points = (16, 16)
        cfg.data.cells = (32, 32)
        cfg.eval.update(context_frames=5, horizons=(0.05, 0.1))
    return cfg
