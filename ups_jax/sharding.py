"""Device mesh: batches are sharded over all devices, parameters replicated or sharded over `fsdp`.

One device is a mesh of size one. A mesh may span several processes: all of them run the same
program on their own samples, and decisions that depend on one process use `any_process`.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.flatten_util import ravel_pytree
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding

Tree = TypeVar("Tree")
Result = TypeVar("Result")
AXES = ("data", "fsdp")


def num_threads() -> int:
    """Return the CPU threads that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def make_mesh(*, data: int | None = None, fsdp: int = 1) -> Mesh:
    """Return a mesh of data x fsdp devices; `data=None` uses all devices.

    Parameters are sharded over `fsdp`, samples over both axes. Raises ValueError if there are too
    few devices, or if a mesh over several processes leaves a device unused.
    """
    devices = jax.devices()
    if fsdp < 1 or (data is not None and data < 1):
        raise ValueError(f"mesh is data={data}, fsdp={fsdp}; both must be at least 1")
    rows = len(devices) // fsdp if data is None else data
    size = max(rows, 1) * fsdp
    if size > len(devices):
        raise ValueError(
            f"mesh data={data}, fsdp={fsdp} needs {size} devices, but only {len(devices)} "
            f"{devices[0].platform} devices are available; lower mesh.data or mesh.fsdp"
        )
    if size < len(devices) and jax.process_count() > 1:
        raise ValueError(
            f"mesh data={data}, fsdp={fsdp} uses {size} of the {len(devices)} devices of "
            f"{jax.process_count()} processes; leave mesh.data empty, or start fewer processes"
        )
    grid = np.array(devices[:size]).reshape(rows, fsdp)
    return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def require_divides(name: str, size: int, mesh: Mesh) -> None:
    """Raise ValueError, with the nearest valid sizes, unless the mesh size divides `size`."""
    if size % mesh.size == 0:
        return
    below = size // mesh.size * mesh.size
    near = " or ".join(str(n) for n in (below, below + mesh.size) if n)
    axes = ", ".join(f"{axis} {length}" for axis, length in mesh.shape.items())
    raise ValueError(
        f"{name} is {size}, which is not a multiple of {mesh.size} devices ({axes}); use {near}"
    )


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Return the sharding of the leading axis over all devices."""
    return NamedSharding(mesh, PartitionSpec(AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding with a full copy on each device."""
    return NamedSharding(mesh, PartitionSpec())


def shard_batch(mesh: Mesh | None, tree: Tree) -> Tree:
    """Put arrays on the devices, sharded if the mesh size divides the leading axis."""
    if mesh is None:
        return jax.tree.map(jnp.asarray, tree)

    def put(x: Any) -> jax.Array:
        divides = np.ndim(x) > 0 and np.shape(x)[0] % mesh.size == 0
        return _put(x, batch_sharding(mesh) if divides else replicated(mesh))

    return jax.tree.map(put, tree)


def device_put(tree: Tree, shardings: Any) -> Tree:
    """Put arrays, equal on every process, on the devices by a tree of shardings."""
    return jax.tree.map(_put, tree, shardings)


def replicate(mesh: Mesh | None, tree: Tree) -> Tree:
    """Copy arrays and keys to each device; arrays that are on all of them already are kept."""
    if mesh is None:
        return tree
    devices = set(mesh.devices.flat)

    def put(x: Any) -> Any:
        placed = isinstance(x, jax.Array) and x.sharding.device_set == devices
        return x if placed else _put(x, replicated(mesh))

    return jax.tree.map(put, tree)


def to_host(mesh: Mesh | None, tree: Tree) -> Tree:
    """Return full NumPy arrays on every process."""
    if mesh is None or not mesh.is_multi_process:
        return jax.device_get(tree)
    return multihost_utils.process_allgather(tree, tiled=True)


def any_process(mesh: Mesh | None, flag: bool) -> bool:
    """Return True on all processes if `flag` is set on any; a collective call."""
    if mesh is None or not mesh.is_multi_process:
        return flag
    return bool(multihost_utils.process_allgather(np.asarray(flag)).any())


