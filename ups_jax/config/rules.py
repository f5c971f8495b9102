"""Rules between the keys of a config, checked before any compilation, simulation or run."""

from typing import Any

import numpy as np

from ups_jax.config.base import SCHEMA, Config
from ups_jax.config.bounds import check_values, require
from ups_jax.config.gate_rules import check_gate_rules
from ups_jax.config.missing_rules import check_missing_rules
from ups_jax.forecast import FORECASTERS, is_deterministic
from ups_jax.registry import lookup
from ups_jax.stages import STAGES
from ups_jax.train import Recipe

TOLERANCE = 1e-6


def require_schema(schema: Any) -> None:
    """Raise ValueError for a config that another version of the library wrote."""
    if schema != SCHEMA:
        raise ValueError(
            f"schema is {schema!r}, this version of ups_jax reads {SCHEMA}; "
            "start from this version's ups_jax.config.base, or use the version that wrote it"
        )


def validate(cfg: Config) -> None:
    """Raise ValueError on the first rule that is broken: what was got, what is allowed."""
    require_schema(cfg.schema)
    check_values(cfg)
    _stages(cfg)
    _parallel(cfg)
    _data(cfg)
    check_missing_rules(cfg)
    for stage in cfg.stages:
        _fit(cfg, stage)
    sigma = cfg.diffusion
    above = f"above diffusion.sigma_min ({sigma.sigma_min})"
    require(sigma.sigma_max > sigma.sigma_min, "diffusion.sigma_max", sigma.sigma_max, above)
    _forecasters(cfg)
    _protocol(cfg)
    check_gate_rules(cfg)


def _stages(cfg: Config) -> None:
    stages = cfg.stages
    _require_unique("stages", stages, STAGES)
    for position, stage in enumerate(stages):
        missing = [name for name in STAGES[stage].after if name not in stages[:position]]
        if missing:
            raise ValueError(f"stages is {stages!r}; {stage!r} needs {missing[0]!r} before it")
        if stage not in cfg.fit:
            raise ValueError(
                f"stages has {stage!r}, but the config has no section fit.{stage}; add the stage "
                "to STAGES before get_config()"
            )
    for stage in (STAGES[name] for name in stages if STAGES[name].validate_by != "loss"):
        forecaster = lookup(FORECASTERS, stage.forecaster, f"forecaster of stage {stage.name!r}")
        if stage.validate_by == "crps" and not forecaster.stochastic:
            raise ValueError(
                f"stage {stage.name!r} is validated by CRPS, but forecaster {stage.forecaster!r} "
                "has no members; declare it stochastic, or validate by 'nrmse'"
            )
    independent = [stage for stage in stages if cfg.fit[stage].match_flops_of is None]
    for stage in stages:
        other = cfg.fit[stage].match_flops_of
        allowed = f"none, or a stage that matches no other itself: {', '.join(independent)}"
        require(other in (None, *independent), f"fit.{stage}.match_flops_of", other, allowed)


def _parallel(cfg: Config) -> None:
    """Check what trains several networks in one run: seeds, or learning rates."""
    seeds, factors = cfg.num_seeds, cfg.sweep.lr_factors
    denoisers = [stage for stage in cfg.stages if STAGES[stage].network == "denoiser"]
    allowed = f"1 with stage {'/'.join(denoisers)}, which is trained on rollouts of one operator"
    require(seeds == 1 or not denoisers, "num_seeds", seeds, allowed)
    require(len(factors) > 0, "sweep.lr_factors", factors, "one positive number or more")
    require(len(set(factors)) == len(factors), "sweep.lr_factors", factors, "distinct numbers")
    allowed = "1 with several sweep.lr_factors: use seeds or learning rates, not both"
    require(seeds == 1 or len(factors) == 1, "num_seeds", seeds, allowed)


