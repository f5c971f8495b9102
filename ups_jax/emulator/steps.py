"""One interval of an emulator, by each kind of network."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np

from ups_jax.arrays import per_channel, spatial_axes
from ups_jax.data import check_task, condition, fit_normalizer, normalize
from ups_jax.data.missing import check_trajectories
from ups_jax.emulator.base import Emulator
from ups_jax.emulator.base_steps import LearnedStep
from ups_jax.emulator.params import residual_scales
from ups_jax.emulator.states import last_frame, next_state, normalize_state, predicted
from ups_jax.pde.base import GalileanFrame
from ups_jax.pde.spectral import ExponentialStep
from ups_jax.pde.symmetries import reflection_signs
from ups_jax.types import Array, Params, Trajectories

Denoiser = Callable[[Array, Array], Array]
"""Network of the residual with its context bound: x (..., *s, c), sigma features -> like x."""


def step(
    emulator: Emulator,
    params: Params,
    u: Array,
    cond: Array,
    z: Array | None = None,
    *,
    model: str = "operator",
) -> Array:
    """Advance a state u (..., *s, c) by one interval with a network, in physical units.

    A state has all channels of a frame, static ones included, or of several, as `states` returns,
    and the forcing of both ends of the step.
    cond: (..., p); z: noise (..., *s, noise) of a stochastic network; model: its entry of params.
    """
    frame, cond = _frame(emulator, u, cond)
    u_next = frame.from_frame(_predict(emulator, params, frame.u, cond, z, model=model))
    return next_state(emulator, u, u_next)


def add_residual(
    emulator: Emulator,
    params: Params,
    u: Array,
    u_next: Array,
    cond: Array,
    draw: Callable[[Denoiser, tuple[int, ...]], Array],
    *,
    model: str,
) -> Array:
    """Add a residual, sampled by `draw` with a denoiser, to the operator's step from u to u_next.

    u, u_next (..., *s, c), cond (..., p) -> like u, or with leading axes that `draw` adds. The
    denoiser takes x (..., *s, c) and sigma features (..., f); `draw` also gets the shape of x.
    """
    frame, cond = _frame(emulator, u, cond)
    forecast = frame.to_frame(predicted(emulator, u_next))
    denoiser = _bind_denoiser(emulator, params, frame.u, forecast, cond, model=model)
    residual = _unscale_residual(emulator, params["stats"], draw(denoiser, forecast.shape))
    u_next = frame.from_frame(forecast + _remove_mean(emulator, residual, cond))
    return next_state(emulator, u, u_next)


def residual(
    emulator: Emulator,
    params: Params,
    u: Array,
    u_next: Array,
    truth: Array,
    cond: Array,
    *,
    models: Sequence[str],
) -> tuple[Array, tuple[Denoiser, ...]]:
    """Return the truth minus the operator's step from u to u_next, in the operator's frame.

    States (..., *s, c), cond (..., p) -> the predicted channels of such a difference, and the
    denoiser of each model as in `add_residual`.
    """
    frame, cond = _frame(emulator, u, cond)
    forecast, true = (frame.to_frame(predicted(emulator, x)) for x in (u_next, truth))
    error = _remove_mean(emulator, true - forecast, cond)
    denoisers = tuple(
        _bind_denoiser(emulator, params, frame.u, forecast, cond, model=m) for m in models
    )
    return error, denoisers


def scale_residual(emulator: Emulator, stats: Params, residual: Array) -> Array:
    """Return a residual (..., *s, c) with unit deviation, after `DiffusionSpec.transform`."""
    scaled = residual / per_channel(stats["residual_std"], residual)
    if "asinh_std" not in residual_scales(emulator):
        return scaled
    return jnp.arcsinh(scaled) / per_channel(stats["asinh_std"], residual)


def _unscale_residual(emulator: Emulator, stats: Params, scaled: Array) -> Array:
    """Invert `scale_residual`."""
    if "asinh_std" in residual_scales(emulator):
        scaled = jnp.sinh(scaled * per_channel(stats["asinh_std"], scaled))
    return scaled * per_channel(stats["residual_std"], scaled)


def fit_statistics(emulator: Emulator, train: Trajectories) -> Params:
    """Return scales of the training split in the operator's frame, for `init`."""
    check_task(train, emulator.pde)
    check_trajectories(train, emulator.missing)

    def base(u: Array, cond: Array) -> Array:
        frame = _galilean_frame(emulator)(u)
        return frame.from_frame(frame.u if emulator.base is None else emulator.base(frame.u, cond))

    plain = emulator.base is None and not emulator.galilean
    stats = fit_normalizer(
        train,
        emulator.pde.features,
        base_step=None if plain else base,
        to_frame=(lambda u: _galilean_frame(emulator)(u).u) if emulator.galilean else None,
        units=emulator.pde.natural_units if emulator.natural_units else None,
    )
    if emulator.operator.equivariant:
        # The mean of fields and their mirror images.
        stats["mean"] = stats["mean"] * (1 + np.asarray(reflection_signs(emulator.pde), "f4")) / 2
    return stats


