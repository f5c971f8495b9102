"""APEBench's scenarios with data from exponax, an optional extra imported by `make`.

APEBench 0.1.1 and the extra require exponax 0.1.0; version 0.2 draws other initial conditions. So
does JAX since 0.5, from the same keys. The scenarios here draw as JAX did in 2024, when APEBench
was published: their arrays equal those of APEBench under `jax.threefry_partitionable(False)`.
"""

from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp

from ups_jax.arrays import spatial_axes
from ups_jax.pde import scenarios
from ups_jax.pde.base import (
    MASS_TOLERANCE,
    PDE,
    GalileanFrame,
    Law,
    grid_shape,
    random_translation,
    transport_laws,
)
from ups_jax.pde.etdrk import real_phi
from ups_jax.pde.keys import as_before_jax_0_5, published_sample_keys
from ups_jax.pde.spectral import Symbol, wave_vectors
from ups_jax.pde.symmetries import at_random
from ups_jax.types import Array, Key

INITIAL_MODES = 5
"""Wavenumbers of the initial conditions along each axis."""
EXTREMES_TOLERANCE = 1e-3
"""Growth of extremes and of total variation in simulated data that is always allowed."""


def make(
    *,
    scenario: str = "1d_diff_burgers",
    points: int | tuple[int, ...] | None = None,
    cells: int | tuple[int, ...] | None = None,
) -> PDE:
    """One of the 46 scenarios of APEBench (Koehler et al., 2024).

    `scenario` is a name of `scenarios.SCENARIOS`, such as "1d_diff_kdv". `points`: one number, or
    equal numbers for all axes; by default the published 160, in three dimensions 32. The solver is
    exponax's pseudo-spectral ETDRK2 on the points, so `cells` must equal `points`, and `step` takes
    this grid alone. No parameters: `cond` is (n, 0).
    Raises ValueError on an unknown scenario or without exponax.
    """
    spec = scenarios.find(scenario)
    ndim = int(scenario[0])
    points = scenarios.POINTS[ndim] if points is None else points
    shape = _grid(points, ndim)
    if cells is not None and grid_shape(cells, ndim, "data.cells") != shape:
        raise ValueError(f"data.cells is {cells}; it must equal pde.points, {points}")
    solver = stepper(scenario, shape[0])
    law = _initial(spec.initial, ndim, len(spec.channels))

    def initial(key: Key, cond: Array, cells: tuple[int, ...]) -> Array:
        with jax.numpy_rank_promotion("allow"):
            return jnp.moveaxis(law(cells[0], key=as_before_jax_0_5(key)), 0, -1)

    def step(u: Array, cond: Array) -> Array:
        return _channels_first(solver, u, ndim)

    symbol = _linear_symbol(solver)
    tendency = _tendency(solver, symbol, ndim)

    def residual(prev: Array, next: Array, cond: Array) -> Array:
        """Trapezoidal rule in time, spectral in space."""
        return (next - prev) / solver.dt - 0.5 * (tendency(prev) + tendency(next))

    translation = random_translation(ndim, periodic=spec.homogeneous)
    is_ks = scenario.endswith("diff_ks")
    return PDE(
        name="apebench",
        equation=scenario,
        channels=spec.channels,
        cells=shape,
        points=shape,
        extent=(solver.domain_extent,) * ndim,
        dt=solver.dt,
        params=(),
        initial=initial,
        warmup=spec.warmup,
        step=step,
        residual=residual,
        sample_keys=published_sample_keys,
        symmetries=(translation, *map(at_random, spec.maps)),
        reflection=spec.maps[-1] if spec.maps else None,
        galilean_frame=partial(_zero_mean_frame, axes=spatial_axes(ndim)) if is_ks else None,
        linear_symbol=symbol,
        phi=real_phi,
        convexity=solver.convection_scale if scenario == "1d_diff_burgers" else 0.0,
        laws=_laws(spec, shape),
        spec=dict(scenario=scenario, points=points, cells=cells),
    )


@lru_cache(maxsize=32)
def stepper(scenario: str, points: int, part: float = 1.0) -> Any:
    """Return exponax's stepper of a scenario on `points` along each axis, fields (c, *s).

    With a `part` below one its difficulties, or its dt, are multiplied by it: APEBench's coarse
    stepper has one half. Raises ValueError without exponax.
    """
    # exponax relies on rank promotion, here and in each call. Coefficients of the data's type,
    # float32, whatever JAX's default; concrete ones, also where a program is being traced.
    with jax.ensure_compile_time_eval(), jax.numpy_rank_promotion("allow"), jax.enable_x64(False):
        return scenarios.find(scenario).build(_exponax(), points, part)


