"""Values that single keys may have, whatever the other keys are: bounds of numbers, and names."""

from collections.abc import Callable, Mapping
from fnmatch import filter as matching
from typing import Any

from ups_jax.config.base import Config
from ups_jax.config.renames import rename_value
from ups_jax.data.missing import MISSING
from ups_jax.diffusion import NOISE_SCHEDULES, SAMPLERS
from ups_jax.emulator import TRANSFORMS
from ups_jax.evaluate.validate import AVERAGES
from ups_jax.files import flatten
from ups_jax.forecast import FORECASTERS
from ups_jax.forecast.beam_search import PROPOSALS
from ups_jax.optim import LR_SCHEDULES, OPTIMIZERS
from ups_jax.registry import lookup
from ups_jax.rewards import REWARDS
from ups_jax.search import TEMPERATURE_SCHEDULES
from ups_jax.stages import LOSSES, STAGES
from ups_jax.train.sampling import SAMPLINGS

AT_LEAST_0 = ("seed", "data.*seed", "data.observed_noise", "*temperature", "eval.num_figures")
AT_LEAST_0 += ("fit.*.warmup", "fit.*.weight_decay", "fit.*.loss_floor", "leaderboard.margin")
AT_LEAST_0 += ("fit.*.input_noise", "fit.*.damping_noise")
AT_LEAST_0 += ("search.lookahead", "search.temperature_start", "search.temperature_end")
AT_LEAST_0 += ("operator.projection_channel_ratio", "pde.warmup", "pde.drag")
AT_LEAST_1 = ("num_seeds", "pde.points", "data.cells", "data.*steps", "data.*stride", "mesh.*")
AT_LEAST_1 += ("data.train", "data.val", "data.test", "diffusion.*steps", "regression.history")
AT_LEAST_1 += ("*.num_trajectories", "ensemble.noise_channels", "eval.selection_trajectories")
AT_LEAST_1 += ("search.beams", "search.candidates", "search.calls_per_step", "eval.batch")
AT_LEAST_1 += ("eval.context_frames", "report.dpi", "fit.*.steps", "fit.*.batch", "fit.*.unroll")
AT_LEAST_1 += ("fit.*.steps_per_call", "fit.*.val_every", "fit.*.num_rollouts", "operator.coarsen")
AT_LEAST_1 += ("operator.substeps", "pde.modes", "*r.width", "*r.blocks", "*r.dilations")
AT_LEAST_1 += ("*r.patch", "operator.layers", "operator.modes", "operator.channel_mult")
AT_LEAST_1 += ("operator.heads", "operator.mlp_ratio", "pde.mode", "pde.low", "pde.high")
AT_LEAST_1 += ("operator.history", "eval.coarsen", "fit.*.damping_from")
POSITIVE = ("data.nu", "pde.dt", "diffusion.sigma_*", "sweep.lr_factors", "eval.horizons")
POSITIVE += ("pde.nu", "pde.length", "pde.diffusion", "pde.feed", "pde.kill", "pde.gravity")
POSITIVE += ("pde.radius", "pde.heights", "pde.weights", "pde.permeability", "pde.force")
POSITIVE += ("pde.tau", "pde.alpha")
POSITIVE += ("fit.*.lr", "fit.*.clip_norm", "fit.*.start_bias", "fit.*.phase_fractions")
POSITIVE += ("regression.tolerance", "regression.improvement")
BOUNDS: tuple[tuple[str, Callable[[float], bool], tuple[str, ...]], ...] = (
    ("at least 0", lambda x: x >= 0, AT_LEAST_0),
    ("at least 1", lambda x: x >= 1, AT_LEAST_1),
    ("at least 2", lambda x: x >= 2, ("ensemble.members", "fit.*.members")),
    ("positive", lambda x: x > 0, POSITIVE),
    ("from 0 to 1", lambda x: 0 <= x <= 1, ("eval.nudging_gain",)),
    ("above 0 and at most 1", lambda x: 0 < x <= 1, ("search.discount",)),
    ("at least 0 and below 1", lambda x: 0 <= x < 1, ("fit.*.ema_decay",)),
)
"""Bounds of every number that no factory declares: in words, as a condition, and its keys."""
MAXIMA: tuple[tuple[int | float, tuple[str, ...]], ...] = (
    (2**31 - 1, ("*seed",)),
    (10**9, ("data.train", "data.val", "data.test", "fit.*.num_rollouts", "*trajectories")),
    (10**9, ("fit.*.steps", "fit.*.warmup", "fit.*.steps_per_call", "fit.*.val_every", "*.batch")),
    (10**6, ("pde.points", "data.cells", "data.*steps", "data.*stride", "eval.context_frames")),
    (10**6, ("*.members", "regression.history", "eval.num_figures", "search.calls_per_step")),
    (10**4, ("num_seeds", "mesh.*", "ensemble.noise_channels", "diffusion.*steps", "pde.modes")),
    (10**4, ("search.beams", "search.candidates", "search.lookahead", "fit.*.unroll")),
    (10**4, ("*r.width", "*r.dilations", "*r.patch", "operator.modes", "*.coarsen")),
    (10**3, ("report.dpi", "*temperature", "search.temperature_*", "data.observed_noise")),
    (10**3, ("fit.*.lr", "fit.*.weight_decay", "fit.*.start_bias")),
    (10, ("fit.*.input_noise", "fit.*.damping_noise")),
    (10**2, ("*r.blocks", "operator.layers", "operator.substeps", "operator.channel_mult")),
    (10**2, ("operator.heads", "operator.mlp_ratio", "operator.projection_channel_ratio")),
    (10**2, ("operator.history",)),
    (10**6, ("pde.nu", "pde.dt", "pde.length", "pde.velocity", "pde.convection")),
    (10**6, ("pde.warmup", "pde.gamma?", "pde.quadratic", "pde.gradient_norm")),
    (10**6, ("diffusion.sigma_*", "data.nu", "sweep.lr_factors", "search.weights")),
    (10**9, ("eval.horizons", "regression.tolerance", "regression.improvement", "*.margin")),
    (1e30, ("*",)),  # beyond, float32 overflows in a product or two
)
"""Largest size of the numbers of each key; of every other number, keys of the user's included."""
NAMES: dict[str, Mapping[str, Any]] = {
    "stages": STAGES,
    "data.missing": MISSING,
    "fit.*.optimizer": OPTIMIZERS,
    "fit.*.schedule": LR_SCHEDULES,
    "fit.*.loss": LOSSES,
    "fit.*.sampling": dict.fromkeys(SAMPLINGS),
    "fit.*.val_average": dict.fromkeys(AVERAGES),
    "diffusion.noise": NOISE_SCHEDULES,
    "diffusion.sampler": SAMPLERS,
    "diffusion.transform": dict.fromkeys(TRANSFORMS),
    "search.source": PROPOSALS,
    "search.temperature_schedule": TEMPERATURE_SCHEDULES,
    "search.rewards": REWARDS,
    "eval.forecasters": FORECASTERS,
    "eval.protocol": {"p1": None, "p10": None},
    "report.format": {"png": None, "pdf": None, "svg": None},
}
"""Table whose names a key, or each item of its list, may have."""