def _predict(
    emulator: Emulator, params: Params, u: Array, cond: Array, z: Array | None, *, model: str
) -> Array:
    """Return the field one interval later, both in the operator's frame."""
    stats, network = params["stats"], emulator.networks.get(model, emulator.operator)
    features = condition(stats, emulator.pde.features(cond))
    noise = () if z is None else (z,)

    def increment(u: Array, *base: Array) -> Array:
        inputs = jnp.concatenate([normalize_state(emulator, stats, u), *base], -1)
        scaled = network.apply(params[model], inputs, features, *noise)
        return _remove_mean(emulator, scaled * per_channel(stats["increment_std"], scaled), cond)

    start = predicted(emulator, u)
    base = emulator.base
    base = base.bind(params[model]) if isinstance(base, LearnedStep) else base
    if isinstance(base, ExponentialStep):
        return base.advance(start, cond, lambda stage: increment(next_state(emulator, u, stage)))
    if base is None:
        return start + increment(u)
    after = base(last_frame(emulator, u), cond)
    return predicted(emulator, after) + increment(u, predicted(emulator, normalize(stats, after)))


def _bind_denoiser(
    emulator: Emulator, params: Params, u: Array, u_next: Array, cond: Array, *, model: str
) -> Denoiser:
    """Bind a denoiser to the state, the field after it and the PDE parameters of its step."""
    stats = params["stats"]
    own = {name: predicted(emulator, stats[name]) for name in ("mean", "std")}
    context = [normalize_state(emulator, stats, u), normalize(own, u_next)]
    context = jnp.concatenate(context, -1)
    features = condition(stats, emulator.pde.features(cond))

    def network(x: Array, sigma_features: Array) -> Array:
        inputs = jnp.concatenate([features, sigma_features], -1)
        return emulator.networks[model].apply(params[model], x, context, inputs)

    return network


def _remove_mean(emulator: Emulator, increment: Array, cond: Array) -> Array:
    """Return an increment (..., b, *s, c) without its mean, where cond (b, p) conserves it."""
    pde = emulator.pde
    if not emulator.zero_mean:
        return increment
    mean = jnp.mean(increment, spatial_axes(pde.ndim), keepdims=True)
    if pde.conserves_mean is not None:
        kept = pde.conserves_mean(cond)
        leading = (1,) * (mean.ndim - pde.ndim - 1 - kept.ndim)
        mean = jnp.where(kept.reshape(*leading, *kept.shape, *(1,) * (pde.ndim + 1)), mean, 0)
    return increment - mean


def _frame(emulator: Emulator, u: Array, cond: Array) -> tuple[GalileanFrame, Array]:
    """Return a state in the operator's frame and units, and the parameters of its equation."""
    if not emulator.natural_units:
        return _galilean_frame(emulator)(u), cond
    assert emulator.pde.natural_units is not None
    unit, cond = emulator.pde.natural_units(cond)

    def times(v: Array, factor: Array) -> Array:
        leading = v.ndim - factor.ndim - emulator.pde.ndim - 1
        return v * factor.reshape(*(1,) * leading, *factor.shape, *(1,) * (emulator.pde.ndim + 1))

    frame = GalileanFrame(
        times(u, 1 / unit), lambda v: times(v, unit), lambda v: times(v, 1 / unit)
    )
    return frame, cond


def _galilean_frame(emulator: Emulator) -> Callable[[Array], GalileanFrame]:
    """Return the map into the operator's frame."""
    if not emulator.galilean:
        return lambda u: GalileanFrame(u, lambda v: v, lambda v: v)
    assert emulator.pde.galilean_frame is not None
    return emulator.pde.galilean_frame