def local_batch(mesh: Mesh | None, batch: int) -> slice:
    """Return the samples of a batch that this process loads."""
    if mesh is None or not mesh.is_multi_process:
        return slice(None)
    indices = batch_sharding(mesh).addressable_devices_indices_map((batch,)).values()
    parts = [index[0].indices(batch) for index in indices if index is not None]
    return slice(min(part[0] for part in parts), max(part[1] for part in parts))


def global_batch(mesh: Mesh | None, x: np.ndarray, *, axis: int, batch: int) -> Any:
    """Return the global batch; x is the `local_batch` of this process along `axis`."""
    if mesh is None or not mesh.is_multi_process:
        return x
    sharding = NamedSharding(mesh, PartitionSpec(*(None,) * axis, AXES))
    shape = (*x.shape[:axis], batch, *x.shape[axis + 1 :])
    return jax.make_array_from_process_local_data(sharding, x, shape)


def _put(x: Any, sharding: Sharding) -> jax.Array:
    """Put one array on the devices; each process fills its local devices."""
    if sharding.is_fully_addressable:
        return jax.device_put(x, sharding)
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        data = _put(jax.random.key_data(x), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
    array = np.asarray(x)
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def map_samples(
    mesh: Mesh | None, function: Callable[..., Result], *, shared: int = 1
) -> Callable[..., Result]:
    """Return a function of a batch: every device computes its own samples.

    The first `shared` arguments are the same for all samples; all others and the results have
    samples first. Left to itself, XLA gathers the members of an ensemble on every device.
    """
    return _over_devices(mesh, function, shared, PartitionSpec(AXES))


def mean_over_samples(
    mesh: Mesh | None, function: Callable[..., Result], *, shared: int = 1
) -> Callable[..., Result]:
    """Return the mean of `function(..., batch)` over the devices, each with its own samples.

    Arguments are those of `map_samples`, the results arrays without samples. One collective.
    """

    def mean(*args: Any) -> Result:
        flat, unravel = ravel_pytree(function(*args))
        return unravel(jax.lax.pmean(flat, AXES))

    return _over_devices(mesh, mean if _is_shared(mesh) else function, shared, PartitionSpec())


def fold_in_device(mesh: Mesh | None, key: jax.Array) -> jax.Array:
    """Return a key of its own for each of several devices, inside `mean_over_samples`."""
    return jax.random.fold_in(key, jax.lax.axis_index(AXES)) if _is_shared(mesh) else key


def max_over_devices(mesh: Mesh | None, tree: Tree) -> Tree:
    """Return the largest values among several devices, inside `mean_over_samples`."""
    return jax.lax.pmax(tree, AXES) if _is_shared(mesh) else tree


def _over_devices(
    mesh: Mesh | None, function: Callable[..., Result], shared: int, out: PartitionSpec
) -> Callable[..., Result]:
    if mesh is None or not _is_shared(mesh):
        return function

    def over_devices(*args: Any) -> Result:
        specs = tuple(
            PartitionSpec(AXES) if i >= shared else PartitionSpec() for i in range(len(args))
        )
        # Values that differ between devices are allowed: their keys do.
        run = jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=out, check_vma=False)
        return run(*args)

    return over_devices


def _is_shared(mesh: Mesh | None) -> bool:
    return mesh is not None and mesh.size > 1


def constrain_replicated(mesh: Mesh | None, tree: Tree) -> Tree:
    """Gather sharded parameters inside a program, so that each device holds all of them."""
    return tree if mesh is None else jax.lax.with_sharding_constraint(tree, replicated(mesh))


def fsdp_shardings(mesh: Mesh, tree: Any, *, lead: int = 0) -> Any:
    """Return shardings of parameters and optimizer state: the largest divisible axis over `fsdp`.

    The first `lead` axes enumerate stacked networks and are never sharded.
    """
    parts = mesh.shape["fsdp"]

    def of(x: Any) -> NamedSharding:
        axes = [i for i in range(lead, len(x.shape)) if x.shape[i] % parts == 0]
        if parts == 1 or not axes:
            return replicated(mesh)
        widest = max(axes, key=lambda i: x.shape[i])
        return NamedSharding(mesh, PartitionSpec(*(None,) * widest, "fsdp"))

    return jax.tree.map(of, tree)
