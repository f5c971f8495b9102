"""Several semilinear equations on one grid, whose coefficients the network receives in `cond`.

Initial conditions and their keys are those of APEBench (Koehler et al., 2024), whose arrays the ten
scenarios in one dimension reproduce, with 160 points and cells, up to rounding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.pde.base import PDE, random_translation
from ups_jax.pde.keys import published_sample_keys
from ups_jax.pde.semilinear import (
    COEFFICIENTS,
    between,
    conserves_mean,
    features,
    nonlinear_features,
    ranges,
    require_decay,
)
from ups_jax.pde.symmetries import FLIPS, at_random, random_flip, swaps
from ups_jax.registry import lookup
from ups_jax.types import Array, Key

OWN = "own"
"""Name of the equation whose coefficients are arguments."""
INITIAL_MODES = 5
"""Wavenumbers of the initial conditions along each axis."""


INPUTS = {"all": features, "nonlinear": nonlinear_features, "none": jnp.zeros_like}
"""Inputs of networks by the name of the coefficients that determine them."""


class Equation(NamedTuple):
    """One equation: difficulties (k, 8), a row drawn for each sample, and its first frame.

    If `uniform`, the two rows are the ends of ranges. Random waves have zero mean and the largest
    value `amplitude`, or if `nonnegative` they span 0 to that; `warmup` steps precede the data.
    Samples for which the solver fails are drawn anew, at most `redraws` times.
    """

    settings: np.ndarray
    uniform: bool = False
    nonnegative: bool = False
    warmup: int = 0
    amplitude: float = 1.0
    redraws: int = 0


def settings(**values: float | Sequence[float]) -> np.ndarray:
    """Return all combinations (k, 8) of the values of named coefficients; the others are zero."""
    lists = [np.ravel(values.get(name, 0.0)).tolist() for name in COEFFICIENTS]
    return np.array(list(product(*lists)), np.float32)


def _logistic(rates: Sequence[float], diffusion: Sequence[float]) -> np.ndarray:
    """Return settings of u_t = r u (1 - u) + diffusion."""
    rows = settings(gamma0=rates, gamma2=diffusion)
    rows[:, COEFFICIENTS.index("quadratic")] = -rows[:, 0]
    return rows


def _ml4ps(count: str, kdv: Mapping, ks: Mapping, rates, diffusion, adv: Mapping) -> dict:
    return {
        # At the weakest diffusion the solver diverges from one initial condition in a hundred.
        f"kdv_{count}": Equation(settings(**kdv), redraws=4),
        # It diverges from larger waves at some settings, not from the chaos that they become.
        f"ks_cons_{count}": Equation(settings(**ks), warmup=500, amplitude=0.5),
        f"fisher_{count}": Equation(_logistic(rates, diffusion), nonnegative=True),
        f"adv_diff_{count}": Equation(settings(**adv)),
    }


_line = np.linspace
EQUATIONS: dict[str, Equation] = {
    "adv": Equation(settings(gamma1=-4.0)),
    "diff": Equation(settings(gamma2=4.0)),
    "adv_diff": Equation(settings(gamma1=-4.0, gamma2=4.0)),
    "disp": Equation(settings(gamma3=4.0)),
    "hyp_diff": Equation(settings(gamma4=-4.0)),
    "burgers": Equation(settings(convection=-1.5, gamma2=1.5)),
    "kdv": Equation(settings(convection=-2.0, gamma3=-14.0, gamma4=-9.0)),
    "ks": Equation(settings(gradient_norm=-6.0, gamma2=-1.2, gamma4=-15.0), warmup=500),
    "ks_cons": Equation(settings(convection=-1.0, gamma2=-2.0, gamma4=-18.0), warmup=500),
    "fisher": Equation(_logistic([0.02], [0.2]), nonnegative=True),
    **_ml4ps(
        "coarse",
        dict(convection=(-2, -1.5, -1), gamma3=(-20, -13, -7), gamma4=(-9, -6, -3)),
        dict(convection=(-2, -1.5, -1), gamma2=(-2, -1.25, -0.5), gamma4=(-27, -20, -12)),
        (0.05, 0.03, 0.01),
        (0.2, 2.5, 5.0),
        dict(gamma1=(-4, 0, 4), gamma2=(2, 5, 8)),
    ),
    **_ml4ps(
        "fine",
        dict(convection=_line(-2, -1, 6), gamma3=_line(-20, -7, 8), gamma4=_line(-9, -3, 6)),
        dict(convection=_line(-2, -1, 6), gamma2=_line(-2, -0.5, 6), gamma4=_line(-27, -12, 8)),
        _line(0.01, 0.05, 6),
        _line(0.2, 5, 8),
        dict(gamma1=_line(-4, 4, 8), gamma2=_line(2, 8, 8)),
    ),
}
"""The ten one-dimensional scenarios of APEBench, and the two training grids of ML4PS (2025)."""
TEN = tuple(EQUATIONS)[:10]
"""Names of the ten scenarios."""


def make(
    *,
    equations: Sequence[str] = TEN,
    test_equations: Sequence[str] = (),
    weights: Literal["equal", "size"] | Sequence[float] = "equal",
    inputs: Literal["all", "nonlinear", "none"] = "all",
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
    nonnegative: bool = False,
    warmup: int = 0,
) -> PDE:
    """Several equations of the semilinear family, dt = 1, identified by their coefficients alone.

    `equations` are names of EQUATIONS. Sample i is of one of them, in proportion to `weights`:
    "equal", "size", the number of settings of each equation, so that all settings have equal
    shares, or a number each. `test_equations` are those of the test split if they are others, such
    as equations that training must not see; they have equal weights. `inputs` are the coefficients
    that networks receive, zeros stand for others: with the base step "linear" those of "nonlinear"
    terms determine the equation. The name "own" is an equation of these
    arguments: coefficients as in `semilinear`, a number each or two between which it is uniform,
    and `nonnegative` and `warmup` as in `Equation`. Raises ValueError on an unknown name, weights
    that are not positive or of another number, sizes of ranges, which have none, coefficients of
    no equation, and a solver without decay.
    """
    values = (gamma0, gamma1, gamma2, gamma3, gamma4, quadratic, convection, gradient_norm)
    own = dict(zip(COEFFICIENTS, values, strict=True))
    table = EQUATIONS | _own_equation(own, nonnegative, warmup, (*equations, *test_equations))
    size = dict(points=points, cells=cells)
    found = _named(table, "pde.equations", equations)
    tested = _named(table, "pde.test_equations", test_equations) if test_equations else {}
    weights = weights if isinstance(weights, str) else tuple(weights)
    test = _mixture(tested, (1.0,) * len(tested), size) if tested else None
    spec = dict(equations=equations, test_equations=test_equations, weights=weights, inputs=inputs)
    received = lookup(INPUTS, inputs, "pde.inputs")
    held_out = tuple(name for name, one in tested.items() if not _contains(found, one))
    return replace(
        _mixture(found, _shares(found, weights), size),
        test=test,
        held_out=held_out,
        features=received,
        conserves_mean=conserves_mean,
        spec={**spec, **size, **own, "nonnegative": nonnegative, "warmup": warmup},
    )


def _own_equation(
    coefficients: dict, nonnegative: bool, warmup: int, names: Sequence[str]
) -> dict[str, Equation]:
    """Return {"own": the equation of the arguments}. ValueError unless both or none are given."""
    low, high = ranges(coefficients)
    given = {**coefficients, "nonnegative": nonnegative, "warmup": warmup}
    given = {name: value for name, value in given.items() if np.any(value)}
    if OWN in names and not given.keys() & coefficients.keys():
        raise ValueError(f"equation {OWN!r} has no coefficients; add one, such as pde.gamma2=1,4")
    if given and OWN not in names:
        name, value = next(iter(given.items()))
        raise ValueError(
            f"pde.{name} is {value}, which no equation has; add {OWN!r} to pde.equations or "
            "pde.test_equations"
        )
    fixed = bool(np.all(low == high))
    rows = low[None] if fixed else np.stack([low, high])
    return {OWN: Equation(rows, not fixed, nonnegative, warmup)}


def _named(table: Mapping[str, Equation], key: str, names: Sequence[str]) -> dict[str, Equation]:
    """Return equations by name. Raises ValueError unless there are some, each once and known."""
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{key} is {tuple(names)}; expected one name or more, each once")
    return {name: lookup(table, name, f"equation in {key}:") for name in names}


def _contains(equations: Mapping[str, Equation], other: Equation) -> bool:
    """Return True if one of the equations has settings on both sides of each of another's."""
    ends = [(one.settings.min(0), one.settings.max(0)) for one in equations.values()]
    rows = other.settings
    return any(bool(((low <= rows) & (rows <= high)).all()) for low, high in ends)


