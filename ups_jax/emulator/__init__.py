"""Emulators: a PDE and the networks that advance it, as static functions."""

from ups_jax.emulator.base import (
    TRANSFORMS,
    DiffusionSpec,
    Emulator,
    SearchSpec,
    network_boundary,
    network_sizes,
    operator_calls,
)
from ups_jax.emulator.base_steps import (
    BASE_STEPS,
    BaseStep,
    LearnedStep,
    base_step,
    is_exponential,
    knows_equation,
)
from ups_jax.emulator.params import (
    identity_stats,
    init,
    num_params,
    param_shapes,
    residual_scales,
)
from ups_jax.emulator.states import (
    fill_frames,
    fill_state,
    first_state,
    initial_state,
    last_frame,
    predicted,
    seen,
    state_channels,
    states,
    with_forcing,
    with_later_forcing,
)
from ups_jax.emulator.steps import (
    Denoiser,
    add_residual,
    fit_statistics,
    residual,
    scale_residual,
    step,
)
