"""Forecasters: functions of one signature that continue a field in time."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.arrays import as_float32, as_key, check_field
from ups_jax.data.missing import MASK
from ups_jax.diffusion import SAMPLERS
from ups_jax.emulator import (
    Emulator,
    fill_frames,
    initial_state,
    predicted,
    states,
    step,
    with_later_forcing,
)
from ups_jax.forecast import beam_search, costs, deterministic, ensembles
from ups_jax.forecast.base import Forecast, Forecaster, run_each, sample_keys
from ups_jax.forecast.forcing import check_start, input_channels, start_state
from ups_jax.registry import lookup
from ups_jax.sharding import Mesh, map_samples
from ups_jax.types import Array, Key, Params

COUNT_OPTIONS = ("members", "calls", "levels", "beams", "candidates", "coarsen")
"""Options that are whole numbers of at least one."""


def is_deterministic(mode: str) -> bool:
    """Return whether a forecaster is evaluated on the whole split, in the main table."""
    return mode != "ttc" and not FORECASTERS[mode].stochastic


def _never(forecasters: tuple[str, ...]) -> bool:
    return False


def _autoregressive(emulator: Emulator) -> bool:
    return emulator.diffusion is not None and emulator.diffusion.autoregressive


MEMBERS = {"members": "ensemble.members", "antithetic": "ensemble.antithetic"}
FORECASTERS: dict[str, Forecaster] = {
    "persistence": Forecaster(deterministic.persistence, note="the given frame"),
    "mean": Forecaster(deterministic.mean, note="spatial mean of the given frame"),
    "mean_field": Forecaster(deterministic.mean_field, note="mean solution in the training split"),
    "solver": Forecaster(
        deterministic.solver,
        note="the scheme of regenerated data, on the evaluation grid",
        solver=True,
    ),
    "coarse_solver": Forecaster(
        deterministic.coarse_solver,
        note="the scheme of regenerated data, on a coarser grid",
        solver=True,
        settings={"coarsen": "eval.coarsen"},
    ),
    "operator": Forecaster(deterministic.operator, ("operator",), "learned", costs.one_step),
    "symmetrized": Forecaster(
        deterministic.symmetrized,
        ("operator",),
        "learned; mean over mirror images",
        costs.symmetrized_calls,
    ),
    "control": Forecaster(
        deterministic.control,
        ("control",),
        "learned; the operator trained on",
        costs.one_step,
        selectable=_never,
    ),
    "diffusion": Forecaster(
        ensembles.diffusion,
        ("operator", "diffusion"),
        "learned; mean of members",
        costs.teacher_calls,
        stochastic=True,
        settings={**MEMBERS, "temperature": "diffusion.temperature"},
        own_rollouts=_autoregressive,
        # A teacher is not selected where its cheaper student is in use.
        selectable=lambda forecasters: "student" not in forecasters,
    ),
    "student": Forecaster(
        ensembles.student,
        ("operator", "student"),
        "learned; mean of members",
        costs.student_calls,
        stochastic=True,
        settings={**MEMBERS, "temperature": "diffusion.student_temperature"},
        own_rollouts=_autoregressive,
    ),
    "ensemble": Forecaster(
        ensembles.ensemble,
        ("ensemble",),
        "learned; mean of members",
        costs.ensemble_calls,
        stochastic=True,
        settings={**MEMBERS, "temperature": "ensemble.temperature"},
    ),
    "ttc": Forecaster(
        beam_search.ttc,
        ("operator",),
        "learned; test-time search by physics",
        beam_search.search_calls,
        selectable=_never,
    ),
}


def nudged_analysis(
    emulator: Emulator, params: Params, frames: Array, cond: Array, *, gain: float | None
) -> Array:
    """Return the initial state of a forecast after frames (b, t, *s, c) -> (b, *s, c).

    The operator runs from the first frame and is nudged to each later one by `gain`: 1 returns the
    last frame, 0 the operator's forecast of it from the first. Missing values nudge nothing: there
    the operator's forecast stays. None is 1 without an operator: they are filled by `fill_frames`.
    Nudging; Hoke and Anthes (1976).
    """
    if gain is None or (gain == 1 and emulator.missing != MASK):
        return states(emulator, fill_frames(emulator, frames))[:, -1]
    c = len(emulator.pde.channels)

    def body(u: Array, frame: Array) -> tuple[Array, None]:
        u = step(emulator, params, u, cond)
        # Earlier frames of a state were nudged in their own time, other inputs are known.
        now = predicted(emulator, u)
        goal = predicted(emulator, frame)
        if emulator.missing == MASK:
            goal = jnp.where(jnp.isnan(goal), now, goal)
        now = now + gain * (goal - now)
        return now if u.shape[-1] == c else u.at[..., :c].set(now), None

    start = fill_frames(emulator, frames[:, :1])[:, 0]
    first = with_later_forcing(emulator, initial_state(emulator, start), frames)
    return jax.lax.scan(body, first, jnp.moveaxis(frames[:, 1:], 1, 0))[0]


def forecast(
    emulator: Emulator,
    params: Params,
    u0: Any,
    cond: Any,
    key: Key | int,
    *,
    steps: int,
    forecaster: str,
    forcing: Any = None,
    mesh: Mesh | None = None,
    check: bool = True,
    **options: Any,
) -> Forecast:
    """Continue u0 (b, *s, c) for `steps` intervals by a name of FORECASTERS -> u (b, steps, *s, c).

    Fields are in physical units; cond (b, p). u0 has the static and forcing channels too; it is a
    frame, which an emulator with `history` repeats, or a state, as `states` returns. `forcing`
    (b, steps, *s, f), or (b, steps, f) if it is constant in space, is that of the frames after u0.
    NaN in predicted channels of u0 are missing values, which an emulator that masks them fills.
    Sample i has a key of its own: `key`, which may be a seed, with i folded in, or entry i of keys
    (b,). The devices of `mesh` share the samples, if it divides their number. Without `check` the
    values of u0 are not looked at, which would wait for the device. `options` are the forecaster's
    own, such as `members=8`. Raises ValueError on an unknown name, option or sampler, a wrong
    shape, a number out of range, missing forcing, values that are not finite, and a forecaster
    whose networks were not trained.
    """
    key, on_host = as_key(key), not isinstance(u0, jax.Array)
    if check and on_host:
        check_start(emulator, u0)
    run = lookup(FORECASTERS, forecaster, "forecaster").run
    pde, channels = emulator.pde, input_channels(emulator, int(np.shape(u0)[-1]))
    check_field(u0, ndim=pde.ndim, channels=channels, name="u0", cond=cond, params=len(pde.params))
    if steps < 1:
        raise ValueError(f"steps is {steps}; a forecast needs at least one")
    require_trained(forecaster, params)
    # Numbers and names are static: another number of members is another program.
    fixed = tuple(sorted(_all_options(forecaster, options).items()))
    given, cond = u0, as_float32(cond)
    u0 = start_state(emulator, as_float32(u0), forcing, steps=steps)
    keys = key if key.shape else sample_keys(key, np.arange(len(u0)))
    mesh = mesh if mesh is None or len(u0) % mesh.size == 0 else None
    own = _own_params(forecaster, params)
    result = _compiled(emulator, run, steps, fixed, mesh, own, u0, cond, keys)
    if check and not on_host:
        check_start(emulator, given)  # copied while the device computes
    return result


def forecast_program(
    emulator: Emulator, params: Params, forecaster: str, *, steps: int, **options: Any
) -> tuple[Callable[[Params, Array, Array, Key], Forecast], Params]:
    """Return a forecast as a function of (params, u0, cond, keys), and the parameters that it uses.

    Each sample has a key: u0 (b, *s, c), cond (b, p), keys (b,). Raises ValueError as `forecast`.
    """
    run = lookup(FORECASTERS, forecaster, "forecaster").run
    require_trained(forecaster, params)
    fixed = _all_options(forecaster, options)

    def program(params: Params, u0: Array, cond: Array, keys: Key) -> Forecast:
        return run_each(run, emulator, params, u0, cond, keys, steps=steps, **fixed)

    return program, _own_params(forecaster, params)


def calls_per_step(
    emulator: Emulator, mode: str, *, members: int = ensembles.NUM_MEMBERS, **options: Any
) -> int:
    """Return the network calls of one step of a forecast, of all members together."""
    count = FORECASTERS[mode].calls
    known = inspect.signature(count).parameters
    return count(emulator, members, **{k: v for k, v in options.items() if k in known})


def require_trained(mode: str, trained: Mapping[str, Any]) -> None:
    """Raise ValueError if a stage of the forecaster is not among those `trained`."""
    missing = [model for model in FORECASTERS[mode].stages if model not in trained]
    if missing:
        raise ValueError(
            f"forecaster {mode!r} needs stage {missing[0]!r}, which was not trained; "
            "add it to stages, or use another forecaster"
        )


def _own_params(mode: str, params: Params) -> Params:
    """Return the parameters that a forecaster uses: it is not compiled again for more networks."""
    # A search also uses the network that its config names.
    names = params if mode == "ttc" else ("stats", *FORECASTERS[mode].stages)
    return {name: params[name] for name in names if name in params}


def _all_options(mode: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a forecaster's options and the defaults of all others, after checks."""
    parameters = inspect.signature(FORECASTERS[mode].run).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    for name, value in options.items():
        if name not in defaults:
            allowed = ", ".join(defaults) or "none"
            raise ValueError(f"forecaster {mode!r} has no option {name!r}; allowed: {allowed}")
        if name == "sampler":
            lookup(SAMPLERS, value, "sampler")
        elif name == "temperature" and not value >= 0:
            raise ValueError(f"temperature is {value}; noise is scaled by a number of at least 0")
        elif name in COUNT_OPTIONS and value is not None and value < 1:
            raise ValueError(f"{name} is {value}; {mode} needs at least one")
    return defaults | dict(options)


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _compiled(
    emulator: Emulator,
    run: Callable[..., Forecast],
    steps: int,
    options: tuple[tuple[str, Any], ...],
    mesh: Mesh | None,
    params: Params,
    u0: Array,
    cond: Array,
    keys: Key,
) -> Forecast:
    def share(params: Params, u0: Array, cond: Array, keys: Key) -> Forecast:
        return run_each(run, emulator, params, u0, cond, keys, steps=steps, **dict(options))

    return map_samples(mesh, share)(params, u0, cond, keys)