def _shares(
    equations: Mapping[str, Equation], weights: str | tuple[float, ...]
) -> tuple[float, ...]:
    """Return the weight of each equation. Raises ValueError as `make`."""
    if weights == "size":
        uniform = [name for name, one in equations.items() if one.uniform]
        if uniform:
            raise ValueError(
                f"pde.weights is 'size', but equation {uniform[0]!r} has ranges of coefficients "
                "and no number of settings; write a number for each equation"
            )
        return tuple(float(len(one.settings)) for one in equations.values())
    if weights in ("equal", ()):
        return (1.0,) * len(equations)
    numbers = [w for w in weights if not isinstance(w, str) and 0 < w < np.inf]
    if len(numbers) < len(weights) or len(weights) != len(equations):
        raise ValueError(
            f"pde.weights is {weights!r}; expected 'equal', 'size', or a positive number for each "
            f"of the {len(equations)} equations"
        )
    return tuple(numbers)


def _mixture(equations: Mapping[str, Equation], weights: tuple[float, ...], size: dict) -> PDE:
    ends = [(np.min(one.settings, 0), np.max(one.settings, 0)) for one in equations.values()]
    low, high = (np.stack(end) for end in zip(*ends, strict=True))
    parts = tuple(_part(*named, size=size) for named in equations.items())
    hull = between(low.min(0), high.max(0), **size)

    def sample_cond(key: Key) -> Array:
        rows = jnp.stack([part.sample_cond(key) for part in parts])
        return rows[jax.random.randint(jax.random.fold_in(key, 1), (), 0, len(parts))]

    return replace(
        hull,
        name="mixture",
        sample_cond=sample_cond,
        symmetries=(
            random_translation(hull.ndim),
            *(partial(random_flip, flip=flip, ranges=(low, high)) for flip in FLIPS),
            *map(at_random, swaps(hull.ndim)),
        ),
        reflection=None,
        parts=parts,
        weights=weights,
        part_of=partial(nearest, low=low, high=high),
    )


