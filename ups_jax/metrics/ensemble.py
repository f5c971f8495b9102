"""Metrics of an ensemble: ENSEMBLE_METRICS, rank histogram and reliability.

Members are (b, m, t, *s, c), the truth is (b, t, *s, c), with free leading axes for `b`. Every
function raises ValueError if these shapes do not match.
"""

from collections.abc import Sequence
from functools import partial
from math import prod

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.arrays import floor_like, spatial_axes
from ups_jax.metrics.base import BANDS, Metric
from ups_jax.metrics.point import mse, nrmse
from ups_jax.pde.spectral import wavenumber_shells
from ups_jax.types import Array

NOMINAL_LEVELS = tuple(i / 10 for i in range(1, 10))
"""Nominal probabilities of the central intervals of a reliability diagram."""


def crps(members: Array, true: Array, ndim: int) -> Array:
    """Fair continuous ranked probability score in physical units. (b, m, t, *s, c) -> (b, t).

    mean_i |x_i - y| - sum_ij |x_i - x_j| / (2 m (m - 1)), averaged over space and channels. Its
    expectation does not depend on m; the value of one sample can be negative. For one member it is
    the absolute error. Ferro (2014); Zamo and Naveau (2018).
    """
    errors = members - _with_member_axis(members, true, ndim, least=1, name="crps")
    m = errors.shape[-3 - ndim]
    # Three axes: XLA's CPU code of a weighted sum along one of seven axes crashes (jaxlib 0.10.2).
    errors = errors.reshape(-1, m, prod(errors.shape[-2 - ndim :]))
    score = jnp.mean(jnp.abs(errors), 1)
    if m > 1:
        # Distances over i < j sum to sum_i (2 i - m + 1) x_(i), i from 0. Errors have the distances
        # of members but smaller values, so they lose fewer digits.
        weight = (2 * np.arange(m) - m + 1)[None, :, None] / (m * (m - 1))
        score -= jnp.sum(jnp.sort(errors, 1) * weight.astype(errors.dtype), 1)
    return _mean(score.reshape(true.shape), ndim)


def member_nrmse(members: Array, true: Array, ndim: int, *, floor: Array | float = 0.0) -> Array:
    """Mean of `nrmse` over members, the error of a single member. (b, m, t, *s, c) -> (b, t)."""
    y = _with_member_axis(members, true, ndim, least=1, name="member_nrmse")
    return jnp.mean(nrmse(members, jnp.broadcast_to(y, members.shape), ndim, floor=floor), -2)


def spread_squared(members: Array, true: Array, ndim: int) -> Array:
    """Unbiased variance of the members, averaged over space and channels. -> (b, t).

    Only the shape of the truth is used. Raises ValueError for fewer than two members.
    """
    _with_member_axis(members, true, ndim, least=2, name="spread_squared")
    return _mean(jnp.var(members, -3 - ndim, ddof=1), ndim)


def skill_squared(members: Array, true: Array, ndim: int) -> Array:
    """Squared error of the ensemble mean, averaged over space and channels. -> (b, t)."""
    _with_member_axis(members, true, ndim, least=1, name="skill_squared")
    return mse(jnp.mean(members, -3 - ndim), true, ndim)


def spread_skill(members: Array, true: Array, ndim: int) -> Array:
    """Stack (m + 1) / m times `spread_squared` and `skill_squared`. -> (b, t, 2).

    Both have the same expectation if truth and members are exchangeable: the sampling variance of
    the ensemble mean is 1/m. Raises ValueError for fewer than two members. Fortin et al. (2014).
    """
    spread = spread_squared(members, true, ndim)
    m = members.shape[-3 - ndim]
    return jnp.stack([(m + 1) / m * spread, skill_squared(members, true, ndim)], -1)


def rank_histogram(members: Array, true: Array, ndim: int) -> Array:
    """Fraction of points where the truth exceeds r members, r = 0 to m. -> (b, t, m + 1).

    A truth equal to some members counts equally for each rank it could take. NaN if a member or the
    truth is NaN. Uniform if truth and members are exchangeable. Hamill (2001).
    """
    y = _with_member_axis(members, true, ndim, least=1, name="rank_histogram")
    axis = -3 - ndim
    first = jnp.sum(members < y, axis)
    ties = jnp.sum(members == y, axis)
    weight = 1 / (1 + ties.astype(true.dtype))

    def fraction(rank: Array) -> Array:
        return _mean(weight * ((first <= rank) & (rank <= first + ties)), ndim)

    ranks = jax.vmap(fraction, out_axes=-1)(jnp.arange(members.shape[axis] + 1))
    # A comparison with NaN is false: a diverged member would count as above the truth.
    diverged = jnp.isnan(_mean(true + jnp.sum(members, axis), ndim))
    return jnp.where(diverged[..., None], jnp.nan, ranks)


def reliability(
    members: Array, true: Array, ndim: int, *, levels: Sequence[float] = NOMINAL_LEVELS
) -> Array:
    """Fraction of the truth within central intervals of nominal probability. -> (b, t, levels).

    A truth of rank r represents the interval [r, r + 1] / (m + 1); its part within (1 -+ level) / 2
    counts. An exchangeable truth therefore gives `level` for every m. A truth outside all members
    still gives max(0, 1 - (m + 1) (1 - level) / 2). Raises ValueError for fewer than two members:
    one member would give `level` for any truth.
    """
    _with_member_axis(members, true, ndim, least=2, name="reliability and coverage")
    m = members.shape[-3 - ndim]
    edges, half = np.arange(m + 2)[:, None] / (m + 1), np.asarray(levels) / 2
    within = np.minimum(edges[1:], 0.5 + half) - np.maximum(edges[:-1], 0.5 - half)
    counted = jnp.asarray((m + 1) * np.maximum(within, 0), true.dtype)
    ranks = rank_histogram(members, true, ndim)
    # The default product of accelerators has three digits.
    return jnp.matmul(ranks, counted, precision="highest")


