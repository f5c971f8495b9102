"""Kernels of an update, from a trace of the profiler: their number, length, kinds and gaps."""

import gzip
import json
import re
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import jax

import ups_jax as ups
from benchmarks.gpu.pack import Row, Setting, Skipped, Task, row
from benchmarks.gpu.updates import configured, precision
from benchmarks.training import one_phase, random_params, updates_program
from ups_jax.experiment.schedule import recipe_of

KINDS = {
    "matmul and convolution": r"gemm|conv(?!ert)|cutlass|cudnn|xmma|nvjet|dot|wgrad|dgrad",
    "gathers and copies": r"gather|scatter|pad|concat|slice|transpose|copy|memcpy|roll",
    "Fourier transforms": r"fft",
    "reductions": r"reduce",
}
"""Kinds by the names of kernels and of the operations that they come from, in this order."""
OTHER = "elementwise"
CASES = (("full", "bfloat16"), ("golden", "tf32"))
UPDATES = 20


def kernels(setting: Setting) -> dict[str, Task]:
    """Return a task for each size."""
    return {
        f"resnet {size} {matmul}": partial(profile, setting, size, matmul) for size, matmul in CASES
    }


def profile(setting: Setting, size: str, matmul: str) -> list[Row]:
    """Trace one call of updates; return counts, lengths and shares of its kernels."""
    cfg, stage = configured("resnet", size, matmul, small=setting.small)
    emulator = ups.build(cfg)
    call = 2 if setting.small else UPDATES
    recipe = one_phase(recipe_of(emulator, cfg, stage), unroll=1, calls=10, steps_per_call=call)
    with precision(matmul):
        run = updates_program(emulator, random_params(emulator), recipe)[1]
    run()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            began = time.perf_counter()
            run()
            wall_us = 1e6 * (time.perf_counter() - began)
        events = device_events(read_trace(Path(folder)))
    if not events:
        raise Skipped("the trace of the profiler has no kernels of the device")
    return summary(f"resnet, {size}, {matmul}", events, wall_us, call)


def read_trace(folder: Path) -> list[dict[str, Any]]:
    """Return the events of the trace below a folder."""
    files = sorted(folder.rglob("*.trace.json.gz"))
    return json.loads(gzip.decompress(files[0].read_bytes()))["traceEvents"] if files else []


def device_events(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the kernels: events on streams of the GPU, or those of a CPU that name an operation.

    Streams alone: other lines of the device repeat the kernels by module and by operation.
    """
    names = {
        (e["name"], e["pid"], e.get("tid") if e["name"] == "thread_name" else None): e["args"][
            "name"
        ]
        for e in events
        if e.get("ph") == "M" and e["name"] in ("process_name", "thread_name")
    }
    complete = [e for e in events if e.get("ph") == "X"]

    def on_stream(e: dict[str, Any]) -> bool:
        process = names.get(("process_name", e["pid"], None), "")
        return "GPU" in process and "Stream" in names.get(("thread_name", e["pid"], e["tid"]), "")

    found = [e for e in complete if on_stream(e)]
    return found or [e for e in complete if "hlo_op" in e.get("args", {})]


def summary(label: str, events: list[dict[str, Any]], wall_us: float, updates: int) -> list[Row]:
    """Return the rows of one trace."""
    total = sum(e["dur"] for e in events)
    kinds: Counter[str] = Counter()
    names: Counter[str] = Counter()
    for e in events:
        name = f"{e['name']} {e.get('args', {}).get('hlo_op', '')}".strip()
        kinds[kind(name)] += e["dur"]
        names[name[:80]] += e["dur"]
    longest = "; ".join(f"{name} {us / total:.1%}" for name, us in names.most_common(8))
    return [
        row(f"{label}: kernels an update", len(events) / updates, "1"),
        row(f"{label}: mean kernel", total / len(events), "us"),
        row(f"{label}: time outside kernels", max(0.0, 1 - total / wall_us), "1"),
        *(row(f"{label}: {name}", us / total, "of kernel time") for name, us in kinds.items()),
        row(f"{label}: longest kernels", longest, ""),
    ]


def kind(name: str) -> str:
    """Return the kind of a kernel."""
    matches = (key for key, pattern in KINDS.items() if re.search(pattern, name, re.IGNORECASE))
    return next(matches, OTHER)