def require(holds: bool, key: str, value: Any, allowed: str) -> None:
    """Raise ValueError with the key, its value and what is allowed, unless `holds`."""
    if not holds:
        raise ValueError(f"{key} is {value!r}; it must be {allowed}")


def check_values(cfg: Config) -> None:
    """Raise ValueError on the first number out of its bounds or name that its table lacks."""
    values = flatten(cfg)
    for allowed, holds, patterns in BOUNDS:
        for key in (key for pattern in patterns for key in matching(values, pattern)):
            numbers = [item for item in _items(values[key]) if not isinstance(item, str | None)]
            within = all(map(holds, numbers))
            require(within, key, values[key], allowed)
    for limit, patterns in MAXIMA:
        for key in (key for pattern in patterns for key in matching(values, pattern)):
            numbers = [item for item in _items(values[key]) if isinstance(item, int | float)]
            within = all(abs(item) <= limit for item in numbers)
            require(within, key, values[key], f"at most {limit:,}")
    for pattern, table in NAMES.items():
        for key in matching(values, pattern):
            for name in _items(values[key]):
                renamed = rename_value(key, name)
                if name not in table and renamed in table:
                    raise ValueError(f"{key}: {name!r} was renamed; write {renamed!r}")
                lookup(table, name, f"name in {key}:")


def _items(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
