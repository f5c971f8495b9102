"""PDEBench's reaction-diffusion system in two dimensions, between walls without flux."""

from ml_collections import ConfigDict

from ups_jax.config import base, planes

VARIANTS = ("default", "gpu", "smoke")


def get_config(variant: str = "default") -> base.Config:
    """`default`: 64 x 64 means of PDEBench's cells. `gpu`: all of them. `smoke`: in seconds.

    Samples are PDEBench's by their numbers: test 0 to 99, validation 100 to 199, training from 200.
    """
    cfg = base.get_config()
    cfg.pde = ConfigDict(dict(name="reaction_diffusion", points=(64, 64)))
    cfg.data.update(cells=(128, 128), steps=100, train=128, val=16, test=64)
    cfg.data.update(test_seed=0, val_seed=100, train_seed=200)
    # Ten given frames, as in PDEBench; fields are noise before.
    cfg.eval.update(protocol="p10", batch=8, horizons=(1.0, 2.0, 4.0))
    # In equal seconds, many updates of two windows of one step halve the error of few with eight.
    planes.set_recipe(cfg, variant, dilations=(1, 1, 1), steps=20000, batch=2)
    cfg.fit.operator.update(unroll=(1,), phase_fractions=(1.0,))
    if variant == "gpu":
        cfg.pde.points = (128, 128)
        cfg.data.update(train=800, val=50, test=100)
        cfg.operator.patch = 4
        # The solver on these points made the data.
        cfg.eval.forecasters = ("persistence", "mean", "coarse_solver", "operator", "symmetrized")
    if variant == "smoke":
        cfg.pde.points = (16, 16)
        cfg.data.cells = (32, 32)
        cfg.eval.update(context_frames=5, horizons=(0.25, 0.5))
    return cfg
