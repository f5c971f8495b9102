"""Keys of a config that a data file determines: they take its values, or are refused together."""

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ups_jax.config import base
from ups_jax.config.base import Config
from ups_jax.config.bounds import require
from ups_jax.config.help import format_value
from ups_jax.data import describe_differences, differences, load_section, parameter_differences
from ups_jax.data.cache import errors_named
from ups_jax.data.checks import Difference
from ups_jax.data.pdebench import ZARR
from ups_jax.files import flatten
from ups_jax.forecast import FORECASTERS
from ups_jax.pde import PDES
from ups_jax.pde.base import PDE
from ups_jax.pde.data import FEWEST_POINTS
from ups_jax.pde.symmetries import reflection_signs
from ups_jax.rewards import check_requirements
from ups_jax.types import Trajectories

TOLERANCE = 1e-6
TEST_SIZE, VAL_SIZE = 1000, 256
"""Largest test and validation splits of a file; below, each is a tenth of it."""


def pde_of_config(cfg: Config) -> PDE:
    """Return the PDE of a config."""
    arguments = dict(cfg.pde)
    return PDES[arguments.pop("name")](**arguments, cells=tuple(cfg.data.cells))


def take_file_values(cfg: Config, overrides: Mapping[str, Any]) -> list[str]:
    """Give keys the values of the file in `data.path`, and return a sentence on them.

    Only a pde "data" takes them, where a key has its default and no override. Raises one ValueError
    with every key that does not fit the file, and the command that takes the file's own values.
    """
    path = cfg.data.path
    if path is None:
        allowed = "a file: pde 'data' takes its grid, channels and dt from there"
        require(cfg.pde.name != "data", "data.path", path, allowed)
        return []
    file = Path(path).expanduser()
    found = file.is_dir() if file.suffix.lower() == ZARR else file.is_file()
    require(found, "data.path", path, "a file that exists")
    with errors_named(file):
        data = load_section(cfg.data, cfg.pde.name, describe=True)
        if cfg.pde.name != "data":
            found = [*differences(data, pde_of_config(cfg), points=True)]
            found += [] if found else parameter_differences(data, pde_of_config(cfg))
            _refuse(cfg, found, _unfit(cfg, data))
            return []
        taken = _own_task(cfg, data, overrides)
        taken |= _unfit(cfg, data, free=lambda key: key not in overrides and _is_default(cfg, key))
        refused = {key: value for key, value in taken.items() if _is_given(cfg, key, overrides)}
        _refuse(cfg, [], refused)
        cfg.update_from_flattened_dict(taken)
    listed = [", ".join(f"{key}={format_value(value)}" for key, value in taken.items())]
    listed += _boundary_note(cfg, data)
    listed += data.meta.get("notes", ())
    unused = data.meta.get("unused", ())
    listed += [f"not used: {', '.join(unused)}"] if unused else []
    return [f"from {path}: {'; '.join(filter(None, listed))}"] if any(listed) else []


