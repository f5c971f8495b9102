"""The environment of a run: device, memory and the cache of compiled programs."""

import os
import resource
import subprocess
import sys
from importlib import metadata
from math import gcd
from pathlib import Path
from typing import Any
from zlib import crc32

import jax

from ups_jax import sharding
from ups_jax.sharding import num_threads


def machine_info(mesh: sharding.Mesh) -> dict[str, Any]:
    """Collect the device, threads and versions on which bit-identical results depend."""
    return {
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "mesh_devices": mesh.size,
        "processes": jax.process_count(),
        "threads": num_threads(),
        "jax": jax.__version__,
        "jaxlib": metadata.version("jaxlib"),
    }


def use_every_core() -> None:
    """Make every usable core a device, so that cores share each batch; before JAX has begun.

    A program of one device leaves a second core idle where XLA does not split a convolution.
    `$JAX_NUM_CPU_DEVICES` and XLA's own flag take precedence, and one core a process is left to the
    processes of one run.
    """
    flagged = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if flagged or jax.config.values["jax_num_cpu_devices"] > 0:
        return
    try:
        jax.config.update("jax_num_cpu_devices", num_threads())
    except RuntimeError:  # A program of this process has begun JAX: its devices stay.
        return


def mesh_of(cfg: Any) -> sharding.Mesh:
    """Return the mesh of a run; `mesh.data=None` takes all devices.

    On a CPU it takes as many cores as divide every batch. Raises ValueError if a batch cannot be
    shared.
    """
    batches = _batches(cfg)
    data, fsdp = cfg.mesh.data, cfg.mesh.fsdp
    if data is None and jax.default_backend() == "cpu" and jax.process_count() == 1:
        counts = range(1, jax.device_count() // fsdp + 1)
        data = max((n for n in counts if not gcd(*batches.values()) % (n * fsdp)), default=None)
    mesh = sharding.make_mesh(data=data, fsdp=fsdp)
    for key, batch in batches.items():
        sharding.require_divides(key, batch, mesh)
    return mesh


def mesh_line(cfg: Any, mesh: sharding.Mesh) -> str:
    """Return how many devices share every batch, and why no more do."""
    size, total = mesh.size, jax.device_count()
    if size == total:
        return (
            f"{size} devices share every batch" if size > 1 else "one device computes every batch"
        )
    odd = [f"{key} is {n}" for key, n in _batches(cfg).items() if n % total]
    if cfg.mesh.data is not None or not odd:
        reason = f"mesh.data is {cfg.mesh.data}, mesh.fsdp {cfg.mesh.fsdp}"
    else:
        reason = f"{', '.join(odd)}, not a multiple of {total}"
    verb = "share" if size > 1 else "computes"
    return f"{size} of {total} devices {verb} every batch: {reason}"


def _batches(cfg: Any) -> dict[str, int]:
    """Return the sizes of the batches that the devices of a run share, by config key."""
    batches = {f"fit.{stage}.batch": cfg.fit[stage].batch for stage in cfg.stages}
    return {**batches, "eval.batch": cfg.eval.batch}


def enable_compilation_cache() -> None:
    """Cache compiled programs on disk, for later processes; results stay bit-identical.

    JAX's cache key leaves out some of XLA's flags, such as the number of host devices, and the
    threads of this process. Programs compiled under others differ in last bits: each has a folder.
    Raises ValueError where the user has no home folder.
    """
    devices = jax.config.values["jax_num_cpu_devices"]
    settings = f"{os.environ.get('XLA_FLAGS', '').strip()} {num_threads()} {devices}"
    name = f"xla-{crc32(settings.encode()):08x}"
    try:
        folder = Path.home() / ".cache" / "ups_jax" / name
    except RuntimeError as error:
        raise ValueError(
            f"user {os.getuid()} has no home folder; set HOME to a folder that can be written"
        ) from error
    if not jax.config.values["jax_compilation_cache_dir"]:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
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
