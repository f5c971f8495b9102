"""Seconds from process start to a usable model, with empty and with warm caches.

`configs/burgers.py:smoke` runs in a process of its own, first with empty caches of data and
compilations, then again in another folder with the caches that the first left. Marks: libraries
imported, data ready, first call of 50 updates done, parameters selected, report written. Bytecode
and Matplotlib's fonts belong to the installation and are warm in both. Bar: a warm start selects
its parameters within half of the cold one's seconds.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.record import ROOT

CONFIG, BAR, POLL_S = "configs/burgers.py:smoke", 0.5, 0.005
CHILD = """
import sys
from pathlib import Path
from runners import fast_to_sota
from ups_jax.experiment import pipeline
Path(sys.argv.pop(1)).write_text("yes")
sys.exit(fast_to_sota.main())
"""
MARKS = {
    "imported": "imported",
    "data": "run/splits.json",
    "first call": "run/metrics.jsonl",
    "selected": "run/ckpt/selected/1",
    "report": "run/summary.json",
}
"""Files of a run's folder, in the order of their creation."""


def add_flags(parser):
    parser.add_argument("--pairs", type=int, default=3, help="cold and warm starts; 3")


def run(options):
    pairs = 1 if options.quick else options.pairs
    starts = {"cold": [], "warm": []}
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        env = {**os.environ, "MPLCONFIGDIR": str(base / "fonts")}
        code = "import matplotlib.font_manager, ups_jax.experiment.pipeline"
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, check=True)
        for pair in range(pairs):
            for kind, seconds in starts.items():
                seconds.append(start(base / f"{kind}{pair}", base / f"home{pair}", env))
    rows = []
    for mark in starts["cold"][0]:
        cold, warm = (median(s[mark] for s in starts[kind]) for kind in ("cold", "warm"))
        rows.append({"row": mark, "cold_s": cold, "warm_s": warm, "ratio": warm / cold})
        print(f"{mark:18} cold {cold:6.2f}  warm {warm:6.2f}  ratio {warm / cold:.2f}")
    met = next(row["ratio"] for row in rows if row["row"] == "selected") <= BAR
    print(f"bar, warm selects within {BAR:.0%} of the cold start's seconds: {met}")
    return {"rows": rows, "config": CONFIG, "pairs": pairs, "bar": BAR, "met": met}


def start(folder, home, env):
    """Return the seconds from process start to each mark, and the run's own `wall/*`."""
    folder.mkdir()
    env = {**env, "HOME": str(home), "UPS_DATA": str(home / "data"), "PYTHONPATH": str(ROOT)}
    env.pop("JAX_COMPILATION_CACHE_DIR", None)
    argv = [sys.executable, "-c", CHILD, str(folder / "imported"), "--config", CONFIG]
    argv += ["--workdir", str(folder / "run"), "--wandb_mode", "disabled"]
    seconds, missing = {}, dict(MARKS)
    with (folder / "log").open("w") as log:
        began = time.perf_counter()
        process = subprocess.Popen(argv, cwd=ROOT, env=env, stdout=log, stderr=log)
        while process.poll() is None:
            missing = note_marks(folder, missing, seconds, time.perf_counter() - began)
            time.sleep(POLL_S)
    end = time.perf_counter() - began
    if process.returncode:
        sys.exit((folder / "log").read_text())
    note_marks(folder, missing, seconds, end)
    summary = json.loads((folder / "run" / "summary.json").read_text())
    wall = {key: value for key, value in summary.items() if key.startswith("wall/")}
    return {**seconds, "exit": end, **wall}


def note_marks(folder, missing, seconds, now):
    """Record the marks that exist by now; return those that are still missing."""
    present = {name for name, path in missing.items() if is_written(folder / path)}
    seconds.update(dict.fromkeys(present, now))
    return {name: path for name, path in missing.items() if name not in present}


def is_written(path):
    return path.is_dir() or (path.exists() and path.stat().st_size > 0)
