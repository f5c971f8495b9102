"""Emulator of a PDE: its networks as static functions, and their initial parameters."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any, NamedTuple

import jax
import numpy as np

from ups_jax.data.missing import REFUSE, check_maskable
from ups_jax.diffusion import NoiseSchedule
from ups_jax.emulator.base_steps import BaseStep, LearnedStep, base_step, is_exponential
from ups_jax.emulator.states import state_channels
from ups_jax.models import OPERATORS, Network
from ups_jax.pde.base import PDE
from ups_jax.pde.data import pde_of
from ups_jax.pde.symmetries import reflection_signs
from ups_jax.types import Array, Trajectories

TRANSFORMS = ("asinh", "linear")


class DiffusionSpec(NamedTuple):
    """Diffusion of the operator's residual: noise schedule, teacher's sampler, student's calls.

    `steps` are those of a forecast, `teacher_steps` those of the samples that the student learns.
    With `transform="asinh"` the noise is added to asinh(residual / deviation): residuals at shocks
    are hundreds of deviations, and a bounded range of sigma covers their logarithm.
    With `autoregressive` a residual is that of a single step from a true frame, and each member's
    rollout continues from its own samples. Without, a residual is that of the operator's rollout,
    and members are samples around that rollout.
    """

    noise: NoiseSchedule
    sampler: str
    steps: int
    student_steps: int
    autoregressive: bool = False
    teacher_steps: int = 16
    transform: str = "linear"


class SearchSpec(NamedTuple):
    """Settings of test-time search: source of candidates, sizes, and the reward.

    The noise of candidates is scaled from `temperature_start` to `temperature_end` by a name of
    `search.TEMPERATURE_SCHEDULES`; `cost` is the number of network calls of a candidate;
    `reward(prev, next, cond, floor)` (..., *s, c) twice, (..., p), (c,) -> (...).
    """

    source: str
    beams: int
    candidates: int
    lookahead: int
    discount: float
    temperature_schedule: str
    temperature_start: float
    temperature_end: float
    cost: int
    reward: Callable[[Array, Array, Array, Array], Array]


@dataclass(frozen=True, eq=False, init=False)
class Emulator:
    """Static functions of one task; parameters are separate, as `stats` and one entry a network.

    The operator adds its increment to the field or, in a hybrid, to `base(u, cond)`: the exact step
    of the linear part or a cheap solver step, which it also receives as input. If the base is an
    `ExponentialStep`, or a `LearnedStep`, it is the nonlinear part, called twice. With `galilean`
    it sees fields in the frame moving with their mean, with `natural_units` in units of the PDE.
    With `zero_mean` increments lose their spatial mean: for data that conserve it. With `history` k
    it sees k frames; before there are as many, the first one is repeated. With `missing` "mask",
    NaN in predicted channels of data and initial frames are missing values: see
    `data.missing.fill`.
    `networks` are those of the stages after the operator's, by stage: operators, with
    `noise_channels` of noise where they are stochastic, or denoisers of the operator's residual.
    """

    pde: PDE
    operator: Network
    zero_mean: bool
    galilean: bool
    natural_units: bool
    history: int
    base: BaseStep | None
    networks: Mapping[str, Network]
    noise_channels: int
    diffusion: DiffusionSpec | None
    search: SearchSpec | None
    spec: Mapping[str, Any]
    missing: str

    def __init__(
        self,
        pde: PDE | Trajectories,
        operator: Network | Callable[..., Network],
        *,
        zero_mean: bool = False,
        galilean: bool = False,
        natural_units: bool = False,
        history: int = 1,
        base: BaseStep | str | None = None,
        coarsen: int = 1,
        substeps: int = 1,
        networks: Mapping[str, Network] | None = None,
        noise_channels: int = 1,
        diffusion: DiffusionSpec | None = None,
        search: SearchSpec | None = None,
        spec: Mapping[str, Any] | None = None,
        missing: str = REFUSE,
        **options: Any,
    ) -> None:
        """Build from a network, or from a factory of OPERATORS and its `options`.

        Trajectories in place of a PDE give their grid and channels, without an equation (`pde_of`).

        `base` is a step, or a name of BASE_STEPS with `coarsen` and `substeps` as in `base_step`.
        `spec` holds the sections of a config that builds the same emulator, which `save` needs; it
        is derived where a factory of OPERATORS is given. Raises ValueError where the PDE has no
        Galilean frame or has forcing that a part does not take, a network does not fit its grid or
        its inputs, or a part needs whole fields and missing values are masked.
        """
        pde = pde_of(pde) if isinstance(pde, Trajectories) else pde
        if galilean and pde.galilean_frame is None:
            raise ValueError(
                f"galilean is true, but pde {pde.name!r} has no Galilean frame; set it to false"
            )
        if history < 1 or (galilean and (history > 1 or pde.static)):
            raise ValueError(
                f"operator.history is {history}; it must be at least 1, and in the Galilean frame "
                "exactly 1 and without static channels: set galilean to false"
            )
        if natural_units and (pde.natural_units is None or galilean or pde.static or pde.forcing):
            raise ValueError(
                f"natural_units is true, but pde {pde.name!r} has none, or has static channels or "
                "forcing, or galilean is true too; set it to false"
            )
        check_maskable(missing, pde, dict(galilean=galilean, base=base, search=search))
        frame = dict(zero_mean=zero_mean, galilean=galilean, history=history)
        frame["natural_units"] = natural_units
        if pde.forcing and (
            galilean or search or pde.has("step") or base not in (None, "identity")
        ):
            raise ValueError(
                f"pde {pde.name!r} has forcing {', '.join(pde.forcing)}, which solvers, base "
                "steps, the Galilean frame and search do not take; use base='identity'"
            )
        if isinstance(base, str):
            step = base_step(pde, base, coarsen=coarsen, substeps=substeps)
            frame |= dict(base=base, coarsen=coarsen, substeps=substeps)
            base = step
        if is_exponential(base) and history > 1:
            raise ValueError(
                f"operator.history is {history}; with an exponential base step it must be 1, as a "
                "stage of the step has no frames before it"
            )
        if not isinstance(operator, Network):
            names = [name for name, make in OPERATORS.items() if make is operator]
            if spec is None and names:
                spec = {"operator": {"name": names[0], **options, **frame}}
            operator = operator(**network_sizes(pde, base, operator, history=history), **options)
        elif options:
            raise ValueError(f"unknown arguments {sorted(options)}; a Network takes no options")
        operator = base.attach(operator) if isinstance(base, LearnedStep) else operator
        if operator.equivariant and reflection_signs(pde) is None:
            raise ValueError(
                f"the network is equivariant, but pde {pde.name!r} has no reflection of one space "
                "axis; use one that is not"
            )
        if operator.equivariant and isinstance(base, LearnedStep):
            raise ValueError(
                "equivariant is true, but a learned base step has no symmetry; set it to false, or "
                "use base='exponential'"
            )
        values = (pde, operator, zero_mean, galilean, natural_units, history, base)
        values = (*values, dict(networks or {}))
        values = (*values, noise_channels, diffusion, search, dict(spec or {}), missing)
        for name, value in zip(self.__dataclass_fields__, values, strict=True):
            object.__setattr__(self, name, value)
        _check_shapes(self)

    def __repr__(self) -> str:
        operator = dict(self.spec.get("operator", {}))
        words = [operator.pop("name", "operator"), *(f"{k}={v!r}" for k, v in operator.items())]
        later = f"; stages {', '.join(self.networks)}" if self.networks else ""
        return f"Emulator({' '.join(words)} of {self.pde!r}{later})"


def network_sizes(
    pde: PDE, base: BaseStep | None, factory: Callable[..., Network], *, history: int = 1
) -> dict[str, Any]:
    """Return the arguments of an operator's factory that the PDE, base step and history fix.

    Raises ValueError as `network_boundary`, and where the factory takes no further inputs.
    """
    channels = len(pde.channels)
    sizes: dict[str, Any] = dict(ndim=pde.ndim, channels=channels, params=len(pde.params))
    if "signs" in signature(factory).parameters:
        sizes["signs"] = reflection_signs(pde)
    inputs = _inputs(pde, base, history)
    if inputs != channels:
        parameters = signature(factory).parameters.values()
        if not any(p.name == "inputs" or p.kind is p.VAR_KEYWORD for p in parameters):
            raise ValueError(
                f"static channels, history, forcing and base step make {inputs} input channels, "
                "but the network's factory takes no `inputs`; use one that does"
            )
        sizes["inputs"] = inputs
    return sizes | network_boundary(pde, factory)


def _inputs(pde: PDE, base: BaseStep | None, history: int) -> int:
    """Return the number of input channels of an operator."""
    shown = base is not None and not is_exponential(base)
    return state_channels(pde, history) + (len(pde.channels) if shown else 0)


def operator_calls(emulator: Emulator) -> int:
    """Return the calls of an operator's network in one step."""
    return 2 if is_exponential(emulator.base) else 1