def drop_absent(cfg: Config, overrides: Mapping[str, Any]) -> list[str]:
    """Switch off what needs an equation, for a pde "data"; return a sentence on each change.

    Raises ValueError on a forecaster that an override requires.
    """
    pde, notes = pde_of_config(cfg), []
    rewards = [name for name in cfg.search.rewards if _is_possible(pde, name)]
    lost = [name for name in cfg.eval.forecasters if FORECASTERS[name].solver]
    searches = rewards and pde.fields == pde.channels and cfg.operator.history == 1
    lost += ["ttc"] if "ttc" in cfg.eval.forecasters and not searches else []
    if lost:
        reason = "pde 'data' has no solver, and no search without a reward or with more inputs"
        required = "eval.forecasters" in overrides
        allowed = f"without {', '.join(lost)}: {reason}"
        require(not required, "eval.forecasters", cfg.eval.forecasters, allowed)
        cfg.eval.forecasters = tuple(name for name in cfg.eval.forecasters if name not in lost)
        notes.append(f"eval.forecasters without {', '.join(lost)}: {reason}")
    if rewards and len(rewards) < len(cfg.search.rewards):
        kept = [name in rewards for name in cfg.search.rewards]
        weights = zip(cfg.search.weights, kept, strict=True)
        cfg.search.weights = tuple(weight for weight, keep in weights if keep)
        cfg.search.rewards = tuple(rewards)
        notes.append(f"search.rewards is {', '.join(rewards)}: the data declare no more laws")
    conserved = {law.removeprefix("mean_") for law in pde.laws}
    for key, possible, off in (
        ("operator.galilean", False, False),
        ("operator.base", cfg.operator.base == "identity", "identity"),
        ("operator.equivariant", reflection_signs(pde) is not None, False),
        ("operator.zero_mean", conserved == set(pde.channels), False),
        ("ensemble.antithetic", pde.reflection is not None and cfg.operator.history == 1, False),
    ):
        section, leaf = key.split(".")
        is_on = cfg[section].get(leaf, off) not in (False, off)
        if is_on and not possible and key not in overrides:
            cfg[section][leaf] = off
            notes.append(f"{key} is {format_value(off)}: the data declare no equation for it")
    return notes + (_steady_baselines(cfg, overrides) if pde.steady else [])


def _steady_baselines(cfg: Config, overrides: Mapping[str, Any]) -> list[str]:
    """Replace the baselines that start from a given frame by the mean field; return a sentence."""
    names, old = cfg.eval.forecasters, ("persistence", "mean")
    if "eval.forecasters" in overrides or not set(old) & set(names):
        return []
    kept = (name for name in names if name not in (*old, "mean_field"))
    cfg.eval.forecasters = ("mean_field", *kept)
    for gate in cfg.gates.values():
        head, _, metric = gate.ratio_to.rpartition("/")
        if head in [f"eval/{name}" for name in old]:
            gate.ratio_to = f"eval/mean_field/{metric}"
    return [f"mean_field replaces {', '.join(n for n in old if n in names)}: the data are pairs"]


def _is_possible(pde: PDE, reward: str) -> bool:
    try:
        check_requirements(pde, reward)
    except ValueError:
        return False
    return True


