"""Rules between the keys of a config, checked before anything is compiled, simulated or logged."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ups_jax.config.base import SCHEMA, Config
from ups_jax.config.gate_rules import check_gate_rules
from ups_jax.registry import lookup

SCHEDULES = ("constant", "cosine", "wsd")
LOSSES = ("mse", "nrmse")
PROTOCOLS = ("p1", "p10")
REQUIRED_STAGES = {
    "control": ("operator",),
    "diffusion": ("operator",),
    "student": ("operator", "diffusion"),
    "ensemble": ("operator",),
}
"""Stages that a stage goes on from."""
SELECT_RULE = "some that name operator, which what ships must match where eval.select is best"
TOLERANCE = 1e-6


def phases(fit: Config, total: int) -> tuple[tuple[int, int], ...]:
    """(steps, unroll) of each phase: shares of `total` in whole chunks, the rest to the last."""
    steps = [
        fit.steps_per_call * round(share * total / fit.steps_per_call)
        for share in fit.phase_fractions[:-1]
    ]
    return tuple(zip([*steps, total - sum(steps)], fit.unroll, strict=True))


def require_schema(schema: Any) -> None:
    """Raise ValueError where a config was laid out for another version of the library."""
    if schema != SCHEMA:
        raise ValueError(
            f"schema is {schema!r}, this version of ups_jax reads {SCHEMA}; "
            "start from this version's ups_jax.config.base, or use the version that wrote it"
        )


def validate(cfg: Config) -> None:
    """Raise ValueError on the first rule that is broken: what was got, what is allowed."""
    require_schema(cfg.schema)
    _require(cfg.seed >= 0, "seed", cfg.seed, "at least 0")
    _require(cfg.num_seeds >= 1, "num_seeds", cfg.num_seeds, "at least 1")
    _stage_order(cfg.stages)
    alone = cfg.num_seeds == 1 or "diffusion" not in cfg.stages
    _require(
        alone,
        "num_seeds",
        cfg.num_seeds,
        "1 beside stage diffusion, which learns from one operator",
    )
    _sweep(cfg)
    _data(cfg)
    _require_keys(cfg)
    for stage in cfg.stages:
        _fit(f"fit.{stage}", cfg.fit[stage], cfg.data)
    _single_steps(cfg)
    _generative(cfg)
    _eval(cfg)
    check_gate_rules(cfg)
    _require(cfg.report.dpi > 0, "report.dpi", cfg.report.dpi, "positive")


def _sweep(cfg: Config) -> None:
    factors = cfg.sweep.lr_factors
    positive = len(factors) > 0 and min(factors, default=0) > 0
    _require(positive, "sweep.lr_factors", factors, "positive numbers, one at least")
    _require(len(set(factors)) == len(factors), "sweep.lr_factors", factors, "each given once")
    alone = cfg.num_seeds == 1 or len(factors) == 1
    _require(
        alone,
        "num_seeds",
        cfg.num_seeds,
        "1 beside several sweep.lr_factors: seeds or rates, not both",
    )


def _stage_order(stages: tuple[str, ...]) -> None:
    _require_names("stages", stages, _stages(), "stage")
    for at, stage in enumerate(stages):
        missing = [first for first in REQUIRED_STAGES.get(stage, ()) if first not in stages[:at]]
        if missing:
            raise ValueError(f"stages is {stages!r}; {stage!r} needs {missing[0]!r} before it")


def _single_steps(cfg: Config) -> None:
    for stage in ("diffusion", "student"):
        lengths = cfg.fit[stage].unroll
        single = stage not in cfg.stages or set(lengths) == {1}
        _require(single, f"fit.{stage}.unroll", lengths, "1: it learns from rollouts made before")


def _require_keys(cfg: Config) -> None:
    """Every stage has its section, and goes by the length of none that goes by another's."""
    for stage in cfg.stages:
        if stage not in cfg.fit:
            raise ValueError(f"stages names {stage!r}; give it its keys in fit.{stage}")
    free = [stage for stage in cfg.stages if cfg.fit[stage].match_flops_of is None]
    for stage in cfg.stages:
        match, known = (
            cfg.fit[stage].match_flops_of,
            f"none, or one of stages of own length: {free}",
        )
        _require(match in (None, *free), f"fit.{stage}.match_flops_of", match, known)


