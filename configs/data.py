"""Own data without an equation: `--config.data.path=own.npz` gives the grid, times and splits."""

from ml_collections import ConfigDict

from ups_jax.config import base

VARIANTS = ("default", "smoke")


def get_config(variant: str = "default") -> base.Config:
    """`default`: a small ResNet, minutes on two cores. `smoke`: the same code in seconds.

    Declared where they hold: `pde.boundary`, `pde.symmetries`, `pde.conserved`, `pde.vector`.
    """
    cfg = base.get_config()
    cfg.pde = ConfigDict(dict(name="data"))
    cfg.operator = ConfigDict(dict(name="resnet", width=48, blocks=2, dilations=(1, 2, 4, 1)))
    cfg.fit.operator.update(steps=6000, batch=16, warmup=300, steps_per_call=100, val_every=1000)
    cfg.eval.forecasters = ("persistence", "mean", "operator")
    # An operator that repeats the given frame has learnt nothing.
    skill = base.gate("eval/nrmse", max_ratio=0.8, ratio_to="eval/persistence/nrmse")
    cfg.gates = ConfigDict(dict(skill=skill))
    if variant == "smoke":
        cfg.operator.update(width=16, blocks=1, dilations=(1, 2))
        cfg.fit.operator.update(steps=200, warmup=20, steps_per_call=50, val_every=100)
        cfg.fit.operator.update(unroll=(1, 2), phase_fractions=(0.75, 0.25))
        cfg.eval.num_figures = 1
    return cfg