def _own_task(cfg: Config, data: Trajectories, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a pde "data" whose values are not those of the file."""
    if min(data.points) < FEWEST_POINTS:
        shape = " x ".join(map(str, data.points))
        raise ValueError(
            f"the fields have {shape} points; expected at least {FEWEST_POINTS} along each axis of "
            "space: is it (n, t, *s, c), and data.space_stride small enough?"
        )
    width = np.asarray(data.cond).shape[1]
    values: dict[str, Any] = dict(
        points=data.points,
        channels=data.predicted,
        static=data.static,
        forcing=data.forcing,
        params=data.params or tuple(f"p{i}" for i in range(width)),
        dt=data.dt,
        length=data.extent,
    )
    values |= {"boundary": data.boundary} if data.boundary else {}
    values |= {"steady": True} if data.steady else {}
    return {f"pde.{k}": v for k, v in values.items() if not _same(cfg.pde[k], v)}


def _boundary_note(cfg: Config, data: Trajectories) -> list[str]:
    """Return a sentence on the boundary if neither the file nor the config states it."""
    if data.boundary or cfg.pde.boundary:
        return []
    return ["boundary periodic (not stated by the file; set pde.boundary)"]


def _same(old: Any, new: Any) -> bool:
    if isinstance(new, float | tuple) and np.asarray(new).dtype.kind == "f" and np.size(new):
        return old not in (None, ()) and np.shape(old) == np.shape(new) and np.allclose(old, new)
    return old == new


def _is_default(cfg: Config, key: str) -> bool:
    return flatten(base.get_config()).get(key) == flatten(cfg)[key]


def _is_given(cfg: Config, key: str, overrides: Mapping[str, Any]) -> bool:
    """Return whether a key is overridden, or given by the file of the config and of the task."""
    present = flatten(cfg)[key]
    return key in overrides or (key.startswith("pde.") and present not in (None, (), False))


def _unfit(
    cfg: Config, data: Trajectories, *, free: Callable[[str], bool] = lambda key: False
) -> dict[str, Any]:
    """Return the keys of splits, times and windows that do not fit the file, and values that do.

    A key that is `free` takes the value of the file in any case.
    """
    n, steps, spec, out = len(data), data.u.shape[1] - 1, cfg.data, {}
    if n < 3 or steps < 1:
        notes = "".join(f" ({note})" for note in data.meta.get("notes", ()))
        raise ValueError(
            f"the file has {n} samples of {steps + 1} frames{notes}; expected three samples or "
            "more, of two frames or more; a long trajectory may be cut into several samples"
        )
    if spec.steps != steps:
        out["data.steps"] = steps
    shortest = steps if data.lengths is None else int(np.min(data.lengths)) - 1
    if data.lengths is None or not 1 <= (spec.eval_steps or 0) <= steps:
        usual = None if data.lengths is None else shortest
        out |= {} if spec.eval_steps == usual else {"data.eval_steps": usual}
        steps = shortest
    else:
        steps = spec.eval_steps
    sizes = {key: spec[key] for key in ("train", "val", "test")}
    tenth = max(1, n // 10)
    test = spec.test if spec.test < n else tenth
    if all(free(f"data.{key}") for key in sizes) or spec.train + spec.val + test > n:
        sizes = dict(val=min(VAL_SIZE, tenth), test=min(TEST_SIZE, tenth))
        sizes = {"train": n - sum(sizes.values())} | sizes
        out |= {f"data.{key}": size for key, size in sizes.items() if spec[key] != size}
    times = [round(time / data.dt) for time in cfg.eval.horizons]
    on_frames = all(
        1 <= k <= steps and abs(k * data.dt - time) <= TOLERANCE
        for k, time in zip(times, cfg.eval.horizons, strict=True)
    )
    if free("eval.horizons") or not on_frames:
        frames = sorted({max(1, steps // 4), max(1, steps // 2), steps})
        out["eval.horizons"] = tuple(round(k * data.dt, 9) for k in frames)
    if cfg.eval.context_frames >= max(2, steps):
        out["eval.context_frames"] = max(1, steps // 4)
    for stage in cfg.stages:
        fit = cfg.fit[stage]
        if max(fit.unroll) > shortest:
            out[f"fit.{stage}.unroll"] = tuple(min(k, shortest) for k in fit.unroll)
        if fit.batch > sizes["train"]:
            out[f"fit.{stage}.batch"] = sizes["train"]
    return out


def _refuse(cfg: Config, found: list[Difference], keys: dict[str, Any]) -> None:
    """Raise ValueError if properties or keys differ, with the command that takes the file's."""
    if not found and not keys:
        return
    own, foreign = {}, []
    for difference in found:
        values = {key: _as_argument(cfg, key, value) for key, value in difference.keys.items()}
        if not values or None in values.values():
            foreign.append(difference)
        own |= {f"pde.{key}": value for key, value in values.items()}
    present = flatten(cfg)
    parts = [describe_differences(found)] if found else []
    parts += [f"{k} {format_value(v)}, not {format_value(present[k])}" for k, v in keys.items()]
    if foreign:
        path = shlex.quote(str(cfg.data.path))
        command = f"--config configs/data.py --config.data.path={path} trains without an equation"
    else:
        pairs = (own | keys).items()
        command = " ".join(f"--config.{key}={format_value(value)}" for key, value in pairs)
        command = f"the file's own values: {command}"
    raise ValueError(f"the file does not fit the config: {'; '.join(parts)}\n{command}")


def _as_argument(cfg: Config, key: str, value: Any) -> Any:
    """Return a value as the factory's argument takes it, or None where it cannot."""
    if key not in cfg.pde:
        return None
    if isinstance(value, tuple) and not isinstance(cfg.pde[key], tuple):
        return value[0] if len(set(value)) == 1 else value if key == "nu" else None
    return value
