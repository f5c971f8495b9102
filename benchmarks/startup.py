"""From process start to a usable model: how long a first start takes, and how much a second saves.

`python benchmarks/startup.py` runs `configs/burgers.py:smoke` in a process of its own, first with
empty caches of data and compilations, then again, in another folder, with what the first left.
Seconds since just before the process began: libraries imported, data at hand, first chunk of 50
updates done, parameters shipped, report written. Medians of `--pairs` such pairs. Bytecode and
Matplotlib's fonts, which belong to the installation, are warm in both. The bar: a warm start ships
within half of the cold one's seconds.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from record import write

ROOT = Path(__file__).parent.parent
CONFIG, PAIRS, BAR, POLL_S = "configs/burgers.py:smoke", 3, 0.5, 0.005
RUN = """
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
    "first chunk": "run/metrics.jsonl",
    "shipped": "run/ckpt/selected/1",
    "report": "run/summary.json",
}
"""What appears in the folder of a start, in this order."""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=PAIRS)
    pairs = parser.parse_args().pairs
    starts = {"cold": [], "warm": []}
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        fonts = {**os.environ, "MPLCONFIGDIR": str(base / "fonts")}
        code = "import matplotlib.font_manager, ups_jax.experiment.pipeline"
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=fonts, check=True)
        for pair in range(pairs):
            for kind, found in starts.items():
                found.append(start(base / f"{kind}{pair}", base / f"home{pair}", fonts))
    told = {
        kind: {mark: median(one[mark] for one in found) for mark in found[0]}
        for kind, found in starts.items()
    }
    ratio = {mark: told["warm"][mark] / told["cold"][mark] for mark in told["cold"]}
    show(told, ratio)
    found = {"seconds": told, "ratio": ratio, "config": CONFIG, "pairs": pairs}
    print(write("startup", {**found, "bar": BAR, "met": ratio["shipped"] <= BAR}))


def start(folder, home, env):
    """Seconds from just before the process began to each of its marks, and its own `wall/*`."""
    folder.mkdir()
    env = {**env, "HOME": str(home), "UPS_DATA": str(home / "data"), "PYTHONPATH": str(ROOT)}
    env.pop("JAX_COMPILATION_CACHE_DIR", None)
    words = [sys.executable, "-c", RUN, str(folder / "imported"), "--config", CONFIG]
    words += ["--workdir", str(folder / "run"), "--wandb_mode", "disabled"]
    seconds, left = {}, dict(MARKS)
    with (folder / "log").open("w") as log:
        began = time.perf_counter()
        process = subprocess.Popen(words, cwd=ROOT, env=env, stdout=log, stderr=log)
        while process.poll() is None:
            left = seen(folder, left, seconds, time.perf_counter() - began)
            time.sleep(POLL_S)
    end = time.perf_counter() - began
    if process.returncode:
        raise SystemExit((folder / "log").read_text())
    seen(folder, left, seconds, end)
    summary = json.loads((folder / "run" / "summary.json").read_text())
    wall = {key: value for key, value in summary.items() if key.startswith("wall/")}
    return {**seconds, "exit": end, **wall}


def seen(folder, left, seconds, now):
    """Note the marks that have appeared by now -> those still awaited."""
    there = {name for name, path in left.items() if _filled(folder / path)}
    seconds.update(dict.fromkeys(there, now))
    return {name: path for name, path in left.items() if name not in there}


def _filled(path):
    return path.is_dir() or (path.exists() and path.stat().st_size > 0)


def show(told, ratio):
    print(f"{'seconds to':18}   cold    warm   warm / cold")
    for mark, share in ratio.items():
        cold, warm = told["cold"][mark], told["warm"][mark]
        print(f"{mark:18} {cold:6.2f}  {warm:6.2f}   {share:.2f}")
    word = "met" if ratio["shipped"] <= BAR else "missed"
    print(f"bar, a warm start ships within {BAR:.0%} of the cold one's seconds: {word}")


if __name__ == "__main__":
    main()