def _grid(points: int | tuple[int, ...], ndim: int) -> tuple[int, ...]:
    shape = grid_shape((points,) * ndim if isinstance(points, int) else points, ndim, "pde.points")
    if len(set(shape)) > 1:
        raise ValueError(f"pde.points is {points}; exponax needs as many points along each axis")
    return shape


def _channels_first(function: Any, u: Array, ndim: int) -> Array:
    """Apply a function of fields (c, *s) to a field (..., *s, c)."""
    fields = jnp.moveaxis(u.reshape(-1, *u.shape[-1 - ndim :]), -1, 1)
    with jax.numpy_rank_promotion("allow"):
        return jnp.moveaxis(jax.vmap(function)(fields), 1, -1).reshape(u.shape)


def _linear_symbol(solver: Any) -> Symbol:
    """Return the Fourier symbol of the linear part, for any wave vectors."""
    single = getattr(solver, "stepper", solver)

    def symbol(k: Array, cond: Array) -> Array:
        derivative = jax.lax.complex(jnp.zeros_like(k), k)
        with jax.numpy_rank_promotion("allow"):
            return jnp.moveaxis(
                single._build_linear_operator(jnp.moveaxis(derivative, -1, 0)), 0, -1
            )

    return symbol


def _tendency(solver: Any, symbol: Symbol, ndim: int) -> Any:
    """Return u_t of the scenario's equation as a function of fields (..., *s, c)."""
    ex, points = _exponax(), solver.num_points
    integrator = getattr(solver, "stepper", solver)._integrator
    nonlinear = getattr(integrator, "_nonlinear_fun", None)
    extent = (solver.domain_extent,) * ndim

    def rate(u: Array) -> Array:
        spectrum = ex.fft(u, num_spatial_dims=ndim)
        growth = symbol(wave_vectors((points,) * ndim, extent, u.dtype), u)
        change = jnp.moveaxis(growth, -1, 0) * spectrum
        if nonlinear is not None:
            change = change + nonlinear(spectrum)
        return ex.ifft(change, num_spatial_dims=ndim, num_points=points)

    return lambda u: _channels_first(rate, u, ndim)


def _initial(name: str, ndim: int, channels: int) -> Any:
    """Return the generator of initial conditions (c, *s) of random waves or Gaussian blobs."""
    ic = _exponax().ic
    if name == "blobs":
        parts = [ic.RandomGaussianBlobs(ndim, one_complement=True), ic.RandomGaussianBlobs(ndim)]
        return ic.RandomMultiChannelICGenerator(parts)
    waves = ic.RandomTruncatedFourierSeries
    if name == "clamped_waves":
        part = ic.ClampingICGenerator(
            waves(ndim, cutoff=INITIAL_MODES, offset_range=(-0.5, 0.5)), limits=(0.0, 1.0)
        )
    else:
        part = waves(ndim, cutoff=INITIAL_MODES, offset_range=(0.0, 0.0), max_one=True)
    return ic.RandomMultiChannelICGenerator([part] * channels)


def _laws(spec: scenarios.Scenario, points: tuple[int, ...]) -> dict[str, Law]:
    ndim = len(points)
    known = transport_laws(ndim, mass_tolerance=MASS_TOLERANCE)
    # A wave that moves by part of a spacing has other values on the points than before.
    if (sampling := ndim * (INITIAL_MODES / points[0]) ** 2) > EXTREMES_TOLERANCE:
        for name in ("total_variation", "maximum", "minimum"):
            known[name] = known[name]._replace(tolerance=sampling)
    known["energy"] = known["energy"]._replace(tolerance=spec.energy_tolerance)
    axes, (low, high) = (*spatial_axes(ndim), -1), spec.bounds

    def excess(u: Array) -> Array:
        beyond = jnp.maximum(jnp.max(u, axes) - high, low - jnp.min(u, axes))
        return jnp.maximum(beyond, 0.0)

    def width(u: Array) -> Array:
        return jnp.full(u.shape[: u.ndim - len(axes)], high - low, u.dtype)

    known["bounds"] = Law(excess, "bounded", "max_principle_excess", width)
    return {name: known[name] for name in spec.laws}


def _zero_mean_frame(u: Array, *, axes: tuple[int, ...]) -> GalileanFrame:
    """Return u without its mean: if u solves the KS equation in gradient form, so does u + c."""
    mean = jnp.mean(u, axes, keepdims=True)
    return GalileanFrame(u - mean, lambda v: v + mean, lambda v: v - mean)


def _exponax() -> Any:
    try:
        import exponax
    except ModuleNotFoundError as error:
        raise ValueError(
            f"pde 'apebench' needs exponax ({error}); run pip install 'ups_jax[pde]'"
        ) from error
    return exponax
