"""Copy the results of finished runs to benchmarks/results, one JSON a run, named as its folder.

A file holds the whole summary, the stage table with size and seconds of each stage, the config, and
the device, versions and commit that the run recorded. Two figures are copied with it. Forecasters
that only `runners/evaluate.py --forecasters` evaluated, on the same test split, are in the summary.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS, save
from ups_jax import config
from ups_jax.config.renames import rename_metric, rename_name

FIGURES = ("forecast_0", "error_over_time")


def add_flags(parser):
    parser.add_argument("workdirs", nargs="+", type=Path, help="finished runs: runs/burgers ...")


def run(options):
    for workdir in options.workdirs:
        print(collect(workdir))


def read_summary(workdir: Path) -> dict[str, Any]:
    """Return the summary of a run, with today's keys for runs before schema 3."""
    summary = json.loads((workdir / "summary.json").read_text())
    summary = {rename_metric(key): value for key, value in summary.items()}
    return {**later_forecasters(workdir, summary), **summary}


def later_forecasters(workdir: Path, summary: dict[str, Any]) -> dict[str, Any]:
    """Return the results of forecasters that further evaluations of the run's test split added."""
    found: dict[str, Any] = {}
    for path in sorted(workdir.glob("evaluation-*.json")):
        record = json.loads(path.read_text())
        changed = record.get("changed")
        if changed is None or not set(changed) <= {"forecasters", "select"}:
            continue
        for name in changed.get("forecasters", ()):
            start = f"eval/{name}/"
            if not any(key.startswith(start) for key in summary):
                found |= {k: v for k, v in record["scalars"].items() if k.startswith(start)}
    return found


def collect(workdir: Path) -> Path:
    """Write the results of one finished folder; return the path of the file."""
    if not (workdir / "summary.json").exists():
        sys.exit(f"{workdir} has no summary.json; finish the run first")
    stages = json.loads((workdir / "tables" / "stage-summary.json").read_text())
    for row in stages["rows"]:
        row[0] = rename_name(row[0])
    metadata = json.loads((workdir / "metadata.json").read_text())
    on_cpu = metadata["gpu_name"] == "none (cpu)"
    record = {
        "config": config.to_dict(
            config.from_dict(json.loads((workdir / "config.json").read_text()))
        ),
        "device": f"{metadata['threads']} CPU cores" if on_cpu else metadata["gpu_name"],
        "git_sha": metadata["git_sha"],
        "origin": metadata["data_origin"],
        "samples": metadata["eval_samples"],
        "stages": stages,
        "summary": read_summary(workdir),
        "versions": {name: metadata[name] for name in ("python", "jax", "jaxlib")},
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{workdir.name}.json"
    save(path, record)
    # Runs of further seeds contribute their spread alone.
    for name in () if "-seed" in workdir.name else FIGURES:
        if (figure := workdir / "figures" / f"{name}.png").exists():
            shutil.copy(figure, RESULTS / f"{workdir.name}_{name}.png")
    return path
