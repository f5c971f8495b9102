"""Semilinear equations on a periodic box, with coefficients of their own for each sample: ETDRK2.

Linear derivatives up to the fourth order and three quadratic terms contain Burgers, Korteweg-de
Vries, Kuramoto-Sivashinsky and Fisher's equation. Coefficients are the normalised difficulties of
APEBench (Koehler et al., 2024, section 3.1), and steps are those of exponax 0.1.0.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.arrays import per_channel
from ups_jax.pde.base import PDE, Law, grid_shape, random_translation, transport_laws
from ups_jax.pde.etdrk import quadrature_phi, real_phi
from ups_jax.pde.spectral import derivative_symbol, wave_vectors
from ups_jax.pde.symmetries import FLIPS, at_random, flipped, random_flip, swaps
from ups_jax.types import Array, Key

LINEAR = ("gamma0", "gamma1", "gamma2", "gamma3", "gamma4")
COEFFICIENTS = (*LINEAR, "quadratic", "convection", "gradient_norm")
GROWTH = (COEFFICIENTS.index("gamma0"), COEFFICIENTS.index("quadratic"))
"""Terms that change the spatial mean."""
FEATURE_UNITS = np.array([0.01, 1.0, 1.0, 1.0, 1.0, 0.01, 1.0, 1.0], np.float32)
"""Difficulties below which a network input is linear in them, and above which logarithmic."""


def make(
    *,
    points: int | Sequence[int] = 160,
    cells: int | Sequence[int] = 160,
    gamma0: float | Sequence[float] = 0.0,
    gamma1: float | Sequence[float] = 0.0,
    gamma2: float | Sequence[float] = 0.0,
    gamma3: float | Sequence[float] = 0.0,
    gamma4: float | Sequence[float] = 0.0,
    quadratic: float | Sequence[float] = 0.0,
    convection: float | Sequence[float] = 0.0,
    gradient_norm: float | Sequence[float] = 0.0,
    conservative: bool = True,
    modes: int = 5,
    nonnegative: bool = False,
    warmup: int = 0,
) -> PDE:
    """u_t = sum_j a_j D^j u + b0 u^2 + b1/2 D(u^2) + b2/2 |grad u|^2 on [0, 1), dt = 1.

    D^j is the sum of the j-th derivatives along the d axes, D^0 u = d u. The arguments are
    difficulties, a number each, or two between which it is uniform. With N points along each axis,
    gamma_j is a_j N^j 2^(j-1) d, gamma0 = a_0, quadratic = b0, convection = b1 N d, and
    gradient_norm = b2 N^2 d. `cond` is these eight numbers. The gradient norm loses its mean.
    Without `conservative`, the convection is b1 u Du. Initial fields are random waves up to
    wavenumber `modes` with zero mean and largest value 1; if `nonnegative`, they span 0 to 1.
    `warmup` steps precede the data, for chaos. More cells than points lower the error in space.
    """
    values = (gamma0, gamma1, gamma2, gamma3, gamma4, quadratic, convection, gradient_norm)
    given = dict(zip(COEFFICIENTS, values, strict=True))
    low, high = ranges(given)
    require_decay(low, high, "pde")
    n = square_grid(points)[0]
    if not 1 <= modes < n / 2 or warmup < 0:
        raise ValueError(
            f"pde.modes is {modes} and pde.warmup {warmup}; expected 1 to {(n - 1) // 2} modes, "
            "and a warm-up of 0 steps or more"
        )
    pde = between(low, high, points=points, cells=cells, conservative=conservative)
    draw = partial(initial, modes=modes, nonnegative=nonnegative)
    spec = dict(conservative=conservative, modes=modes, nonnegative=nonnegative, warmup=warmup)
    spec = dict(points=points, cells=cells, **given, **spec)
    return replace(pde, initial=draw, warmup=warmup, spec=spec)


def between(
    low: np.ndarray,
    high: np.ndarray,
    *,
    points: int | Sequence[int],
    cells: int | Sequence[int],
    conservative: bool = True,
) -> PDE:
    """Return the family with coefficients (8,) uniform between two ends. Raises ValueError."""
    shape = square_grid(points)
    n, ndim = shape[0], len(shape)
    scales = [1 / (n**j * 2 ** (j - 1) * ndim) for j in range(len(LINEAR))]
    scales = np.array([1.0, *scales[1:], 1.0, 1 / (n * ndim), 1 / (n**2 * ndim)])
    used = tuple(((low != 0) | (high != 0)).tolist())
    solver = dict(scales=scales, used=used, conservative=conservative)
    flips = [flip for flip, signs in FLIPS.items() if _is_closed(signs, low, high)]
    fixed = [f for f in flips if not any(u and s < 0 for u, s in zip(used, FLIPS[f], strict=True))]
    return PDE(
        name="semilinear",
        channels=("u",),
        cells=grid_shape(cells, ndim, "data.cells"),
        points=shape,
        extent=(1.0,) * ndim,
        dt=1.0,
        params=COEFFICIENTS,
        initial=partial(initial, modes=5, nonnegative=False),
        sample_cond=lambda key: jax.random.uniform(key, (8,), "float32") * (high - low) + low,
        step=partial(march, count=1, **solver),
        residual=partial(residual, **solver),
        march=partial(march, **solver),
        features=features,
        symmetries=(
            random_translation(ndim),
            *(partial(random_flip, flip=f) for f in flips),
            *map(at_random, swaps(ndim)),
        ),
        reflection=partial(flipped, flip=fixed[0], ndim=ndim) if fixed else None,
        conserves_mean=conserves_mean if any(used[i] for i in GROWTH) else None,
        natural_units=natural_units,
        spectral=True,
        linear_symbol=partial(_linear, scales=scales),
        phi=real_phi,
        laws=_laws(low, high, ndim),
    )


def features(cond: Array) -> Array:
    """Network inputs of difficulties (..., 8), which may span decades: like cond."""
    return jnp.arcsinh(cond / per_channel(jnp.asarray(FEATURE_UNITS), cond))


def nonlinear_features(cond: Array) -> Array:
    """Return `features` of the nonlinear terms, and zeros for those of the linear ones."""
    return features(cond).at[..., : len(LINEAR)].set(0)


def natural_units(cond: Array) -> tuple[Array, Array]:
    """Return the unit of fields (...) in which nonlinear difficulties (..., 8) are of size one.

    If u solves an equation, u / unit solves that with nonlinear coefficients times the unit. The
    sign of the unit makes the largest of them negative, as all of APEBench's are. Without nonlinear
    terms the unit is one.
    """
    sizes = (cond / per_channel(jnp.asarray(FEATURE_UNITS), cond))[..., len(LINEAR) :]
    size = jnp.sqrt(jnp.sum(sizes**2, -1))
    positive = jnp.max(sizes, -1) > -jnp.min(sizes, -1)
    unit = jnp.where(size > 0, jnp.where(positive, -1, 1) / jnp.where(size > 0, size, 1), 1)
    return unit, cond.at[..., len(LINEAR) :].multiply(unit[..., None])


def conserves_mean(cond: Array) -> Array:
    """Return True (...) where difficulties (..., 8) have no term of order zero."""
    return jnp.all(cond[..., np.array(GROWTH)] == 0, -1)


def square_grid(points: int | Sequence[int]) -> tuple[int, ...]:
    """Return the points along each axis. Raises ValueError unless they are equal."""
    shape = grid_shape(points, None, "pde.points")
    if len(set(shape)) > 1:
        equal = (shape[0],) * 2
        raise ValueError(f"pde.points is {points}; difficulties need equal axes, such as {equal}")
    return shape


def initial(
    key: Key, cond: Array, cells: tuple[int, ...], *, modes: int, nonnegative: bool
) -> Array:
    """Random waves up to wavenumber `modes` along each axis, scaled as in `make`: (*s, 1)."""
    both, half = np.r_[0 : modes + 1, -modes:0], np.arange(modes + 1)
    index = np.ix_(*[both] * (len(cells) - 1), half)
    shape = np.broadcast_shapes(*(axis.shape for axis in index))
    k_amplitude, k_phase = jax.random.split(key)
    amplitude = jax.random.uniform(k_amplitude, shape, "float32", -1.0, 1.0)
    phase = jax.random.uniform(k_phase, shape, "float32", 0.0, 2 * np.pi)
    waves = (amplitude * jnp.exp(1j * phase)).at[(0,) * len(cells)].set(0)
    spectrum = jnp.zeros((*cells[:-1], cells[-1] // 2 + 1), waves.dtype).at[index].set(waves)
    u = jnp.fft.irfftn(spectrum, cells)
    if nonnegative:
        u = u - jnp.min(u)
    return (u / jnp.max(jnp.abs(u)))[..., None]


def march(u: Array, cond: Array, count: int, **solver) -> Array:
    """Advance u (..., *s, 1) by one interval in `count` equal substeps of ETDRK2; differentiable.

    Cox and Matthews (2002), eq. 22. The increment of a conserved mean is exactly zero.
    """

    def one(v: Array, cond: Array) -> Array:
        linear, nonlinear = _tendencies(v.shape, cond, **solver)
        z = linear / count
        keep, (first, second) = jnp.exp(z), quadrature_phi(z)

        def body(w: Array, _: None) -> tuple[Array, None]:
            at_w = nonlinear(w) / count
            stage = keep * w + first * at_w
            return stage + second * (nonlinear(stage) / count - at_w), None

        start = jnp.fft.rfftn(v)
        return v + jnp.fft.irfftn(jax.lax.scan(body, start, length=count)[0] - start, v.shape)

    return _each(one, u, cond)


def residual(prev: Array, next: Array, cond: Array, **solver) -> Array:
    """Balance of two frames: trapezoidal rule in time, spectral in space. -> (..., *s, 1)."""

    def tendency(v: Array, cond: Array) -> Array:
        linear, nonlinear = _tendencies(v.shape, cond, **solver)
        w = jnp.fft.rfftn(v)
        return jnp.fft.irfftn(linear * w + nonlinear(w), v.shape)

    return next - prev - 0.5 * (_each(tendency, prev, cond) + _each(tendency, next, cond))


def _each(function, u: Array, cond: Array) -> Array:
    """Apply a function of fields (*s) and cond (p,) to each sample of u (..., *s, 1)."""
    space = u.shape[cond.ndim - 1 :]
    flat = jax.vmap(function)(u.reshape(-1, *space[:-1]), cond.reshape(-1, cond.shape[-1]))
    return flat.reshape(u.shape)


def _linear(k: Array, cond: Array, *, scales: np.ndarray) -> Array:
    """Symbol (*k, 1) of the linear part, for difficulties cond (8,)."""
    return derivative_symbol(k, (cond * jnp.asarray(scales, cond.dtype))[: len(LINEAR)])


def _tendencies(
    shape: tuple[int, ...],
    cond: Array,
    *,
    scales: np.ndarray,
    used: tuple[bool, ...],
    conservative: bool,
):
    """Return the linear symbol (*k), and the nonlinear terms as a function of spectra (*k)."""
    k = wave_vectors(shape, (1.0,) * len(shape), cond.dtype)
    b0, b1, b2 = (cond * jnp.asarray(scales, cond.dtype))[len(LINEAR) :]
    quadratic, convection, gradient = used[len(LINEAR) :]
    # Two thirds of the waves; a margin absorbs the rounding of k.
    cutoff = 2 * np.pi * np.array([2 / 3 * (n // 2) - 1 + 1e-3 for n in shape])
    kept = jnp.all(jnp.abs(k) < per_channel(jnp.asarray(cutoff, k.dtype), k), -1)
    derivative = 1j * jnp.moveaxis(k, -1, 0)
    slope = jnp.sum(derivative, 0)

    def nonlinear(w: Array) -> Array:
        low, total = kept * w, jnp.zeros_like(w)
        if quadratic or convection:
            v = jnp.fft.irfftn(low, shape)
            flux = 0.5 * b1 * slope if conservative else 0.0
            total = (b0 + flux) * jnp.fft.rfftn(v * v)
            if convection and not conservative:
                total = total + b1 * jnp.fft.rfftn(v * jnp.fft.irfftn(slope * low, shape))
        if gradient:
            slopes = jax.vmap(lambda d: jnp.fft.irfftn(d * low, shape))(derivative)
            norm = jnp.sum(slopes**2, 0)
            total = total + 0.5 * b2 * jnp.fft.rfftn(norm - jnp.mean(norm))
        return total

    return _linear(k, cond, scales=scales)[..., 0], nonlinear


def ranges(given: dict) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower and upper ends (8,) of the difficulties. Raises ValueError."""
    for name, value in given.items():
        ends = np.ravel(value).astype(float)
        if len(ends) not in (1, 2) or not np.isfinite(ends).all() or ends[0] > ends[-1]:
            raise ValueError(f"pde.{name} is {value}; expected a number, or two, the lower first")
    low, high = (np.array([np.ravel(v)[i] for v in given.values()], np.float32) for i in (0, -1))
    return low, high


