"""Axis glossary, aliases, and the values that rooms hand to each other.

Axes: `n` sample, `b` batch, `t` time, `*s` one or two space axes, `c` channel, `p` PDE parameters,
`m` member, `w` beam, `k` candidate. Channels are last, space stays a grid, leading axes are free.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import jax
import numpy as np

Array = jax.Array
Key = jax.Array
Params = dict[str, Any]
"""Nested dicts of arrays: one entry a model, and `stats` from the training split."""


class Interrupted(Exception):
    """Asked to stop; what was computed is safe."""


class LossFn(Protocol):
    """Loss of a batch of windows: `u` (b, 1+unroll, *s, c), `cond` (b, p) -> scalar, scalars."""

    def __call__(
        self, params: Params, batch: Mapping[str, Array], key: Key
    ) -> tuple[Array, dict[str, Array]]:
        """Loss, and scalars to log beside it."""
        ...


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Fields in time: `u` (n, t, *s, c) in physical units, `cond` (n, p), `dt` between frames.

    `extent` is the length of each space axis, `origin` says where the data come from
    ("regenerated", or the file and its hash). `cond` may be left out where a PDE has no parameters.
    Raises ValueError on a wrong number of axes, of samples, of lengths or of channel names.
    """

    u: Array | np.ndarray
    cond: Array | np.ndarray | None = None
    dt: float = 1.0
    extent: tuple[float, ...] = ()
    channels: tuple[str, ...] = ()
    origin: str = "given"
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Fill what was left out and refuse what does not fit together."""
        if self.u.ndim not in (4, 5):
            raise ValueError(
                f"trajectories of shape {self.u.shape}: expected (n, t, *s, c) with one or two "
                "space axes; add a channel axis with u[..., None]"
            )
        n, ndim = self.u.shape[0], self.u.ndim - 3
        cond = np.zeros((n, 0), np.float32) if self.cond is None else self.cond
        if cond.ndim != 2 or cond.shape[0] != n:
            raise ValueError(f"cond of shape {cond.shape}: expected ({n}, p), one row a trajectory")
        extent = tuple(float(x) for x in self.extent) or (1.0,) * ndim
        channels = tuple(self.channels) or tuple(f"u{i}" for i in range(self.u.shape[-1]))
        if len(extent) != ndim or len(channels) != self.u.shape[-1]:
            raise ValueError(
                f"extent {extent} and channels {channels} do not fit u of shape {self.u.shape}"
            )
        if not self.dt > 0:
            raise ValueError(f"dt is {self.dt}; the time between frames must be positive")
        for name, value in (("cond", cond), ("extent", extent), ("channels", channels)):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        """Count the trajectories."""
        return self.u.shape[0]

    @property
    def ndim(self) -> int:
        """Number of space axes."""
        return self.u.ndim - 3

    @property
    def points(self) -> tuple[int, ...]:
        """Grid points along each space axis."""
        return tuple(self.u.shape[2:-1])

    def take(self, index: Any) -> "Trajectories":
        """The trajectories at `index` (slice or integer array), everything else kept."""
        cond = self.cond
        assert cond is not None
        # Fields that lie on disk stay there.
        rows = getattr(self.u, "rows", self.u.__getitem__)
        return Trajectories(
            rows(index), cond[index], self.dt, self.extent, self.channels, self.origin, self.meta
        )


def _unchanged(params: Params, batch: Mapping[str, Array], key: Key) -> Params:
    return params


@dataclass(frozen=True)
class Stage:
    """One thing to learn: which entries of the parameters it trains, and by what loss.

    `data` makes what it learns from of a split, where that is not the split itself; then `fields`
    of them lie beside each other in the channels. `prepare` makes
    its starting point from what was learnt before and a batch of training windows. `judged` is what
    validation picks its parameters by: the error of a rollout, an ensemble's CRPS, or the loss
    itself on windows of the validation split.
    """

    name: str
    trains: tuple[str, ...]
    loss: LossFn
    data: Callable[[Params, Trajectories], Trajectories] = lambda params, data: data
    fields: int = 1
    prepare: Callable[[Params, Mapping[str, Array], Key], Params] = _unchanged
    judged: Literal["nrmse", "crps", "loss"] = "nrmse"


PASS, FAIL, NO_BASELINE = "pass", "fail", "no baseline"
GATE_LIMITS = ("max", "min", "max_ratio", "min_ratio")
"""Of which a gate holds one: absolute limits, and limits in units of a value to compare with."""


class GateVerdict(NamedTuple):
    """How one gate was kept.

    `limit` is absolute, `margin` the distance kept to it over its size (negative: beyond it; not a
    share where the limit is zero), `reference` what a ratio was taken of.
    """

    name: str
    metric: str
    status: str
    value: float | None
    limit: float | None
    margin: float | None
    reference: float | None
    sentence: str


def check_field(
    u: Any, *, ndim: int, channels: int, name: str = "u", cond: Any = None, params: int = 0
) -> None:
    """Refuse a field that is not (..., *s, c), or parameters that are not (..., p) beside it."""
    shape = np.shape(u)
    if len(shape) < ndim + 1 or shape[-1] != channels:
        raise ValueError(
            f"{name} has shape {shape}; expected (..., {'x, y'[: 3 * ndim - 2]}, {channels}): "
            f"{ndim} space axes, then {channels} channels"
        )
    # A field on a device is not fetched for a look at its type.
    held = u.dtype if hasattr(u, "dtype") else np.asarray(u).dtype
    if not np.issubdtype(held, np.floating):
        raise ValueError(f"{name} holds {held}; expected a floating type: u.astype('float32')")
    if cond is None:
        return
    lead = shape[: len(shape) - ndim - 1]
    if np.shape(cond) != (*lead, params):
        raise ValueError(
            f"cond has shape {np.shape(cond)}; expected {(*lead, params)} beside {name} {shape}"
        )
