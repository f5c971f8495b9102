"""What a PDE is to the rest of the library: a value made of functions, and time as combinators."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.types import Array, Key

Step = Callable[[Array, Array], Array]


class GalileanFrame(NamedTuple):
    """A field `u` (..., *s, c) in a moving frame, and the ways `back` and there one `dt` later."""

    u: Array
    back: Callable[[Array], Array]
    there: Callable[[Array], Array]


ToFrame = Callable[[Array], GalileanFrame]


class Law(NamedTuple):
    """A functional of the field that the PDE constrains, and the name of its violation.

    `value` and `scale`: (..., *s, c) -> (...). `conserved` functionals keep the given frame's
    value, `decaying` ones never grow from one frame to the next, `bounded` ones never exceed the
    given frame's value. Violations are divided by `scale` of the given frame.
    """

    value: Callable[[Array], Array]
    kind: Literal["conserved", "decaying", "bounded"]
    metric: str
    scale: Callable[[Array], Array]


def sample_keys(key: Key, i: Array) -> tuple[Key, Key]:
    """Keys of sample i's parameters and initial condition: of no other sample's number."""
    k_cond, k_initial = jax.random.split(jax.random.fold_in(key, i))
    return k_cond, k_initial


@dataclass(frozen=True, eq=False)
class PDE:
    """A PDE on a periodic box, with the solver that makes its data. Static under `jit`.

    `step` advances one saved interval `dt` on the grid it is given, whatever its size; `march`
    does so in a given number of equal substeps, stable or not, and has a gradient;
    `initial` draws an initial condition on any grid of `cells`; `residual` is the pointwise flux
    balance of a frame pair; `sample_keys` deals sample i of a split its two keys, of its parameters
    and of its initial condition; `features` maps parameters to what a network should see of them.
    `mirror` is an exact symmetry of fields (..., *s, c) that undoes itself, at all parameters.
    `at_rest` is the frame in which a field's mean hardly moves, where the PDE allows such a change.
    `convexity` is the least f'' of a PDE u_t + f(u)_x = nu u_xx in one dimension, 0 for all others.
    `spec` holds the arguments of the factory: with `name`, the identity of the value.
    """

    name: str
    channels: tuple[str, ...]
    cells: tuple[int, ...]
    points: tuple[int, ...]
    extent: tuple[float, ...]
    dt: float
    params: tuple[str, ...]
    initial: Callable[[Key, Array, tuple[int, ...]], Array]
    sample_cond: Callable[[Key], Array]
    step: Step
    residual: Callable[[Array, Array, Array], Array]
    march: Callable[[Array, Array, int], Array] | None = None
    features: Callable[[Array], Array] = lambda cond: cond
    sample_keys: Callable[[Key, Array], tuple[Key, Key]] = sample_keys
    symmetries: tuple[Callable[[Key, Array, Array], tuple[Array, Array]], ...] = ()
    mirror: Callable[[Array], Array] | None = None
    at_rest: ToFrame | None = None
    convexity: float = 0.0
    laws: Mapping[str, Law] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ndim(self) -> int:
        """Number of space axes."""
        return len(self.points)


def grid(points: int | Sequence[int], ndim: int | None, name: str) -> tuple[int, ...]:
    """Points along each axis from one number or several; ValueError unless `ndim` of them fit."""
    sizes = (points,) if isinstance(points, int) else tuple(int(n) for n in points)
    if (len(sizes) not in (1, 2) if ndim is None else len(sizes) != ndim) or min(sizes) < 4:
        wanted = "one or two axes" if ndim is None else f"{ndim} axes" if ndim > 1 else "one axis"
        raise ValueError(f"{name} is {points}; expected {wanted} of at least 4 points")
    return sizes


def rollout(step: Step, n: int) -> Callable[[Array, Array], Array]:
    """Turn a step into `n`: u (..., *s, c), cond (..., p) -> (..., n, *s, c), u itself left out."""

    def run(u: Array, cond: Array) -> Array:
        def body(u: Array, _: None) -> tuple[Array, Array]:
            u = step(u, cond)
            return u, u

        frames = jax.lax.scan(body, u, None, length=n)[1]
        return jnp.moveaxis(frames, 0, cond.ndim - 1)

    return run


def repeat_step(step: Step, n: int) -> Step:
    """Turn a step into one that goes `n` times as far."""

    def run(u: Array, cond: Array) -> Array:
        return jax.lax.fori_loop(0, n, lambda _, u: step(u, cond), u)

    return run


def roll_symmetry(ndim: int) -> Callable[[Key, Array, Array], tuple[Array, Array]]:
    """Translation by whole grid points: a symmetry of every autonomous PDE on a periodic box."""

    def translate(key: Key, u: Array, cond: Array) -> tuple[Array, Array]:
        """Shift one window u (t, *s, c) by the same random number of points in every frame."""
        shape = u.shape[-1 - ndim : -1]
        shifts = [
            jax.random.randint(k, (), 0, n)
            for k, n in zip(jax.random.split(key, ndim), shape, strict=True)
        ]
        for axis, shift in enumerate(shifts):
            u = jnp.roll(u, shift, axis=u.ndim - 1 - ndim + axis)
        return u, cond

    return translate


def wavenumber_shells(points: tuple[int, ...]) -> tuple[np.ndarray, int]:
    """Whole radial wavenumber (*s) of every coefficient of `fftn`, and how many there are.

    A wavenumber is a ring k <= |k| < k + 1, counted in whole periods of each axis.
    """
    waves = [np.fft.fftfreq(n, 1 / n) for n in points]
    squares = sum(wave**2 for wave in np.meshgrid(*waves, indexing="ij"))
    shell = np.floor(np.sqrt(squares) + 1e-9).astype(int)
    return shell, int(shell.max()) + 1


def spatial_mean(u: Array, ndim: int) -> Array:
    """Mean over space and channels: (..., *s, c) -> (...)."""
    axes = tuple(range(-1 - ndim, 0))
    first = jnp.mean(u, axes, keepdims=True)
    # A plain float32 mean of a thousand cells is wrong by 1e-6, the drift that is looked for.
    return jnp.squeeze(first, axes) + jnp.mean(u - first, axes)


def total_variation(u: Array, ndim: int) -> Array:
    """Sum of absolute differences between neighbours, seam included: (..., *s, c) -> (...)."""
    axes = tuple(range(-1 - ndim, 0))
    parts = [jnp.sum(jnp.abs(u - jnp.roll(u, 1, axis)), axis=axes) for axis in axes[:-1]]
    return sum(parts[1:], parts[0])


def transport_laws(ndim: int) -> dict[str, Law]:
    """Laws of scalar conservation laws: mass, energy, total variation, maximum principle."""
    axes = tuple(range(-1 - ndim, 0))

    def rms(u: Array) -> Array:
        return jnp.sqrt(spatial_mean(u**2, ndim))

    def span(u: Array) -> Array:
        return jnp.max(u, axes) - jnp.min(u, axes)

    def energy(u: Array) -> Array:
        return 0.5 * spatial_mean(u**2, ndim)

    def variation(u: Array) -> Array:
        return total_variation(u, ndim)

    return {
        "mass": Law(lambda u: spatial_mean(u, ndim), "conserved", "conservation_gap", rms),
        "energy": Law(energy, "decaying", "energy_growth", energy),
        "total_variation": Law(variation, "bounded", "total_variation_growth", variation),
        "maximum": Law(lambda u: jnp.max(u, axes), "bounded", "max_principle_excess", span),
        "minimum": Law(lambda u: -jnp.min(u, axes), "bounded", "max_principle_excess", span),
    }