def network_boundary(pde: PDE, factory: Callable[..., Network]) -> dict[str, tuple[str, ...]]:
    """Return the argument `boundary` of a network's factory, if it takes one.

    Raises ValueError where the PDE has a boundary and the factory takes none.
    """
    parameters = signature(factory).parameters
    if "boundary" in parameters:
        return {"boundary": pde.boundary}
    if all(pde.periodic):
        return {}
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        raise ValueError(
            f"the network assumes periodic axes, but pde {pde.name!r} has boundary {pde.boundary}; "
            "use a network whose factory takes `boundary`"
        )
    return {"boundary": pde.boundary}


def _check_shapes(emulator: Emulator) -> None:
    """Trace the operator on the PDE's grid, without computing it."""
    pde, network = emulator.pde, emulator.operator
    channels, inputs = len(pde.channels), _inputs(pde, emulator.base, emulator.history)
    u = jax.ShapeDtypeStruct((*pde.points, inputs), np.float32)
    cond = jax.ShapeDtypeStruct((len(pde.params),), np.float32)
    output = jax.eval_shape(
        lambda u, c: network.apply(network.init(jax.random.key(0)), u, c), u, cond
    )
    if output.shape != (*pde.points, channels):
        raise ValueError(
            f"the operator returns shape {output.shape} on pde {pde.name!r}; it must return "
            f"{(*pde.points, channels)}: one value a point and channel"
        )
