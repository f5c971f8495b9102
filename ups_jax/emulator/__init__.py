"""Emulators: a PDE and the networks that advance it, as static functions."""

from ups_jax.emulator.base import (
    BASE_STEPS,
    BaseStep,
    DiffusionSpec,
    Emulator,
    SearchSpec,
    base_step,
    identity_stats,
    init,
    network_sizes,
    num_params,
)
from ups_jax.emulator.steps import (
    Denoiser,
    add_residual,
    fit_statistics,
    residual_target,
    step,
)
