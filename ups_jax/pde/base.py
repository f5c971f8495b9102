"""The PDE as a frozen dataclass of functions, combinators in time, and the laws of transport."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.arrays import spatial_axes
from ups_jax.pde.spectral import Symbol, phi_functions
from ups_jax.registry import lookup
from ups_jax.types import Array, Key, positive

MASS_TOLERANCE = 1e-6
"""Largest relative drift of the mean in simulated data of the solvers of this package."""
MAX_SUBSTEPS = 1_000_000
"""Largest number of a solver's substeps in an interval `dt`."""
BOUNDARIES = ("periodic", "neumann", "dirichlet", "wall")
"""Boundary conditions of a space axis; all but the first are at both of its ends."""
Step = Callable[[Array, Array], Array]
Symmetry = Callable[[Key, Array, Array], tuple[Array, Array]]


class GalileanFrame(NamedTuple):
    """A field `u` (..., *s, c) in a moving frame.

    One `dt` later, `to_frame` maps a field into this frame and `from_frame` maps it back.
    """

    u: Array
    from_frame: Callable[[Array], Array]
    to_frame: Callable[[Array], Array]


class Law(NamedTuple):
    """A functional of the field that the PDE constrains, and the metric of its violation.

    `value` and `scale`: (..., *s, c) -> (...). A "conserved" functional keeps its initial value, a
    "decaying" one never grows from frame to frame, a "bounded" one never exceeds its initial value.
    Violations are divided by `scale` of the initial frame. `tolerance` is the largest violation in
    simulated data; by default it follows the kind, the float type and the number of steps.
    """

    value: Callable[[Array], Array]
    kind: Literal["conserved", "decaying", "bounded"]
    metric: str
    scale: Callable[[Array], Array]
    tolerance: float | None = None


def sample_keys(key: Key, i: Array) -> tuple[Key, Key]:
    """Return the keys of sample i for its parameters and its initial condition."""
    k_cond, k_initial = jax.random.split(jax.random.fold_in(key, i))
    return k_cond, k_initial


def absent(*_: Any, **__: Any) -> Any:
    """Stand for a function that a PDE lacks; raise ValueError where it is called."""
    raise ValueError(
        "the pde has no equation, only the grid and the channels of its data: no solver, residual "
        "or initial conditions; use a pde that has them, or forecasters that need none"
    )