def _generative(cfg: Config) -> None:
    """Rules of the stages that draw members."""
    spec, ensemble = cfg.diffusion, cfg.ensemble
    lookup(dict.fromkeys(_noises()), spec.noise, "noise")
    lookup(dict.fromkeys(_samplers()), spec.sampler, "sampler")
    _require(spec.sigma_min > 0, "diffusion.sigma_min", spec.sigma_min, "positive")
    above = f"above diffusion.sigma_min ({spec.sigma_min})"
    _require(spec.sigma_max > spec.sigma_min, "diffusion.sigma_max", spec.sigma_max, above)
    for key in ("steps", "student_steps"):
        _require(spec[key] >= 1, f"diffusion.{key}", spec[key], "at least 1")
    _require(ensemble.members >= 2, "ensemble.members", ensemble.members, "at least 2")
    for key in ("num_trajectories", "noise_channels"):
        _require(ensemble[key] >= 1, f"ensemble.{key}", ensemble[key], "at least 1")
    warm = {
        "ensemble.temperature": ensemble.temperature,
        "diffusion.temperature": spec.temperature,
        "diffusion.student_temperature": spec.student_temperature,
    }
    for key, value in warm.items():
        _require(value >= 0, key, value, "at least 0")


def _fit(name: str, fit: Config, data: Config) -> None:
    for key in ("steps", "batch", "lr", "clip_norm", "start_bias", "steps_per_call", "val_every"):
        _require(fit[key] > 0, f"{name}.{key}", fit[key], "positive")
    _require(
        fit.batch <= data.train, f"{name}.batch", fit.batch, f"at most data.train ({data.train})"
    )
    _require(fit.weight_decay >= 0, f"{name}.weight_decay", fit.weight_decay, "at least 0")
    _require(fit.loss_floor >= 0, f"{name}.loss_floor", fit.loss_floor, "at least 0")
    _require(0 <= fit.ema_decay < 1, f"{name}.ema_decay", fit.ema_decay, "at least 0 and below 1")
    short = f"at least 0 and below {name}.steps ({fit.steps})"
    _require(0 <= fit.warmup < fit.steps, f"{name}.warmup", fit.warmup, short)
    lookup(dict.fromkeys(SCHEDULES), fit.schedule, "schedule")
    lookup(dict.fromkeys(LOSSES), fit.loss, "loss")
    _require(fit.num_rollouts >= 1, f"{name}.num_rollouts", fit.num_rollouts, "at least 1")
    _require(fit.members >= 2, f"{name}.members", fit.members, "at least 2")
    for key in ("steps", "val_every"):
        below = fit[key] // fit.steps_per_call * fit.steps_per_call or fit.steps_per_call
        whole = f"a multiple of {name}.steps_per_call ({fit.steps_per_call}), {below} say"
        _require(fit[key] % fit.steps_per_call == 0, f"{name}.{key}", fit[key], whole)
    _phases(name, fit, data)


def _phases(name: str, fit: Config, data: Config) -> None:
    _require(len(fit.unroll) > 0, f"{name}.unroll", fit.unroll, "one number a phase, one at least")
    reach = f"from 1 to data.steps ({data.steps}) in every phase"
    _require(all(1 <= n <= data.steps for n in fit.unroll), f"{name}.unroll", fit.unroll, reach)
    one_each = f"one share a phase, {len(fit.unroll)} as in {name}.unroll {fit.unroll}"
    _require(
        len(fit.phase_fractions) == len(fit.unroll),
        f"{name}.phase_fractions",
        fit.phase_fractions,
        one_each,
    )
    ones = abs(sum(fit.phase_fractions) - 1) <= TOLERANCE and min(fit.phase_fractions) > 0
    _require(ones, f"{name}.phase_fractions", fit.phase_fractions, "positive numbers that sum to 1")
    for at, (steps, _) in enumerate(phases(fit, fit.steps)):
        if steps <= 0:
            raise ValueError(
                f"{name}.phase_fractions {fit.phase_fractions} leave phase {at + 1} no whole chunk of {fit.steps_per_call} "
                f"in {fit.steps} steps; raise {name}.steps, lower {name}.steps_per_call or drop a phase"
            )


