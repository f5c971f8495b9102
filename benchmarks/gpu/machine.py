"""The device: its kind, memory, driver and versions, and its peaks, published and measured."""

import subprocess
import time
from collections.abc import Callable
from functools import partial
from importlib import metadata
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.gpu.pack import Row, Setting, Task, row

PEAKS = {
    "H200 NVL": {"float32": 60.0, "tf32": 417.5, "bfloat16": 835.5},
    "H200": {"float32": 67.0, "tf32": 494.5, "bfloat16": 989.5},
    "H100 NVL": {"float32": 60.0, "tf32": 417.5, "bfloat16": 835.5},
    "H100 PCIE": {"float32": 51.0, "tf32": 378.0, "bfloat16": 756.5},
    "H100": {"float32": 67.0, "tf32": 494.5, "bfloat16": 989.5},
    "A100": {"float32": 19.5, "tf32": 156.0, "bfloat16": 312.0},
    "L4": {"float32": 30.3, "tf32": 60.0, "bfloat16": 121.0},
    "T4": {"float32": 8.1},
    "V100": {"float32": 15.7},
}
"""Dense peaks in TFLOP/s, without sparsity, as NVIDIA states them.

They were written down without the data sheets at hand: look one up before you quote a share of it.
`float32` is that of the vector units, which matmuls of precision "highest" use. Names are words of
the device kind, the most specific first; a name of one word is the SXM card. T4 and V100 have
neither TF32 nor bfloat16 units.
"""
MATMULS = {
    "float32": (jnp.float32, "highest"),
    "tf32": (jnp.float32, "default"),
    "bfloat16": (jnp.bfloat16, "default"),
}
"""Dtype and precision of a matmul; at "default", float32 uses TF32 where the card has it."""


def published_peak(kind: str, matmul: str) -> float | None:
    """Return the published peak in TFLOP/s, None if it is not known."""
    words = set(kind.upper().replace("-", " ").split())
    peaks = next((p for name, p in PEAKS.items() if set(name.split()) <= words), {})
    return peaks.get(matmul)


def device(setting: Setting) -> dict[str, Task]:
    """Return the tasks: description, matmul peaks, bandwidth and the cost of small kernels."""
    tasks: dict[str, Task] = {"description": description}
    for matmul in ("bfloat16", "tf32", "float32"):
        tasks[f"matmul {matmul}"] = partial(matmul_peak, setting, matmul)
    return {**tasks, "memory and kernels": partial(memory_and_kernels, setting)}


def description() -> list[Row]:
    card = jax.devices()[0]
    limit = (card.memory_stats() or {}).get("bytes_limit")
    versions = {
        name: distribution.version
        for distribution in metadata.distributions()
        if (name := distribution.metadata["Name"])
        and (name in ("jax", "jaxlib", "flax", "optax", "numpy") or name.startswith("jax-cuda"))
    }
    return [
        row("kind", card.device_kind, ""),
        row("count", jax.device_count(), "devices"),
        row("memory for JAX", limit / 2**30 if limit else None, "GiB"),
        row("driver", driver(), ""),
        row("runtime", " ".join(card.client.platform_version.split()), ""),
        row(
            "versions",
            ", ".join(f"{name} {version}" for name, version in sorted(versions.items())),
            "",
        ),
    ]


def driver() -> str | None:
    """Return driver version and clocks as nvidia-smi reports them, None without it."""
    query = "driver_version,memory.total,power.limit,clocks.max.sm"
    try:
        done = subprocess.run(
            ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    except OSError:
        return None
    return done.stdout.strip() or None


def matmul_peak(setting: Setting, matmul: str) -> list[Row]:
    """Measure a large square matmul; its rate bounds those of all networks."""
    n, repeats = (256, 2) if setting.small else (8192, 10)
    dtype, precision = MATMULS[matmul]
    a, b = (jax.random.normal(jax.random.key(i), (n, n), dtype) for i in range(2))
    product = jax.jit(partial(jnp.matmul, precision=precision))
    rate = 2e-12 * n**3 / seconds(lambda: product(a, b), repeats)
    peak = published_peak(jax.devices()[0].device_kind, matmul)
    rows = [row(f"matmul {matmul}", rate, "TFLOP/s"), row(f"peak {matmul}", peak, "TFLOP/s")]
    return rows + ([row(f"matmul {matmul} / peak", rate / peak, "1")] if peak else [])


def memory_and_kernels(setting: Setting) -> list[Row]:
    """Measure a copy, a call of one small kernel, and such a kernel inside a scan."""
    n, length = (2**16, 50) if setting.small else (2**28, 1000)
    x, small = jnp.ones(n, jnp.float32), jnp.ones(128, jnp.float32)
    add = jax.jit(lambda x: x + 1)

    @jax.jit
    def scan(x):
        # A roll ends a fusion: one kernel or two an iteration, as small as they come.
        return jax.lax.scan(lambda x, _: (jnp.roll(x * 1.01, 1), None), x, None, length=length)[0]

    copied = 8e-9 * n / seconds(lambda: add(x), 5)
    return [
        row("memory bandwidth", copied, "GB/s"),
        row("a call of one small kernel", 1e6 * seconds(lambda: add(small), 100), "us"),
        row("a small kernel in a scan", 1e6 * seconds(lambda: scan(small), 1) / length, "us"),
    ]


def seconds(run: Callable[[], Any], repeats: int) -> float:
    """Return the median seconds of a call, of five groups of `repeats` calls; compiled before."""
    jax.block_until_ready(run())
    times = []
    for _ in range(5):
        began = time.perf_counter()
        jax.block_until_ready([run() for _ in range(repeats)])
        times.append((time.perf_counter() - began) / repeats)
    return median(times)
