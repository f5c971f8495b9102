"""APEBench's scenarios in one to three dimensions: equation, laws, symmetries, initial condition.

Koehler et al. (2024), version 0.1.1. A name is the dimension, the interface and the equation:
`diff` for difficulties, where dt and the length are one, or `phy` for physical units.
"""

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ups_jax.arrays import spatial_axes
from ups_jax.pde.symmetries import Map, cube, mirrors, reflection, swaps, transposition, vector
from ups_jax.types import Array

ODD = (reflection(-2, (-1.0,)),)
"""Reflection in one dimension of a scalar that changes its sign."""
VELOCITY = np.array((0.01, -0.04, 0.005), np.float32)
DIAGONAL = np.array((0.001, 0.002, 0.0004), np.float32)
ANISOTROPIC = np.array(
    ((0.001, 0.0005, 0.0003), (0.0005, 0.002, 0.0002), (0.0003, 0.0002, 0.0004)), np.float32
)
"""Coefficients in three dimensions; in two, those of the first two axes."""
TRANSPORT = ("mass", "energy", "total_variation", "maximum", "minimum")
DISSIPATION = ("mass", "energy")
SCALAR = ("u",)
POINTS = {1: 160, 2: 160, 3: 32}
"""Published points along each axis by the number of axes."""
TESTED = {1: 30, 2: 30, 3: 10}
"""Published test trajectories by the number of axes."""


PSEUDOSCALAR = (reflection(-3, (-1.0,)), reflection(-2, (-1.0,)), transposition((0,), (-1.0,)))
"""Reflections and transposition of a vorticity."""


def negation(u: Array) -> Array:
    """Map u to -u: a symmetry of linear equations."""
    return -u


def point_reflection(ndim: int, sign: float) -> tuple[Map]:
    """Return the reflection of all axes, with a sign."""
    return (lambda u: sign * jnp.flip(u, spatial_axes(ndim)),)


