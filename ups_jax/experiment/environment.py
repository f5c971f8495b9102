"""The environment of a run: device, memory and the cache of compiled programs."""

import os
import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any
from zlib import crc32

import jax


def machine_info() -> dict[str, Any]:
    """Collect the device, threads and versions on which bit-identical results depend."""
    return {
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "threads": num_threads(),
        "jax": jax.__version__,
        "jaxlib": metadata.version("jaxlib"),
    }


def num_threads() -> int:
    """Return the CPU threads that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def enable_compilation_cache() -> None:
    """Cache compiled programs on disk, for later processes; results stay bit-identical.

    JAX's cache key leaves out some of XLA's flags, such as the number of host devices, and the
    threads of this process. Programs compiled under others differ in last bits: each has a folder.
    Raises ValueError where the user has no home folder.
    """
    settings = f"{os.environ.get('XLA_FLAGS', '').strip()} {num_threads()}"
    name = f"xla-{crc32(settings.encode()):08x}"
    try:
        folder = Path.home() / ".cache" / "ups_jax" / name
    except RuntimeError as error:
        raise ValueError(
            f"user {os.getuid()} has no home folder; set HOME to a folder that can be written"
        ) from error
    if not jax.config.values["jax_compilation_cache_dir"]:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def memory() -> float:
    """Bytes that a run may use: of its accelerators, else of the machine or the container."""
    # The devices of other processes answer to them alone.
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    if jax.default_backend() != "cpu" and all("bytes_limit" in limits for limits in stats):
        return sum(limits["bytes_limit"] for limits in stats) * jax.process_count()
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    group = Path("/sys/fs/cgroup/memory.max")
    limit = group.read_text().strip() if group.exists() else "max"
    return min(machine, int(limit)) if limit.isdecimal() else machine


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
    """Return the commit of the checkout whose root holds the library, None if there is none."""
    package = Path(__file__).resolve().parents[1]
    command = ["git", "-C", str(package), "rev-parse", "HEAD", "--show-toplevel"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    commit, _, root = result.stdout.strip().partition("\n")
    # An installed library may lie inside a repository of another project.
    return commit if root and Path(root) == package.parent else None
