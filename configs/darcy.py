"""Darcy flow on 64 x 64 points: from a permeability to the steady pressure, by FNO's law."""

from ml_collections import ConfigDict

from ups_jax.config import base

VARIANTS = ("default", "gpu", "smoke")


def get_config(variant: str = "default") -> base.Config:
    """`default`: minutes on two cores. `gpu`: 128 x 128 points, a wider network. `smoke`: seconds.

    A sample is one step from a field of zeros, with the permeability as a static channel. A file
    of pairs in `data.path`, such as PDEBench's, takes `--config configs/data.py`.
    """
    cfg = base.get_config()
    cfg.pde = ConfigDict(dict(name="darcy"))
    cfg.data.update(cells=(64, 64), steps=1, train=1000, val=100, test=200)
    # The solution at a point depends on all of the permeability, which coarse grids carry there.
    cfg.operator = ConfigDict(dict(name="unet"))
    update = cfg.fit.operator.update
    update(steps=3000, batch=8, lr=1e-3, warmup=200, steps_per_call=20, val_every=500)
    update(unroll=(1,), phase_fractions=(1.0,))
    # The data come from this solver on the same points, so its error would be zero.
    cfg.eval.update(forecasters=("mean_field", "operator"), context_frames=1, horizons=(1.0,))
    cfg.regression.metrics = ("eval/val/nrmse", "eval/rel_l2", "eval/mae")
    limit = 0.8 if variant == "smoke" else 0.25
    gate = base.gate("eval/rel_l2", max_ratio=limit, ratio_to="eval/mean_field/rel_l2")
    cfg.gates = ConfigDict(dict(skill=gate))
    if variant == "gpu":
        cfg.pde.points = (128, 128)
        cfg.data.cells = (128, 128)
        update(steps=20000, batch=32, steps_per_call=50, val_every=2000)
    if variant == "smoke":
        cfg.pde.points = (16, 16)
        cfg.data.update(cells=(16, 16), train=64, val=16, test=16)
        update(steps=200, warmup=20, steps_per_call=50, val_every=100)
        cfg.eval.num_figures = 1
    return cfg
