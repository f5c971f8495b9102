"""Network calls of one step of a forecast, of all members together."""

from ups_jax import diffusion as noising
from ups_jax.emulator import DiffusionSpec, Emulator, operator_calls
from ups_jax.forecast.deterministic import mirrors_of


def one_step(emulator: Emulator, members: int) -> int:
    """Return the calls of one step of an operator."""
    return operator_calls(emulator)


def symmetrized_calls(emulator: Emulator, members: int) -> int:
    """Return the calls of the operator's steps of all mirror images."""
    return 2 ** len(mirrors_of(emulator)) * operator_calls(emulator)


def ensemble_calls(emulator: Emulator, members: int) -> int:
    """Return the calls of the stochastic operator's step of each member."""
    return members * operator_calls(emulator)


def teacher_calls(
    emulator: Emulator, members: int, *, sampler: str | None = None, levels: int | None = None
) -> int:
    """Return the sampler's calls for each member, and the operator's for all or for each."""
    spec = emulator.diffusion
    assert spec is not None
    calls = noising.SAMPLERS[sampler or spec.sampler].calls(levels or spec.steps)
    return members * calls + _rollout_calls(emulator, spec, members)


def student_calls(emulator: Emulator, members: int, *, calls: int | None = None) -> int:
    """Return the student's calls for each member, and the operator's for all or for each."""
    spec = emulator.diffusion
    assert spec is not None
    return members * (calls or spec.student_steps) + _rollout_calls(emulator, spec, members)


def _rollout_calls(emulator: Emulator, spec: DiffusionSpec, members: int) -> int:
    return (members if spec.autoregressive else 1) * operator_calls(emulator)
