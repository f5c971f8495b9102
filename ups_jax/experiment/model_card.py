"""Model card of an exported forecaster, from the records of its run."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ups_jax import config
from ups_jax.data.missing import MASK
from ups_jax.emulator import Emulator
from ups_jax.emulator.states import rollout_channels
from ups_jax.experiment import provenance
from ups_jax.experiment.workdir import is_finished
from ups_jax.files import read_json, read_text
from ups_jax.forecast import FORECASTERS
from ups_jax.tables import format_cell, select_columns

PARAMETERS, CARD = "parameters.safetensors", "README.md"
LOADER = """\
import json
from pathlib import Path
import numpy as np
from jax import export

raw = Path("parameters.safetensors").read_bytes()
start = 8 + int.from_bytes(raw[:8], "little")
spans = {k: (v["shape"], slice(*v["data_offsets"])) for k, v in json.loads(raw[8:start]).items()}
params = {k: np.frombuffer(raw[start:][i], "<f4").reshape(n) for k, (n, i) in spans.items()}
rollout = export.deserialize(bytearray(Path("rollout.stablehlo").read_bytes()))
"""
"""Five lines of Python that every card has; they need jax, numpy and flatbuffers."""
CARD_COLUMNS = ("stage", "parameters", "updates", "seeds", "best step", "judged by", "validation")
MADE_WITH = ("git_sha", "python", "jax", "device", "gpu_name")
PROTOCOL = """\
P1 forecasts start from the initial condition, P10 after {} given frames, on test trajectories that
neither training nor selection used. nRMSE is the RMS error over the RMS of the truth, in physical
units, for each trajectory and frame, then averaged."""
"""Protocol of a run's table of errors."""
OBSERVED = " The data have missing values: errors are those of observed values."


def selected_forecaster(run: Path) -> str | None:
    """Return the forecaster that a run selected; None for a folder of `save`.

    Raises ValueError on a run that is not finished.
    """
    metadata = read_json(run / "metadata.json", {})
    if not is_finished(run) and (metadata or (run / "run_id.txt").exists()):
        raise ValueError(f"{run} is not finished; rerun its training command to resume it")
    return metadata.get("selected")


def model_card(
    emulator: Emulator,
    forecaster: str,
    arrays: Mapping[str, np.ndarray],
    *,
    steps: int,
    options: Mapping[str, Any],
    license: str | None,
    run: Path | None,
) -> str:
    """Return the card as Markdown; its numbers are those of the run's files, if it has any."""
    records = _records(run) if run is not None and is_finished(run) else _origin(emulator)
    owner = "No licence is given: ask the owner of the run."
    sections = {
        "Use": _use(emulator, forecaster, steps, options),
        "Task": _task(emulator, arrays),
        **records,
        "Licence": f"Parameters and programs: {license}." if license else owner,
    }
    header = f"---\nlicense: {license or 'unknown'}\ntags: [jax, stablehlo, pde]\n---\n\n"
    title = f"# {emulator.pde.name}: {forecaster}, a neural emulator"
    return header + "\n\n".join([title, *(f"## {k}\n\n{v}" for k, v in sections.items())]) + "\n"


def _use(emulator: Emulator, forecaster: str, steps: int, options: Mapping[str, Any]) -> str:
    pde, stochastic = emulator.pde, FORECASTERS[forecaster].stochastic
    points, state = ", ".join(map(str, pde.points)), rollout_channels(pde, emulator.history, steps)
    shape, given = f"{points}, {len(pde.channels)}", f"{points}, {state}"
    out = f"(b, members, {steps}, {shape})" if stochastic else f"(b, {steps}, {shape})"
    seed = ", np.uint32(0)" if stochastic else ""
    lines = [
        "Packages: `jax`, `numpy`, and `flatbuffers`, with which JAX reads StableHLO.",
        f"```python\n{LOADER}u = rollout.call(params, u0, cond{seed})  # {out}\n```",
        f"`u0` (b, {given}) and `cond` (b, {len(pde.params)}) are float32, fields in physical "
        f"units, with a batch b of any size. `u` holds the {steps} frames after `u0`; for more, "
        f"call again with the last {'state' if state > len(pde.channels) else 'one'}. "
        "The programs run on CPU and CUDA.",
    ]
    if stochastic:
        lines.append("The last argument is the seed of the members.")
    else:
        lines.append("`step.stablehlo` takes the same arguments and returns the next frame alone.")
    if state > len(pde.channels):
        lines.append(
            f"The channels of `u0`: {', '.join(pde.channels)}; the same of the "
            f"{emulator.history - 1} frames before, newest first (repeat the first frame where "
            f"there are fewer); static: {', '.join(pde.static) or 'none'}. Put later states "
            "together in this order from the frames of `u`."
        )
    if pde.forcing:
        lines.append(
            f"The last channels of `u0` are the known forcing {', '.join(pde.forcing)} of "
            f"{steps + 1} frames one after another: that of `u0` and of the {steps} frames after "
            "it. For `step.stablehlo` they are the forcing of `u0` and of the frame after it."
        )
    if emulator.missing == MASK:
        lines.append(
            "NaN in the predicted channels of `u0` is a missing value. It takes the last value "
            "observed at its point in the frames of `u0`, else the mean of the frame's observed "
            "values; a channel without any gives NaN."
        )
    if options:
        lines.append("Options: " + ", ".join(f"`{k}={v}`" for k, v in options.items()) + ".")
    return "\n\n".join(lines)