def kolmogorov(u: Array) -> Array:
    """Shift by half a period of the forcing cos(4 y), reflect x and change the sign."""
    return -jnp.flip(jnp.roll(u, u.shape[-2] // 8, -2), -3)


def rotation(u: Array) -> Array:
    """Rotate by 180 degrees about the origin of y, a maximum of the forcing."""
    return jnp.roll(jnp.flip(u, (-3, -2)), 1, -2)


class Scenario(NamedTuple):
    """One scenario. `build(exponax, points, part)` returns the stepper of a part of its step.

    `maps` are symmetries, next to translations along the axes that are `homogeneous`. The first
    frame is the state `warmup` steps after the initial condition. `bounds` are those of the law of
    that name, `energy_tolerance` is the largest relative growth of energy in a step, by the error
    of the stepper in time.
    """

    build: Callable[[Any, int, float], Any]
    laws: tuple[str, ...] = ()
    maps: tuple[Map, ...] = ()
    channels: tuple[str, ...] = SCALAR
    initial: str = "waves"
    warmup: int = 0
    homogeneous: tuple[bool, ...] = ()
    bounds: tuple[float, float] = (0.0, 1.0)
    energy_tolerance: float | None = None


def _linear(ndim: int, *gammas: float) -> Callable[[Any, int, float], Any]:
    def build(ex: Any, points: int, part: float) -> Any:
        scaled = tuple(part * gamma for gamma in gammas)
        make = ex.stepper.generic.DifficultyLinearStepper
        return make(ndim, points, linear_difficulties=scaled)

    return build


def _convection(ndim: int, delta: float, *gammas: float) -> Callable[[Any, int, float], Any]:
    def build(ex: Any, points: int, part: float) -> Any:
        # exponax has the term on the left-hand side, APEBench on the right.
        return ex.stepper.generic.DifficultyConvectionStepper(
            ndim,
            points,
            linear_difficulties=tuple(part * gamma for gamma in gammas),
            convection_difficulty=-part * delta,
            conservative=True,
        )

    return build


def _nonlinear(
    ndim: int, deltas: tuple[float, float, float], *gammas: float
) -> Callable[[Any, int, float], Any]:
    def build(ex: Any, points: int, part: float) -> Any:
        return ex.stepper.generic.DifficultyNonlinearStepper(
            ndim,
            points,
            linear_difficulties=tuple(part * gamma for gamma in gammas),
            nonlinear_difficulties=tuple(part * delta for delta in deltas),
        )

    return build


def _physical(
    name: str, ndim: int, *, dt: float, length: float = 1.0, substeps: int = 1, **coefficients: Any
) -> Callable[[Any, int, float], Any]:
    def build(ex: Any, points: int, part: float) -> Any:
        make = getattr(ex.stepper, name, None) or getattr(ex.stepper.reaction, name)
        stepper = make(ndim, length, points, part * dt / substeps, **coefficients)
        return stepper if substeps == 1 else ex.RepeatedStepper(stepper, substeps)

    return build


def _shared(ndim: int) -> dict[str, Scenario]:
    """Return the scenarios that are defined in any dimension."""
    even, swap, sign = cube(ndim), swaps(ndim), (negation,)
    nonlinear = {
        "kdv": Scenario(
            _nonlinear(ndim, (0.0, -2.0, 0.0), 0.0, 0.0, 0.0, -14.0, -9.0),
            DISSIPATION,
            swap,
            energy_tolerance=1e-3,
        ),
        # exponax removes the mean of the gradient norm.
        "ks": Scenario(
            _nonlinear(ndim, (0.0, 0.0, -6.0), 0.0, 0.0, -1.2, 0.0, -15.0),
            ("mass",),
            even,
            warmup=500,
        ),
        "fisher": Scenario(
            _nonlinear(ndim, (-0.02, 0.0, 0.0), 0.02, 0.0, 0.2),
            ("bounds",),
            even,
            initial="clamped_waves",
            # exponax adds the term of order zero once for each axis.
            bounds=(0.0, float(ndim)),
        ),
    }
    return {
        "adv": Scenario(_linear(ndim, 0.0, -4.0), TRANSPORT, sign + swap),
        "diff": Scenario(_linear(ndim, 0.0, 0.0, 4.0), TRANSPORT, sign + even),
        "adv_diff": Scenario(_linear(ndim, 0.0, -4.0, 4.0), TRANSPORT, sign + swap),
        "disp": Scenario(_linear(ndim, 0.0, 0.0, 0.0, 4.0), DISSIPATION, sign + swap),
        "hyp_diff": Scenario(_linear(ndim, 0.0, 0.0, 0.0, 0.0, -4.0), DISSIPATION, sign + even),
        **nonlinear,
    }


def _several(ndim: int) -> dict[str, Scenario]:
    """Return the scenarios of two and of three dimensions."""
    sign, turned = (negation,), point_reflection
    return {
        "diff_burgers": Scenario(
            _convection(ndim, -1.5, 0.0, 0.0, 1.5),
            ("mass",),
            vector(ndim),
            channels=("u", "v", "w")[:ndim],
        ),
        "diff_burgers_sc": Scenario(
            _nonlinear(ndim, (0.0, -1.5, 0.0), 0.0, 0.0, 1.5),
            TRANSPORT,
            turned(ndim, -1.0) + swaps(ndim),
        ),
        "phy_unbal_adv": Scenario(
            _physical("Advection", ndim, dt=0.1, velocity=VELOCITY[:ndim]), DISSIPATION, sign
        ),
        "phy_diag_diff": Scenario(
            _physical("Diffusion", ndim, dt=0.1, diffusivity=DIAGONAL[:ndim]),
            TRANSPORT,
            sign + mirrors(ndim),
        ),
        "phy_aniso_diff": Scenario(
            _physical("Diffusion", ndim, dt=0.1, diffusivity=ANISOTROPIC[:ndim, :ndim]),
            ("mass", "energy", "maximum", "minimum"),
            sign + turned(ndim, 1.0),
        ),
        "phy_mix_disp": Scenario(
            _physical("Dispersion", ndim, dt=0.001, dispersivity=0.00025, advect_on_diffusion=True),
            DISSIPATION,
            sign + swaps(ndim),
        ),
        "phy_mix_hyp": Scenario(
            _physical(
                "HyperDiffusion",
                ndim,
                dt=0.00001,
                hyper_diffusivity=0.000075,
                diffuse_on_diffuse=True,
            ),
            DISSIPATION,
            sign + cube(ndim),
        ),
        "phy_gs_type": Scenario(
            _physical(
                "GrayScott",
                ndim,
                dt=20.0,
                length=2.5,
                substeps=20,
                feed_rate=0.04,
                kill_rate=0.06,
                diffusivity_1=2e-5,
                diffusivity_2=1e-5,
            ),
            maps=cube(ndim, channels=2),
            channels=("u", "v"),
            initial="blobs",
        ),
        "phy_sh": Scenario(
            _physical(
                "SwiftHohenberg",
                ndim,
                dt=0.1,
                length=10 * np.pi,
                substeps=5,
                reactivity=0.7,
                critical_number=1.0,
                polynomial_coefficients=(0.0, 0.0, 1.0, -1.0),
            ),
            maps=cube(ndim),
        ),
    }


SCENARIOS: dict[str, Scenario] = {
    **{f"1d_diff_{name}": scenario for name, scenario in _shared(1).items()},
    "1d_diff_burgers": Scenario(_convection(1, -1.5, 0.0, 0.0, 1.5), TRANSPORT, ODD),
    "1d_diff_ks_cons": Scenario(
        _convection(1, -1.0, 0.0, 0.0, -2.0, 0.0, -18.0), ("mass",), ODD, warmup=500
    ),
    **{f"2d_diff_{name}": scenario for name, scenario in _shared(2).items()},
    **{f"2d_{name}": scenario for name, scenario in _several(2).items()},
    "2d_phy_decay_turb": Scenario(
        _physical("NavierStokesVorticity", 2, dt=0.1, diffusivity=1e-4), DISSIPATION, PSEUDOSCALAR
    ),
    "2d_phy_kolm_flow": Scenario(
        _physical(
            "KolmogorovFlowVorticity",
            2,
            dt=0.1,
            length=2 * np.pi,
            substeps=20,
            diffusivity=1e-2,
            injection_mode=4,
            injection_scale=1.0,
            drag=-0.1,
        ),
        ("mass",),
        (kolmogorov, rotation),
        warmup=500,
        homogeneous=(True, False),
    ),
    **{f"3d_diff_{name}": scenario for name, scenario in _shared(3).items()},
    **{f"3d_{name}": scenario for name, scenario in _several(3).items()},
}
"""Ten scenarios in one dimension, nineteen in two and seventeen in three."""


def find(name: str) -> Scenario:
    """Return the scenario; ValueError with the closest names for an unknown one."""
    if name in SCENARIOS:
        return SCENARIOS[name]
    raise ValueError(f"unknown pde.scenario {name!r}; {_similar(name)}")


def _similar(name: str) -> str:
    close = get_close_matches(name, SCENARIOS, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    families = []
    for start in ("1d_diff_", "2d_diff_", "2d_phy_", "3d_diff_", "3d_phy_"):
        names = [n.removeprefix(start) for n in SCENARIOS if n.startswith(start)]
        families.append(f"{start} {', '.join(names)}")
    return f"{hint}known: {'; '.join(families)}"
