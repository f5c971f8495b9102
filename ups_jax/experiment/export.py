"""Trained emulators for use without this library: StableHLO, safetensors and a model card."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export
from jax.tree_util import tree_flatten_with_path
from safetensors.numpy import save

from ups_jax.emulator import Emulator
from ups_jax.emulator.params import array_name
from ups_jax.emulator.states import rollout_channels
from ups_jax.experiment.datasets import eval_steps
from ups_jax.experiment.evaluation import forecast_options
from ups_jax.experiment.model_card import CARD, PARAMETERS, model_card, selected_forecaster
from ups_jax.experiment.signals import StopFlag
from ups_jax.experiment.trained import load
from ups_jax.files import write_bytes, write_text
from ups_jax.forecast import FORECASTERS, Forecast, forecast_program
from ups_jax.forecast.base import sample_keys
from ups_jax.registry import lookup
from ups_jax.types import Array, Params

PLATFORMS = ("cpu", "cuda")
EXPORTED_STEPS = 40
"""Steps of an exported rollout where neither a run nor the caller names them."""


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Settings of the command `export`; None takes the value of the run."""

    workdir: Path
    wandb_mode: str | None = None
    out: Path | None = None
    """Folder to write; None: `<workdir>-export`."""
    forecaster: str | None = None
    steps: int | None = None
    """Frames of the exported rollout."""
    license: str | None = None
    """Licence of the parameters, an SPDX name."""


def prepare(options: ExportOptions, stop: StopFlag) -> Path:
    """Export a run to a new folder. Raises ValueError as `export`."""
    run = options.workdir.resolve()
    out = options.out or run.with_name(f"{run.name}-export")
    stop.line = f"stopped; remove {out} if it exists, and rerun the same command"
    return export(
        out, run, forecaster=options.forecaster, steps=options.steps, license=options.license
    )


def execute(folder: Path) -> int:
    """Print the path of the model card -> exit code."""
    print(f"model card: {folder / CARD}")
    return 0


class Exported(NamedTuple):
    """A forecaster to export: its emulator and parameters, name, steps of a rollout, options."""

    emulator: Emulator
    params: Params
    forecaster: str
    steps: int
    options: Mapping[str, Any]


def export(
    folder: str | Path,
    source: str | Path | Emulator,
    params: Params | None = None,
    *,
    forecaster: str | None = None,
    steps: int | None = None,
    license: str | None = None,
    **options: Any,
) -> Path:
    """Write a forecaster as StableHLO and safetensors with a model card; return the new folder.

    `source` is the folder of a finished run or of `save`, or an emulator with its `params`. The
    default of `forecaster` is the run's selected one, else "operator"; of `steps` the length of
    the run's evaluation, else 40; of `options`, which are the forecaster's own, the run's config.
    `license` is that of the parameters. Raises ValueError on a folder that exists, an unfinished
    run and a forecaster without a network.
    """
    folder = Path(folder).expanduser()
    if folder.exists():
        raise ValueError(f"{folder} exists; name another folder")
    if isinstance(source, Emulator):
        if params is None:
            raise ValueError("an emulator has no parameters; call export(folder, emulator, params)")
        run, name = None, forecaster or "operator"
        chosen = Exported(source, params, name, steps or EXPORTED_STEPS, options)
    else:
        run = Path(source).expanduser()
        chosen = _of_run(run, forecaster, steps, options)
    if not lookup(FORECASTERS, chosen.forecaster, "forecaster").stages:
        learned = ", ".join(name for name, spec in FORECASTERS.items() if spec.stages)
        raise ValueError(f"forecaster {chosen.forecaster!r} has no network; learned: {learned}")
    arrays, programs = _programs(chosen)
    card = model_card(
        chosen.emulator, chosen.forecaster, arrays,
        steps=chosen.steps, options=chosen.options, license=license, run=run,
    )  # fmt: skip
    for name, program in programs.items():
        write_bytes(folder / f"{name}.stablehlo", program)
    write_bytes(folder / PARAMETERS, save(dict(arrays)))
    write_text(folder / CARD, card)
    return folder


def _of_run(
    run: Path, forecaster: str | None, steps: int | None, options: Mapping[str, Any]
) -> Exported:
    """Return what to export of a folder, by default what its run selected."""
    emulator, params, cfg = load(run)
    name = forecaster or selected_forecaster(run) or "operator"
    if name in FORECASTERS:
        options = {**forecast_options(cfg, emulator, name), **options}
    return Exported(emulator, params, name, steps or eval_steps(cfg), options)


def _programs(chosen: Exported) -> tuple[dict[str, np.ndarray], dict[str, bytes]]:
    """Return the parameters by name, and the serialized rollout and, if deterministic, step."""
    emulator, params, forecaster, steps, options = chosen
    lengths = {"rollout": steps}
    if not FORECASTERS[forecaster].stochastic:
        lengths["step"] = 1
    arrays, programs = {}, {}
    for name, length in lengths.items():
        program, used = forecast_program(emulator, params, forecaster, steps=length, **options)
        leaves, tree = tree_flatten_with_path(used)
        names = [array_name(path) for path, _ in leaves]
        values = [np.ascontiguousarray(leaf, np.float32) for _, leaf in leaves]
        arrays = dict(zip(names, values, strict=True))
        function = _function(program, tree, names, one_step=name == "step")
        programs[name] = _serialize(function, arrays, chosen, length)
    return arrays, programs


def _function(
    program: Callable[..., Forecast], tree: Any, names: Sequence[str], *, one_step: bool
) -> Callable[..., Array]:
    """Return a program as a function of parameters by name, fields, PDE parameters and a seed."""

    def call(arrays: Mapping[str, Array], u0: Array, cond: Array, seed: Any = 0) -> Array:
        keys = sample_keys(jax.random.key(seed), jnp.arange(u0.shape[0]))
        out = program(tree.unflatten([arrays[name] for name in names]), u0, cond, keys)
        fields = out.u if out.members is None else out.members
        return fields[:, 0] if one_step else fields

    return call


def _serialize(
    function: Callable[..., Array], arrays: Mapping[str, np.ndarray], chosen: Exported, steps: int
) -> bytes:
    """Trace a function for a batch of any size -> serialized StableHLO."""
    pde = chosen.emulator.pde
    state = (*pde.points, rollout_channels(pde, chosen.emulator.history, steps))
    shapes = ((1, *state), (1, len(pde.params)))
    fields = jax_export.symbolic_args_specs([np.zeros(s, np.float32) for s in shapes], "b, ...")
    stochastic = FORECASTERS[chosen.forecaster].stochastic
    seed = [jax.ShapeDtypeStruct((), np.uint32)] if stochastic else []
    traced = jax_export.export(jax.jit(function), platforms=PLATFORMS)
    return bytes(traced(arrays, *fields, *seed).serialize())
