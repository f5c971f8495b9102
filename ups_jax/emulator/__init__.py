"""A simulator: the PDE and the networks that stand for it, as static functions."""

from ups_jax.emulator.build import build
from ups_jax.emulator.steps import (
    Denoiser,
    Diffusion,
    Search,
    Simulator,
    count,
    identity_stats,
    init,
    model_step,
    operator_step,
    refined,
    residual,
    statistics,
)

__all__ = [
    "Denoiser",
    "Diffusion",
    "Search",
    "Simulator",
    "build",
    "count",
    "identity_stats",
    "init",
    "model_step",
    "operator_step",
    "refined",
    "residual",
    "statistics",
]