def _fit(cfg: Config, stage: str) -> None:
    fit, key, data = cfg.fit[stage], f"fit.{stage}", cfg.data
    require(
        fit.batch <= data.train, f"{key}.batch", fit.batch, f"at most data.train ({data.train})"
    )
    reach = f"from 1 to data.steps ({data.steps}), one number per phase"
    reached = 1 <= max(fit.unroll, default=0) <= data.steps
    require(reached, f"{key}.unroll", fit.unroll, reach)
    single_steps = STAGES[stage].network != "denoiser" or set(fit.unroll) == {1}
    require(single_steps, f"{key}.unroll", fit.unroll, "1: a denoiser is trained on single steps")
    for name in ("input_noise", "damping_noise"):
        of_operator = STAGES[stage].network != "denoiser" or fit[name] == 0
        require(of_operator, f"{key}.{name}", fit[name], "0: a denoiser adds its own")
    shortest = min(np.ravel(cfg.pde.get("points") or 2 * fit.damping_from)) // 2
    allowed = f"at most {shortest}, half of pde.points"
    in_grid = fit.damping_noise == 0 or fit.damping_from <= shortest
    require(in_grid, f"{key}.damping_from", fit.damping_from, allowed)
    if fit.sampling == "validation":
        by_error = cfg.pde.name == "mixture" and STAGES[stage].validate_by == "nrmse"
        allowed = "'uniform', except in stages of pde 'mixture' that are validated by nRMSE"
        require(by_error and not data.stream, f"{key}.sampling", fit.sampling, allowed)
    by_nrmse = fit.val_average == "mean" or STAGES[stage].validate_by == "nrmse"
    require(by_nrmse, f"{key}.val_average", fit.val_average, "'mean': it has no val_nrmse")
    fractions = fit.phase_fractions
    sums_to_1 = abs(sum(fractions) - 1) <= TOLERANCE
    require(sums_to_1, f"{key}.phase_fractions", fractions, "positive numbers that sum to 1")
    try:
        Recipe.of_section(fit)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error


def _data(cfg: Config) -> None:
    data = cfg.data
    streams = not data.stream or data.path is not None
    require(streams, "data.stream", data.stream, "false without a file in data.path")
    if data.path is not None:
        return
    points = cfg.pde.get("points", data.cells)
    points = points if isinstance(points, tuple) else (points,)
    fits = 0 < len(points) == len(data.cells) and not any(map(int.__mod__, data.cells, points))
    allowed = f"a multiple of pde.points {points} along each axis"
    require(fits, "data.cells", data.cells, allowed)
    stride = data.observed_stride
    divides = stride is None or all(n % stride == 0 and n // stride >= 4 for n in points)
    allowed = f"none, or a divisor of pde.points {points} that leaves four or more"
    require(divides, "data.observed_stride", data.observed_stride, allowed)


def _forecasters(cfg: Config) -> None:
    names, select = cfg.eval.forecasters, cfg.eval.select
    _require_unique("eval.forecasters", names, FORECASTERS)
    for name in names:
        if missing := missing_stages(cfg, name):
            search = f" with search.source={cfg.search.source}" if name == "ttc" else ""
            raise ValueError(
                f"eval.forecasters has {name!r}, which needs stage {missing[0]!r}{search}; "
                "add it to stages"
            )
    if not any(is_deterministic(name) for name in names):
        raise ValueError(
            f"eval.forecasters is {names!r}; it needs one without members, 'persistence' say"
        )
    allowed = f"best, or one of eval.forecasters: {', '.join(names)}"
    require(select in ("best", *names), "eval.select", select, allowed)
    if select == "best" and "operator" not in names:
        raise ValueError("eval.select=best needs 'operator' in eval.forecasters; add it")


def missing_stages(cfg: Config, forecaster: str) -> list[str]:
    """List the stages that a forecaster needs and the run does not train."""
    sources = (forecaster, cfg.search.source) if forecaster == "ttc" else (forecaster,)
    needed = [
        stage for name in sources if name in FORECASTERS for stage in FORECASTERS[name].stages
    ]
    return [stage for stage in needed if stage not in cfg.stages]


def _protocol(cfg: Config) -> None:
    """Check the times of evaluation against the frames that validation and test have."""
    key = "data.steps" if cfg.data.eval_steps is None else "data.eval_steps"
    steps, frames = cfg.data.eval_steps or cfg.data.steps, cfg.eval.context_frames
    allowed = f"at least 1 and below {key} ({steps})"
    single = steps == frames == 1 and cfg.eval.protocol == "p1"
    require(frames < steps or single, "eval.context_frames", frames, allowed)
    dt, horizons = cfg.pde.get("dt"), cfg.eval.horizons
    if dt is not None:
        on_frames = [
            1 <= round(time / dt) <= steps and abs(round(time / dt) * dt - time) <= TOLERANCE
            for time in horizons
        ]
        allowed = f"multiples of pde.dt ({dt}), above 0 and up to {key} * pde.dt ({steps * dt:g})"
        require(all(on_frames), "eval.horizons", horizons, allowed)


def _require_unique(key: str, names: tuple[str, ...], table: Any) -> None:
    unique = 0 < len(names) == len(set(names))
    require(unique, key, names, f"one or more of {', '.join(sorted(table))}, each once")