def _task(emulator: Emulator, arrays: Mapping[str, np.ndarray]) -> str:
    pde = emulator.pde
    points, extent = (" x ".join(f"{n:g}" for n in values) for values in (pde.points, pde.extent))
    return _table(
        ("property", "value"),
        [
            ("equation", " ".join([pde.name, *(f"{k}={v}" for k, v in pde.spec.items())])),
            ("channels", ", ".join(pde.channels)),
            ("static channels", ", ".join(pde.static) or "none"),
            *([("forcing channels", ", ".join(pde.forcing))] if pde.forcing else []),
            ("columns of cond", ", ".join(pde.params) or "none"),
            ("grid", f"{points} points on a box of {extent}"),
            ("boundary", ", ".join(pde.boundary)),
            ("time between frames", f"{pde.dt:g}"),
            ("parameters", f"{sum(x.size for x in arrays.values()):,}, in `{PARAMETERS}`"),
        ],
    )


def _origin(emulator: Emulator) -> dict[str, str]:
    """Return the sections of an emulator without a run: the source and data of a fine-tuning."""
    found = emulator.spec.get(provenance.KEY)
    if not found:
        return {"Errors": "No run has evaluated this emulator: data, errors and gates are unknown."}
    parts = found["data"].items()
    rows = [(k, v["origin"], v["trajectories"], v["frames"], v["hash"]) for k, v in parts]
    source = found["source"] or "an emulator in memory"
    data = _table(("split", "origin", "trajectories", "frames", "hash"), rows)
    unknown = "No run has evaluated this emulator: errors and gates are unknown."
    return {"Data": f"Fine-tuned from {source} on:\n\n{data}", "Errors": unknown}


def _records(run: Path) -> dict[str, str]:
    """Return the sections that a finished run's files fill."""
    cfg = config.from_dict(read_json(run / "config.json", {}))
    metadata, verdict, splits = (
        read_json(run / f"{name}.json", {}) for name in ("metadata", "verdict", "splits")
    )
    hashes = metadata.get("data_hash", {})
    data = [
        (name, metadata.get("data_origin"), len(ids), hashes.get(name))
        for name, ids in splits.get("ids", {}).items()
    ]
    stages = read_json(run / "tables" / "stage-summary.json", {"columns": [], "rows": []})
    fit = select_columns(stages["columns"], stages["rows"], {name: name for name in CARD_COLUMNS})
    masked = OBSERVED if cfg.data.missing == MASK else ""
    made = [("seed", cfg.seed), *((name, metadata.get(name)) for name in MADE_WITH)]
    gates = [(gate["name"], gate["status"], gate["sentence"]) for gate in verdict.get("gates", [])]
    return {
        "Data": _table(("split", "origin", "trajectories", "hash"), data),
        "Training": f"{_table(*fit)}\n\n{_table(('made with', 'value'), made)}",
        "Errors": f"{PROTOCOL.format(cfg.eval.context_frames)}{masked}\n\n"
        f"```\n{read_text(run / 'table.txt')}\n```",
        "Gates": _table(("gate", "status", "result"), gates) if gates else "The run had no gates.",
    }


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [columns, ["---"] * len(columns), *([format_cell(x) for x in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
