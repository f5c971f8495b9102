"""The environment of a run: device, memory and the cache of compiled programs."""

import os
import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import jax


def machine_info() -> dict[str, Any]:
    """Collect the device, threads and versions on which bit-identical results depend."""
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "threads": len(affinity(0)) if affinity else os.cpu_count(),
        "jax": jax.__version__,
        "jaxlib": metadata.version("jaxlib"),
    }


def enable_compilation_cache() -> None:
    """Cache compiled programs on disk, for later processes; results stay bit-identical."""
    folder = Path.home() / ".cache" / "ups_jax" / "xla"
    if not jax.config.values["jax_compilation_cache_dir"]:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def peak_mib() -> float:
    """Peak memory in MiB: of the device on an accelerator, else resident memory of the process."""
    stats = jax.devices()[0].memory_stats() if jax.default_backend() != "cpu" else None
    if stats:
        return stats["peak_bytes_in_use"] / 2**20
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage inherits the peak of a larger parent process.
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def git_sha() -> str | None:
    """Return the commit of the library's checkout, None outside one."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() or None
