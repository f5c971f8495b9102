"""A simulator: the PDE and the networks that stand for it, as static functions."""

from ups_jax.emulator.build import build
from ups_jax.emulator.steps import (
    Denoiser,
    DiffusionSpec,
    Emulator,
    SearchSpec,
    add_residual,
    fit_statistics,
    identity_stats,
    init,
    num_params,
    residual_target,
    step,
)

__all__ = [
    "Denoiser",
    "DiffusionSpec",
    "SearchSpec",
    "Emulator",
    "build",
    "num_params",
    "identity_stats",
    "init",
    "step",
    "step",
    "add_residual",
    "residual_target",
    "fit_statistics",
]