def require_decay(low: np.ndarray, high: np.ndarray, name: str) -> None:
    """Raise ValueError unless short waves decay for all coefficients between low and high (8,)."""
    if high[4] > 0 or (high[4] == 0 and low[2] < 0):
        raise ValueError(
            f"{name}.gamma4 is up to {high[4]:g} and {name}.gamma2 from {low[2]:g}; short waves "
            "must decay: gamma4 below 0, or gamma4 = 0 and gamma2 of at least 0"
        )


def _is_closed(signs: np.ndarray, low: np.ndarray, high: np.ndarray) -> bool:
    """Return True if coefficients with these signs are of the same ranges."""
    return bool(np.all((signs > 0) | (low == -high)))


def _laws(low: np.ndarray, high: np.ndarray, ndim: int) -> dict[str, Law]:
    """Return the laws that hold for all coefficients in the ranges."""
    zero = dict(zip(COEFFICIENTS, (low == 0) & (high == 0), strict=True))
    laws = transport_laws(ndim)
    if not (zero["gamma0"] and zero["quadratic"]):
        return {}
    scalar = zero["gradient_norm"] and low[2] >= 0
    if scalar and low[2] > 0 and zero["gamma1"] and zero["gamma3"] and zero["gamma4"]:
        return laws
    # Of waves in motion, samples on a grid may exceed the first maximum.
    names = ("mass", "energy") if scalar and zero["convection"] else ("mass",)
    return {name: laws[name] for name in names}