def coverage(members: Array, true: Array, ndim: int, *, level: float) -> Array:
    """`reliability` at one nominal probability. -> (b, t)."""
    return reliability(members, true, ndim, levels=(level,))[..., 0]


def envelope_coverage(members: Array, true: Array, ndim: int) -> Array:
    """Fraction of the truth between the smallest and the largest member. -> (b, t).

    The nominal value is (m - 1) / (m + 1). Ties count as in `rank_histogram`. Raises ValueError for
    fewer than two members.
    """
    _with_member_axis(members, true, ndim, least=2, name="envelope_coverage")
    return jnp.sum(rank_histogram(members, true, ndim)[..., 1:-1], -1)


def spectrum_log_error(
    members: Array,
    true: Array,
    ndim: int,
    *,
    band: tuple[int, int | None],
    floor: Array | float = 0.0,
) -> Array:
    """Error in decades of the members' mean energy in a band of integer wavenumbers.

    |log10 mean_i E(x_i) - log10 E(y)|, averaged over channels: (b, m, t, *s, c) -> (b, t). For a
    deterministic forecast, use pred[:, None]. Energies are clipped from below at rounding error,
    eps^2 of the truth's total. NaN for a band beyond the grid.
    """
    _with_member_axis(members, true, ndim, least=1, name="spectrum_log_error")
    low, high = band
    shell, count = wavenumber_shells(true.shape[-1 - ndim : -1])
    in_band = (shell >= low) & (shell < (count if high is None else high))
    space = spatial_axes(ndim)

    def energy(u: Array) -> Array:
        power = jnp.square(jnp.abs(jnp.fft.fftn(u, axes=space) / shell.size))
        mask = in_band.reshape((1,) * (u.ndim - ndim - 1) + (*shell.shape, 1))
        return jnp.sum(power, space, where=mask) / 2

    limits = jnp.finfo(true.dtype)
    square = jnp.mean(jnp.square(true), space)
    total = jnp.maximum(square, floor_like(square, floor) ** 2) / 2
    least = jnp.maximum(limits.eps**2 * total, limits.tiny) if in_band.any() else jnp.nan
    forecast = jnp.mean(energy(members), -3)
    logs = [jnp.log10(jnp.maximum(e, least)) for e in (forecast, energy(true))]
    return jnp.mean(jnp.abs(logs[0] - logs[1]), -1)


def spread_skill_ratio(squares: Array) -> Array:
    """Root of mean spread over root of mean skill: `spread_skill` (n, t, 2) -> scalar, ideally 1.

    Values below 1 mean overconfidence. Means are over samples and times. NaN if both are zero.
    """
    spread, skill = jnp.sqrt(mean_over_samples(squares))
    return spread / skill


def mean_over_samples(values: Array) -> Array:
    """Mean of ranks or coverages over samples and times: (n, t, k) -> (k,)."""
    return jnp.mean(values, range(values.ndim - 1))


def _with_member_axis(members: Array, true: Array, ndim: int, *, least: int, name: str) -> Array:
    """Return the truth with a member axis, (b, 1, t, *s, c), after a check of the shapes."""
    axis = members.ndim - 3 - ndim
    if axis < 0 or members.shape[:axis] + members.shape[axis + 1 :] != true.shape:
        raise ValueError(
            f"members have shape {members.shape}, truth {true.shape}; expected (b, m, t, *s, c) "
            f"and (b, t, *s, c) with {ndim} space axes"
        )
    if members.shape[axis] < least:
        raise ValueError(
            f"{name} of {members.shape[axis]} members: expected at least {least}; score a single "
            "forecast by METRICS"
        )
    return jnp.expand_dims(true, axis)


def _mean(u: Array, ndim: int) -> Array:
    return jnp.mean(u, (*spatial_axes(ndim), -1))


ENSEMBLE_METRICS: dict[str, Metric] = {
    "crps": Metric(crps, np.mean, label="CRPS"),
    "spread_skill": Metric(spread_skill, spread_skill_ratio, ideal=1.0, label="spread/skill"),
    "coverage_50": Metric(partial(coverage, level=0.5), np.mean, ideal=0.5, label="coverage 50 %"),
    "coverage_90": Metric(partial(coverage, level=0.9), np.mean, ideal=0.9, label="coverage 90 %"),
    "inside": Metric(
        # Its ideal depends on the number of members, and a wide ensemble exceeds it.
        envelope_coverage,
        np.mean,
        higher_is_better=None,
        label="within the envelope",
    ),
    "member_nrmse": Metric(member_nrmse, np.mean, label="a member's nRMSE", relative=True),
    **{
        f"spectrum_log_error_{name}": Metric(
            partial(spectrum_log_error, band=band),
            np.mean,
            label=f"spectrum error {name}",
            relative=True,
        )
        for name, band in BANDS.items()
    },
}
"""Metrics of an ensemble by report key. To add one, write a function and a line."""