@dataclass(frozen=True, eq=False)
class PDE:
    """A PDE on a box and its solver. Static under `jit`.

    `step` advances a field by one interval `dt` on any grid. `march` does so in a given number of
    equal substeps, stable or not, and is differentiable. Fields are sums of waves to a `spectral`
    solver, else means of cells. `initial` draws an initial condition on a
    grid of `cells`, `sample_cond` draws PDE parameters, and `sample_keys` derives both keys of
    sample i. The first frame of data is `warmup` steps later. A sample whose solver fails is drawn
    anew, at most `redraws` times. `residual` is the pointwise balance of two frames one `dt` apart.
    `features` maps PDE parameters to network inputs. `symmetries` are random transformations of a
    window and its parameters that commute with the solver. `reflection` is a symmetry of fields
    (..., *s, c) that is its own inverse, at all parameters, `mirrors` several whose products form a
    group. `galilean_frame` gives the frame that moves with a field's mean. `natural_units` maps
    parameters (..., p) to a unit of the fields (...) and to the parameters of the equation of
    fields divided by it, whose nonlinear terms are of size one or absent. `conserves_mean` maps
    parameters (..., p) to True (...) where the spatial mean is constant. `convexity` is the
    smallest f'' of a PDE u_t + f(u)_x = nu u_xx in one dimension, and 0 for all others. `spec`
    contains the arguments of the factory; with `name` it identifies the PDE. `equation` names it in
    data where a factory makes several. Functions may be `absent`.

    `linear_symbol` is the Fourier symbol of the linear part of a periodic PDE, which the base step
    "linear" integrates exactly. It maps wave vectors k (*k, ndim) and the parameters (p,) of one
    sample to the growth rates (*k, c or 1) of exp(i k . x): -nu |k|^2 for diffusion, -i v . k for
    advection. `spectral.derivative_symbol` returns that of constant coefficients.

    `phi` returns phi_1 and phi_2 of z, dt times the symbol, as the solver approximates them.

    `boundary` is a name of BOUNDARIES for each axis, by default periodic. A boundary lies half a
    cell outside the first and the last point. "neumann": zero normal derivative, fields are even
    across it; "dirichlet": zero value, odd; "wall": impermeable, where the normal component of a
    velocity is odd and other channels are even.

    `static` names further channels of its data and of the fields of its functions, after
    `channels`: inputs such as a coefficient, which do not change in time and are not predicted.
    A `steady` problem maps them to its solution, in one step from a field of zeros. `forcing` names
    the last channels of data without a solver: known inputs that change in time.

    A mixture has `parts`, whose names are those of equations; each sample is one part's, by
    `weights`, and `part_of` returns its number for parameters (..., p). Sample j of a part is a
    function of the key and j. `test` is the PDE of the test split, if it is another, and
    `held_out` names its parts whose coefficients training does not contain.
    """

    name: str
    channels: tuple[str, ...]
    cells: tuple[int, ...]
    points: tuple[int, ...]
    extent: tuple[float, ...]
    dt: float
    params: tuple[str, ...]
    initial: Callable[[Key, Array, tuple[int, ...]], Array] = absent
    sample_cond: Callable[[Key], Array] = lambda key: jnp.zeros((0,))
    step: Step = absent
    residual: Callable[[Array, Array, Array], Array] = absent
    march: Callable[[Array, Array, int], Array] | None = None
    features: Callable[[Array], Array] = lambda cond: cond
    sample_keys: Callable[[Key, Array], tuple[Key, Key]] = sample_keys
    warmup: int = 0
    redraws: int = 0
    symmetries: tuple[Symmetry, ...] = ()
    reflection: Callable[[Array], Array] | None = None
    mirrors: tuple[Callable[[Array], Array], ...] = ()
    galilean_frame: Callable[[Array], GalileanFrame] | None = None
    conserves_mean: Callable[[Array], Array] | None = None
    spectral: bool = False
    natural_units: Callable[[Array], tuple[Array, Array]] | None = None
    linear_symbol: Symbol | None = None
    phi: Callable[[Array], tuple[Array, Array]] = phi_functions
    convexity: float = 0.0
    laws: Mapping[str, Law] = field(default_factory=dict)
    boundary: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    forcing: tuple[str, ...] = ()
    steady: bool = False
    parts: tuple["PDE", ...] = ()
    weights: tuple[float, ...] = ()
    part_of: Callable[[Array], Array] | None = None
    test: "PDE | None" = None
    held_out: tuple[str, ...] = ()
    equation: str = ""
    spec: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        settings = "".join(f", {key}={value!r}" for key, value in self.spec.items())
        return f"PDE({self.name!r}{settings}; channels {', '.join(self.channels)})"

    def __post_init__(self) -> None:
        """Set the default boundary. Raise ValueError on a bad boundary, `dt` or `extent`."""
        positive("pde.dt", self.dt)
        positive("pde.length", self.extent)
        boundary = tuple(self.boundary) or ("periodic",) * self.ndim
        for name in boundary:
            lookup(dict.fromkeys(BOUNDARIES), name, "boundary")
        if len(boundary) != self.ndim:
            raise ValueError(
                f"boundary is {boundary} on {self.ndim} space axes; expected one name for each axis"
            )
        if self.galilean_frame is not None and set(boundary) != {"periodic"}:
            raise ValueError(f"a Galilean frame moves fields through boundary {boundary}; drop it")
        object.__setattr__(self, "boundary", boundary)

    @property
    def ndim(self) -> int:
        """Number of space axes."""
        return len(self.points)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the channels of its data: predicted, then static, then forcing."""
        return (*self.channels, *self.static, *self.forcing)

    def has(self, name: str) -> bool:
        """Return whether a function of the PDE, such as `step`, is there."""
        return getattr(self, name) is not absent

    @property
    def periodic(self) -> tuple[bool, ...]:
        """True for each axis with periodic boundaries."""
        return tuple(name == "periodic" for name in self.boundary)


def check_interval(dt: float, length: float, *, substep: float) -> None:
    """Raise ValueError unless dt and length are positive, and dt at most MAX_SUBSTEPS substeps."""
    positive("pde.dt", dt)
    positive("pde.length", length)
    if dt > MAX_SUBSTEPS * substep:
        raise ValueError(
            f"pde.dt is {dt}, which needs {dt / substep:.1g} substeps of the solver; expected at "
            f"most {MAX_SUBSTEPS:,}: lower pde.dt or data.cells, or raise pde.length"
        )


def grid_shape(points: int | Sequence[int], ndim: int | None, name: str) -> tuple[int, ...]:
    """Return the points along each axis from one number or one number an axis.

    Raises ValueError unless there are `ndim` axes (1 to 3 for None) of at least 4 points.
    """
    numbers = np.ravel(points).tolist()
    sizes = tuple(int(n) if np.isfinite(n) else 0 for n in numbers)
    count = len(sizes) in (1, 2, 3) if ndim is None else len(sizes) == ndim
    if not count or min(sizes) < 4 or sizes != tuple(numbers):
        wanted = "one to three axes" if ndim is None else f"{ndim} axes" if ndim > 1 else "one axis"
        raise ValueError(f"{name} is {points}; expected {wanted} of at least 4 points")
    return sizes


def rollout(step: Step, n: int, *, keep: Callable[[Array], Array] = lambda u: u) -> Step:
    """Repeat a step, `keep` its `n` frames: u (..., *s, c), cond (..., p) -> (..., n, *s, c)."""

    def run(u: Array, cond: Array) -> Array:
        def body(u: Array, _: None) -> tuple[Array, Array]:
            u = step(u, cond)
            return u, keep(u)

        frames = jax.lax.scan(body, u, None, length=n)[1]
        return jnp.moveaxis(frames, 0, cond.ndim - 1)

    return run


def repeat_step(step: Step, n: int) -> Step:
    """Repeat a step `n` times and keep the last frame."""

    def run(u: Array, cond: Array) -> Array:
        return jax.lax.fori_loop(0, n, lambda _, u: step(u, cond), u)

    return run


def random_translation(ndim: int, *, periodic: Sequence[bool] = ()) -> Symmetry:
    """Return a random translation by grid points: a symmetry of homogeneous PDEs.

    Axes that are not `periodic` are not shifted; all are by default.
    """

    def translate(key: Key, u: Array, cond: Array) -> tuple[Array, Array]:
        """Shift all frames of one window u (t, *s, c) by the same random number of points."""
        shifted = periodic or (True,) * ndim
        keys = jax.random.split(key, ndim)
        for k, axis, free in zip(keys, spatial_axes(ndim), shifted, strict=True):
            if free:
                u = jnp.roll(u, jax.random.randint(k, (), 0, u.shape[axis], jnp.int32), axis)
        return u, cond

    return translate


def spatial_mean(u: Array, ndim: int) -> Array:
    """Mean over space and channels: (..., *s, c) -> (...)."""
    axes = (*spatial_axes(ndim), -1)
    first = jnp.mean(u, axes, keepdims=True)
    # A plain float32 mean of 1000 cells has an error of 1e-6, the drift that must be detected.
    return jnp.squeeze(first, axes) + jnp.mean(u - first, axes)


def total_variation(u: Array, ndim: int) -> Array:
    """Sum of absolute differences between periodic neighbours: (..., *s, c) -> (...)."""
    space = spatial_axes(ndim)
    parts = [jnp.sum(jnp.abs(u - jnp.roll(u, 1, axis)), (*space, -1)) for axis in space]
    return sum(parts[1:], parts[0])


def transport_laws(ndim: int, *, mass_tolerance: float | None = None) -> dict[str, Law]:
    """Laws of scalar transport: mass, energy, total variation, maximum principle.

    `mass_tolerance` is that of the law of mass; solvers of compensated sums keep 1e-6.
    """
    axes = (*spatial_axes(ndim), -1)
    mean, variation = partial(spatial_mean, ndim=ndim), partial(total_variation, ndim=ndim)

    def span(u: Array) -> Array:
        return jnp.max(u, axes) - jnp.min(u, axes)

    def energy(u: Array) -> Array:
        return 0.5 * mean(u**2)

    def size(u: Array) -> Array:
        return jnp.sqrt(mean(u**2))

    return {
        "mass": Law(mean, "conserved", "conservation_gap", size, mass_tolerance),
        "energy": Law(energy, "decaying", "energy_growth", energy),
        "total_variation": Law(variation, "bounded", "total_variation_growth", variation),
        "maximum": Law(lambda u: jnp.max(u, axes), "bounded", "max_principle_excess", span),
        "minimum": Law(lambda u: -jnp.min(u, axes), "bounded", "max_principle_excess", span),
    }
