"""Take the numbers of finished runs into results/: `python benchmarks/collect.py runs/burgers ...`.

One JSON a run, named as its folder: the whole summary, the size and seconds of each stage, and the
device, versions and commit that the run itself wrote down.
"""

import json
import shutil
import sys
from pathlib import Path

from record import RESULTS

FIGURES = ("forecast_0", "error_over_time")


def collect(workdir: Path) -> Path:
    """Results of one finished folder, its figures beside them."""
    if not (workdir / "summary.json").exists():
        raise SystemExit(f"{workdir} is not finished: summary.json is missing")
    made = json.loads((workdir / "metadata.json").read_text())
    config = json.loads((workdir / "config.json").read_text())
    on_cpu = made["gpu_name"] == "none (cpu)"
    record = {
        "config": config,
        "device": f"{made['threads']} CPU cores" if on_cpu else made["gpu_name"],
        "git_sha": made["git_sha"],
        "origin": made["data_origin"],
        "samples": made["eval_samples"],
        "stages": json.loads((workdir / "tables" / "stage-summary.json").read_text()),
        "summary": json.loads((workdir / "summary.json").read_text()),
        "versions": {name: made[name] for name in ("python", "jax", "jaxlib")},
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{workdir.name}.json"
    path.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    # A run beside another of the same recipe gives its spread alone.
    for name in () if "-seed" in workdir.name else FIGURES:
        if (figure := workdir / "figures" / f"{name}.png").exists():
            shutil.copy(figure, RESULTS / f"{workdir.name}_{name}.png")
    return path


def main() -> None:
    folders = [Path(word) for word in sys.argv[1:]]
    if not folders:
        raise SystemExit("name finished folders: python benchmarks/collect.py runs/burgers")
    for folder in folders:
        print(collect(folder))


if __name__ == "__main__":
    main()