def _data(cfg: Config) -> None:
    data = cfg.data
    for key in ("steps", "train", "val", "test"):
        _require(data[key] >= 1, f"data.{key}", data[key], "at least 1")
    for key in ("space_stride", "time_stride", "eval_steps", "observed_stride"):
        _require(
            data[key] is None or data[key] >= 1, f"data.{key}", data[key], "at least 1 or none"
        )
    for key in ("seed", "train_seed", "val_seed", "test_seed"):
        _require(data[key] is None or data[key] >= 0, f"data.{key}", data[key], "at least 0")
    _require(data.observed_noise >= 0, "data.observed_noise", data.observed_noise, "at least 0")
    _require(data.nu is None or data.nu > 0, "data.nu", data.nu, "positive or none")
    streams = not data.stream or data.path is not None
    _require(streams, "data.stream", data.stream, "false where data.path names no file")
    if data.path is not None:
        _require(
            Path(data.path).expanduser().is_file(), "data.path", data.path, "a file that exists"
        )
        _require(
            data.eval_steps is None, "data.eval_steps", data.eval_steps, "none beside data.path"
        )
        return
    points = cfg.pde.get("points", data.cells)
    _grids(data.cells, points)
    stride = data.observed_stride or 1
    sizes = points if isinstance(points, tuple) else (points,)
    leaves = all(n % stride == 0 and n // stride >= 4 for n in sizes)
    four = f"none, or one that divides pde.points {points} into four or more"
    _require(leaves, "data.observed_stride", data.observed_stride, four)


def _grids(cells: tuple[int, ...], points: int | tuple[int, ...]) -> None:
    points = points if isinstance(points, tuple) else (points,)
    for key, sizes in (("data.cells", cells), ("pde.points", points)):
        _require(min(sizes, default=0) > 0, key, sizes, "positive, one number an axis")
    fits = len(points) == len(cells) and not any(map(int.__mod__, cells, points))
    _require(fits, "data.cells", cells, f"a multiple of pde.points {points} along each axis")


def _eval(cfg: Config) -> None:
    spec, key = cfg.eval, "steps" if cfg.data.eval_steps is None else "eval_steps"
    steps, longest = cfg.data[key], f"data.{key}"
    _require_names("eval.forecasters", spec.forecasters, _forecasters(), "mode")
    for mode in spec.forecasters:
        missing = [stage for stage in _models(mode) if stage not in cfg.stages]
        if missing:
            raise ValueError(
                f"eval.forecasters names {mode!r}, which needs stage {missing[0]!r}; add it to stages"
            )
    _search(cfg)
    modes = f"best, or one of eval.forecasters: {', '.join(spec.forecasters)}"
    _require(spec.select in ("best", *spec.forecasters), "eval.select", spec.select, modes)
    _require(
        spec.select != "best" or "operator" in spec.forecasters,
        "eval.forecasters",
        spec.forecasters,
        SELECT_RULE,
    )
    _require(
        spec.selection_trajectories >= 1,
        "eval.selection_trajectories",
        spec.selection_trajectories,
        "at least 1",
    )
    lookup(dict.fromkeys(PROTOCOLS), spec.protocol, "protocol")
    context = f"at least 1 and below {longest} ({steps})"
    _require(1 <= spec.context_frames < steps, "eval.context_frames", spec.context_frames, context)
    _require(0 <= spec.nudging_gain <= 1, "eval.nudging_gain", spec.nudging_gain, "from 0 to 1")
    _require(spec.batch > 0, "eval.batch", spec.batch, "positive")
    _require(spec.num_figures >= 0, "eval.num_figures", spec.num_figures, "at least 0")
    dt = cfg.pde.get("dt")
    if dt is None:
        return
    _require(dt > 0, "pde.dt", dt, "positive")
    whole = f"multiples of pde.dt ({dt}), above 0 and up to {longest} * pde.dt ({steps * dt:g})"
    for time in spec.horizons:
        frame = round(time / dt)
        meets = 1 <= frame <= steps and abs(frame * dt - time) <= TOLERANCE
        _require(meets, "eval.horizons", spec.horizons, whole)


def _search(cfg: Config) -> None:
    """What the simulator's `build` cannot know: which forecasters are asked for."""
    spec = cfg.search
    _require(
        spec.num_trajectories >= 1, "search.num_trajectories", spec.num_trajectories, "at least 1"
    )
    _require(0 < spec.discount <= 1, "search.discount", spec.discount, "above 0 and at most 1")
    needs = lookup(_sources(), spec.source, "search.source")
    if "ttc" in cfg.eval.forecasters and needs not in cfg.stages:
        raise ValueError(
            f"eval.forecasters names 'ttc', whose search.source {spec.source!r} needs stage {needs!r}; "
            "add it to stages"
        )


def _require_names(key: str, names: tuple[str, ...], known: Iterable[str], kind: str) -> None:
    once = 0 < len(names) == len(set(names))
    _require(once, key, names, f"one or more of {', '.join(sorted(known))}, each once")
    for name in names:
        lookup(dict.fromkeys(known), name, kind)


def _require(holds: bool, key: str, got: Any, allowed: str) -> None:
    if not holds:
        raise ValueError(f"{key} is {got!r}; it must be {allowed}")


def _stages() -> tuple[str, ...]:
    from ups_jax.stages import STAGES

    return tuple(STAGES)


def _noises() -> tuple[str, ...]:
    from ups_jax.diffusion import NOISE_SCHEDULES

    return tuple(NOISE_SCHEDULES)


def _samplers() -> tuple[str, ...]:
    from ups_jax.diffusion import SAMPLERS

    return tuple(SAMPLERS)


def _sources() -> dict[str, str]:
    from ups_jax.emulator.build import SEARCH_SOURCES

    return SEARCH_SOURCES


def _models(mode: str) -> tuple[str, ...]:
    from ups_jax.forecast import FORECASTERS

    return FORECASTERS[mode].stages


def _forecasters() -> tuple[str, ...]:
    from ups_jax.forecast import FORECASTERS

    return tuple(FORECASTERS)
