"""Kolmogorov flow: chaotic two-dimensional turbulence under a steady force."""

from ml_collections import ConfigDict

from ups_jax.config import base, planes

VARIANTS = ("default", "gpu", "smoke")


def get_config(variant: str = "default") -> base.Config:
    """`default`: 64 x 64 points. `gpu`: a wider network. `smoke`: the same code in seconds."""
    cfg = base.get_config()
    cfg.pde = ConfigDict(dict(name="kolmogorov"))
    cfg.data.update(cells=(64, 64), steps=40, eval_steps=100, train=256, val=16, test=32)
    cfg.stages = ("operator", "ensemble", "control")
    # Error growth decides the skill of a chaotic forecast: train members and control on rollouts.
    for stage in ("ensemble", "control"):
        cfg.fit[stage].update(batch=4, lr=3e-4, warmup=50, steps_per_call=10, val_every=400)
        cfg.fit[stage].update(unroll=(2,), phase_fractions=(1.0,))
    cfg.fit.ensemble.steps = 400
    cfg.fit.control.match_flops_of = "ensemble"
    cfg.ensemble.update(members=4, num_trajectories=16)
    # The data come from the solver on 64 x 64 points: a solver row has half of them along an axis.
    simple = ("persistence", "mean", "coarse_solver")
    cfg.eval.update(forecasters=(*simple, *cfg.stages), coarsen=2, batch=8)
    cfg.eval.horizons = (1.0, 5.0, 10.0)
    planes.set_recipe(cfg, variant, dilations=(1, 2, 4, 1), steps=2000)
    cfg.operator.zero_mean = True
    if variant == "gpu":
        cfg.data.update(train=1024, val=64, test=128)
        cfg.operator.blocks = 3
        cfg.fit.ensemble.update(batch=32, steps=4000, val_every=4000)
        cfg.fit.control.batch = 32
    if variant == "smoke":
        cfg.pde.update(points=(24, 24), nu=0.05, mode=2)
        cfg.data.update(cells=(24, 24), steps=10, eval_steps=10)
        # Compilation takes most of the time: one stage less, and one step a window.
        cfg.stages = ("operator", "ensemble")
        cfg.fit.ensemble.update(steps=20, warmup=5, val_every=20, unroll=(1,))
        cfg.eval.forecasters = (*simple, *cfg.stages)
        cfg.ensemble.members = 2
        cfg.eval.update(context_frames=5, horizons=(1.0, 2.0))
    return cfg
