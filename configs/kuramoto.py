"""Kuramoto-Sivashinsky on 128 points: a chaotic PDE, forecast beyond its predictability limit."""

from ml_collections import ConfigDict

from ups_jax.config import base

LATER_STAGES = ("control", "diffusion", "student", "ensemble")
VARIANTS = ("default", "smoke")


def get_config(variant: str = "default") -> base.Config:
    """`default`: about nine Lyapunov times are evaluated. `smoke`: the same code in seconds."""
    cfg = base.get_config()
    cfg.pde = ConfigDict(dict(name="kuramoto"))
    cfg.data.update(cells=(128,), train=1024, val=64, test=128, steps=40, eval_steps=100)
    # Within one interval structures move by a few points. The mean is zero and conserved.
    spec = dict(name="resnet", width=48, blocks=2, dilations=(1, 2, 4, 1), zero_mean=True)
    cfg.operator = ConfigDict(spec)
    cfg.fit.operator.update(
        steps=12000, batch=16, lr=3e-3, warmup=300, steps_per_call=100, val_every=2000
    )
    cfg.fit.operator.update(unroll=(1,), phase_fractions=(1.0,))
    cfg.stages = ("operator", *LATER_STAGES)
    cfg.denoiser = ConfigDict(dict(name="resnet", width=32, dilations=(1, 2, 4)))
    # The state is fully observed, so the residual is predictable and members can feed it back.
    cfg.diffusion.update(steps=6, sigma_max=10.0, autoregressive=True)
    cfg.ensemble.antithetic = True
    cfg.fit.diffusion.update(steps=12000, batch=16, lr=2e-3, steps_per_call=100, val_every=2000)
    cfg.fit.student.update(steps=1500, batch=16, lr=1e-3, warmup=100, val_every=500)
    # Error growth decides the skill of a chaotic forecast: train members and control on rollouts.
    # Orthogonal updates need a third of AdamW's number for the same error.
    for stage in ("operator", "ensemble", "control"):
        cfg.fit[stage].optimizer = "muon"
    for stage in ("ensemble", "control"):
        cfg.fit[stage].update(batch=16, lr=2e-3, warmup=100, steps_per_call=50, val_every=4000)
        cfg.fit[stage].update(unroll=(2, 4), phase_fractions=(0.6, 0.4))
    # Validation of an ensemble is expensive: validate once, at the end of the schedule.
    cfg.fit.ensemble.update(steps=12000, val_every=12000)
    cfg.fit.control.match_flops_of = "ensemble"
    # The data come from this solver on the same points, so its error would be zero.
    forecasters = ("persistence", "mean", "operator", *LATER_STAGES)
    cfg.eval.update(forecasters=forecasters, select="best", batch=32)
    cfg.eval.horizons = (1.0, 10.0, 25.0, 50.0)
    if variant == "smoke":
        cfg.pde.points = 64
        cfg.data.update(cells=(64,), train=64, val=16, test=16, eval_steps=50)
        cfg.operator.update(width=12, blocks=1, dilations=(1, 2))
        cfg.fit.operator.update(steps=200, warmup=20, steps_per_call=50, val_every=100)
        cfg.denoiser.update(width=8, dilations=(1,))
        for stage in LATER_STAGES:
            cfg.fit[stage].update(steps=100, warmup=10, steps_per_call=50, val_every=100)
            cfg.fit[stage].update(unroll=(1,), phase_fractions=(1.0,))
        cfg.ensemble.num_trajectories = 16
        cfg.eval.update(batch=16, num_figures=1, selection_trajectories=16)
    return cfg
