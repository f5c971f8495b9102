"""Axes, glossary, and the types that several modules share.

Axes: `n` sample, `b` batch, `t` time, `*s` one to three axes of space, `c` channel, `m` member,
`p` PDE parameters, `w` beam, `k` candidate. Channels are last, space stays a grid, leading axes
are free.

Glossary:
    trajectory   one solution of a PDE at equal intervals `dt`: (t, *s, c), with its `cond`
    frame        the field of a trajectory at one time, in physical units: (*s, c)
    window       consecutive frames of one trajectory, the input of a loss: (1 + unroll, *s, c)
    state        the input of a step: a frame, its static channels, the frames before it, forcing
    forcing      inputs that change in time, are known in advance, and are not predicted
    rollout      a forecast in which every predicted frame is the input of the next step
    unroll       the number of steps of the rollout inside a training loss
    cond         the PDE parameters of a trajectory, such as a viscosity: (p,)
    solver       a numerical scheme that advances the PDE without learned parameters
    network      learned function: `init(key) -> params` and `apply(params, *args)`
    operator     the network whose scaled output, added to the base step, is the next frame
    base step    the part of a step that is not learned: identity, exact linear part, coarse solver
    emulator     the learned one-step map of one task: normaliser, base step and networks
    forecaster   a method that forecasts from initial frames and `cond`: solver, operator, ensemble
    ensemble     m forecasts of one initial condition; each of them is a member
    spread       standard deviation of the members about their mean
    control      the operator trained further with the FLOPs of a later stage, for comparison
    sigma        standard deviation of the noise on a residual that is scaled to deviation one
    denoiser     the network that estimates a clean residual from a noisy one and sigma
    teacher      the denoiser with its sampler, many network calls a sample
    student      the network distilled from the teacher, few network calls a sample
    reward       score of a step from one frame to the next without the truth; higher is better
    beam         one of the w paths that a search keeps for each sample
    candidate    one of the k continuations that are proposed for each beam
    split        disjoint trajectories for training, validation (val) or testing
    protocol     the start of the evaluated rollout: p1 at frame 0, p10 after the context frames
    gate         a limit on a metric, absolute or relative to the champion, the best promoted run
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, Protocol

import jax
import numpy as np

from ups_jax.values import (
    as_array,
    checked_cond,
    checked_lengths,
    float_array,
    names_of,
    positive,
)

Array = jax.Array
Key = jax.Array
Params = dict[str, Any]
"""Nested dicts of arrays: one entry for each network, and `stats` of the training split."""


class Interrupted(Exception):
    """The run was stopped early; completed work is saved."""


class LossFn(Protocol):
    """Loss of a batch of windows: `u` (b, 1 + unroll, *s, c), `cond` (b, p)."""

    def __call__(
        self, params: Params, batch: Mapping[str, Array], key: Key
    ) -> tuple[Array, dict[str, Array]]:
        """Return the loss and further scalars to log."""
        ...


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Fields in time: `u` (n, t, *s, c) in physical units, `cond` (n, p), `dt` between frames.

    `extent` is the length of each space axis. `origin` is the source of the data: "regenerated", or
    the file and its hash. `cond` is optional if the PDE has no parameters. `params` names its
    columns, `pde` the equation and `boundary` the condition on each axis, as in `PDE`, where the
    source states them. Half-precision fields become float32. Raises ValueError if the numbers of
    axes, samples, lengths or names do not match, and on a `cond`, `dt` or `extent` that is no
    finite number.

    `static` names the last of the `channels` where they are inputs that do not change in time and
    are not predicted, such as a mask or a coefficient; `forcing` those after them that change in
    time, are known at every frame and not predicted, such as a source or a control. `steady` data
    are pairs of static fields and solutions: the first of two frames is zero but for the static
    channels. `lengths` (n,) counts the frames of trajectories where they differ, without padding.
    NaN in a predicted channel is a missing value, which only an emulator that masks it accepts.
    """

    u: Array | np.ndarray
    cond: Array | np.ndarray | None = None
    dt: float = 1.0
    extent: tuple[float, ...] = ()
    channels: tuple[str, ...] = ()
    origin: str = "given"
    meta: Mapping[str, Any] = field(default_factory=dict)
    params: tuple[str, ...] = ()
    pde: str = ""
    boundary: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    steady: bool = False
    lengths: Array | np.ndarray | None = None
    forcing: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Set the defaults and check shapes, types and numbers."""
        object.__setattr__(self, "u", as_array(self.u, "u"))
        for name in ("channels", "params", "boundary", "static", "forcing"):
            object.__setattr__(self, name, names_of(getattr(self, name)))
        shape = self.u.shape
        if self.u.ndim not in (4, 5, 6):
            remedy = "add a channel axis with u[..., None]" if self.u.ndim < 4 else "select a part"
            raise ValueError(
                f"trajectories of shape {shape}: expected (n, t, *s, c) with one to "
                f"three space axes; {remedy}"
            )
        if 0 in shape:
            raise ValueError(f"u has shape {shape} and holds nothing; expected one trajectory")
        n, ndim = shape[0], self.u.ndim - 3
        cond = checked_cond(self.cond, n)
        dt, extent = positive("dt", self.dt), positive("extent", self.extent) or (1.0,) * ndim
        channels = self.channels or tuple(f"u{i}" for i in range(shape[-1]))
        params, boundary, static, forcing = self.params, self.boundary, self.static, self.forcing
        inputs = (*static, *forcing)
        if len(extent) != ndim or not len(channels) == len({*channels}) == shape[-1]:
            raise ValueError(
                f"extent {extent} and channels {channels} do not match u of shape {shape}; "
                f"expected {ndim} lengths and {shape[-1]} distinct names"
            )
        if inputs and (channels[-len(inputs) :] != inputs or inputs == channels):
            named = f"static {static}" + f" and then forcing {forcing}" * bool(forcing)
            listed = f"the last of the channels {channels}, and not all of them"
            raise ValueError(f"{named} must be {listed}")
        if forcing and self.steady:
            raise ValueError(f"steady data have one step and no forcing {forcing}; use static")
        if boundary and len(boundary) != ndim:
            raise ValueError(f"boundary is {boundary}; expected {ndim} names, one for each axis")
        if len(dt) != 1:
            raise ValueError(f"dt is {self.dt}; expected one number, the time between frames")
        if params and len(params) != cond.shape[1]:
            raise ValueError(f"params {params} do not name the columns of cond {cond.shape}")
        u = float_array(self.u, "u")
        values = dict(u=u, cond=cond, dt=dt[0], extent=extent, channels=channels)
        values |= dict(lengths=checked_lengths(self.lengths, n, shape[1]))
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        frames, points = str(self.u.shape[1]), " x ".join(map(str, self.points))
        frames = frames if self.lengths is None else f"{np.min(self.lengths)} to {frames}"
        names = [f"channels {', '.join(self.predicted)}"]
        for name in ("static", "forcing", "params", "boundary"):
            values = getattr(self, name)
            names += [f"{name} {', '.join(values)}"] if values else []
        return (
            f"Trajectories({len(self)} of {frames} frames on {points} points, {'; '.join(names)}; "
            f"dt {self.dt:g}, extent {self.extent}, {self.origin})"
        )

    def __len__(self) -> int:
        """Return the number of trajectories."""
        return self.u.shape[0]

    @property
    def ndim(self) -> int:
        """Number of space axes."""
        return self.u.ndim - 3

    @property
    def predicted(self) -> tuple[str, ...]:
        """Names of the channels that are neither static nor forcing."""
        return self.channels[: len(self.channels) - len(self.static) - len(self.forcing)]

    @property
    def points(self) -> tuple[int, ...]:
        """Grid points along each space axis."""
        return tuple(self.u.shape[2:-1])

    def take(self, index: Any) -> "Trajectories":
        """Return the trajectories at `index`, a slice or an integer array."""
        cond = self.cond
        assert cond is not None
        # Fields on disk are not loaded.
        rows = getattr(self.u, "rows", self.u.__getitem__)
        lengths = None if self.lengths is None else self.lengths[index]
        return replace(self, u=rows(index), cond=cond[index], lengths=lengths)


class BoundStage(NamedTuple):
    """A stage bound to an emulator and a recipe: functions of parameters, data and keys alone.

    `channels` are those of its data; an operator predicts the first `predicted` ones, and
    `history` - 1 frames precede the windows of loss and prepare. `fill` fills their missing values.
    """

    name: str
    loss: LossFn
    data: Callable[[Params, Trajectories], Trajectories] = lambda params, data: data
    prepare: Callable[..., Params] = lambda params, batch, key: params
    channels: int = 1
    predicted: int | None = None
    history: int = 1
    validate_by: Literal["nrmse", "crps", "loss"] = "nrmse"
    fill: Callable[[Array], Array] | None = None


@dataclass(frozen=True)
class Stage:
    """A training stage: one network, its loss, its starting point, and how validation selects.

    `network` builds the entry `name` of the parameters: "operator", "stochastic" (an operator with
    noise channels), "denoiser", or a function of the PDE.
    `loss(emulator, params, batch, key)` -> scalar, scalars to log, with `batch` windows u
    (b, 1 + unroll, *s, c) and cond (b, p). `data(emulator, params, trajectories)` derives training
    data with `fields` fields side by side in the channels; `prepare(emulator, params, batch, key)`
    derives initial parameters. Keyword arguments of these functions are filled with the recipe
    values of the same name, `rollouts` with the run's. `validate_by` is the nRMSE of `forecaster`,
    its ensemble CRPS, or the loss itself. `after` names the stages to train before, `defaults`
    overrides keys of the stage's config section, `series` names its training series and `scalars`
    what `loss` logs (the largest of devices). The loss of an `observed` stage omits NaN targets.
    """

    name: str
    loss: Callable[..., tuple[Array, dict[str, Array]]]
    network: str | Callable[[Any], Any] = "operator"
    after: tuple[str, ...] = ()
    data: Callable[..., Trajectories] | None = None
    prepare: Callable[..., Params] | None = None
    fields: int = 1
    validate_by: Literal["nrmse", "crps", "loss"] = "nrmse"
    forecaster: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    series: str = ""
    scalars: tuple[str, ...] = ()
    observed: bool = False

    def __post_init__(self) -> None:
        """Name the forecaster and the series after the stage where they have no other name."""
        object.__setattr__(self, "forecaster", self.forecaster or self.name)
        object.__setattr__(self, "series", self.series or self.name)


PASS, FAIL, NO_BASELINE = "pass", "fail", "no baseline"
GATE_LIMITS = ("max", "min", "max_ratio", "min_ratio")
"""Kinds of limit of a gate: absolute, or relative to a reference value."""


class GateVerdict(NamedTuple):
    """Result of one gate.

    `limit` is absolute. `margin` is the distance to it over its size, negative if it is violated; a
    limit of zero gives the distance itself. `reference` is the denominator of a ratio.
    """

    name: str
    metric: str
    status: str
    value: float | None
    limit: float | None
    margin: float | None
    reference: float | None
    sentence: str