def _part(name: str, equation: Equation, *, size: dict) -> PDE:
    """Return the PDE of one equation."""
    rows = equation.settings
    low, high = np.min(equation.settings, 0), np.max(equation.settings, 0)
    require_decay(low, high, name)
    pde = between(low, high, **size)
    return replace(
        pde,
        name=name,
        warmup=equation.warmup,
        redraws=equation.redraws,
        initial=partial(initial, nonnegative=equation.nonnegative, amplitude=equation.amplitude),
        sample_keys=published_sample_keys,
        sample_cond=pde.sample_cond
        if equation.uniform
        else lambda key: jnp.asarray(rows)[jax.random.randint(key, (), 0, len(rows))],
    )


def initial(
    key: Key, cond: Array, cells: tuple[int, ...], *, nonnegative: bool, amplitude: float = 1.0
) -> Array:
    """Random waves as exponax 0.1.0 draws them from a key, on the same cells: (*s, 1)."""
    shape = (*cells[:-1], cells[-1] // 2 + 1)
    # One key a channel.
    k_amplitude, k_phase, _ = jax.random.split(jax.random.split(key, 1)[0], 3)
    modulus = jax.random.uniform(k_amplitude, shape, "float32", -1.0, 1.0)
    phase = jax.random.uniform(k_phase, shape, "float32", 0.0, 2 * np.pi)
    waves = [np.abs(np.fft.fftfreq(n, 1 / n)) <= INITIAL_MODES for n in cells]
    kept = np.ix_(*waves[:-1], waves[-1][: shape[-1]])
    mask = np.zeros(shape, bool)
    mask[kept] = True
    mask[(0,) * len(shape)] = False
    u = jnp.fft.irfftn(modulus * jnp.exp(1j * phase) * mask, cells)
    u = u - jnp.min(u) if nonnegative else u
    return amplitude * (u / jnp.max(jnp.abs(u)))[..., None]


def nearest(cond: Array, *, low: np.ndarray, high: np.ndarray) -> Array:
    """Return the number (...) of the ranges (k, 8) that coefficients (..., 8) are nearest to.

    Of ranges that contain them, it is that of the smallest.
    """
    x = features(jnp.asarray(cond, "float32"))[..., None, :]
    ends = [
        features(jnp.asarray(end)).reshape((1,) * (x.ndim - 2) + low.shape) for end in (low, high)
    ]
    beyond = jnp.maximum(ends[0] - x, 0) + jnp.maximum(x - ends[1], 0)
    return jnp.argmin(jnp.sum(beyond + 1e-4 * (ends[1] - ends[0]), -1), -1)
