"""Devices side by side: samples over all of them, parameters whole on each or sharded over `fsdp`.

One device is a mesh of one, and the same code. Devices of several processes make one mesh too: all
processes then run the same program, each with its share of the samples, and what they decide by
(a clock, a signal) they have to `agree` on.
"""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding

Tree = TypeVar("Tree")
AXES = ("data", "fsdp")


def make_mesh(*, data: int | None = None, fsdp: int = 1) -> Mesh:
    """A mesh of data x fsdp devices; none: as many as there are. ValueError where there are fewer.

    Parameters are sharded over `fsdp`, samples over both axes. Of several processes none may be
    left without a share.
    """
    devices = jax.devices()
    if fsdp < 1 or (data is not None and data < 1):
        raise ValueError(f"mesh is data={data}, fsdp={fsdp}; both must be at least 1")
    wide = len(devices) // fsdp if data is None else data
    wanted = max(wide, 1) * fsdp
    if wanted > len(devices):
        raise ValueError(
            f"mesh data={data}, fsdp={fsdp} needs {wanted} devices, but {len(devices)} "
            f"{devices[0].platform} devices are here; lower mesh.data or mesh.fsdp"
        )
    if wanted < len(devices) and jax.process_count() > 1:
        raise ValueError(
            f"mesh data={data}, fsdp={fsdp} takes {wanted} of the {len(devices)} devices that "
            f"{jax.process_count()} processes have; leave mesh.data empty, or start fewer processes"
        )
    grid = np.array(devices[:wanted]).reshape(wide, fsdp)
    return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def require_divides(name: str, size: int, mesh: Mesh) -> None:
    """Raise ValueError where `size` samples leave devices unequal work; names the nearest sizes."""
    if size % mesh.size == 0:
        return
    below = size // mesh.size * mesh.size
    near = " or ".join(str(n) for n in (below, below + mesh.size) if n)
    raise ValueError(
        f"{name} is {size}, which {mesh.size} devices ({_told(mesh)}) cannot share; use {near}"
    )


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The leading axis over all devices."""
    return NamedSharding(mesh, PartitionSpec(AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    """A copy on each device."""
    return NamedSharding(mesh, PartitionSpec())


def shard_batch(mesh: Mesh | None, tree: Tree) -> Tree:
    """Arrays on the devices, their leading axis shared out where it divides, else whole on each."""
    if mesh is None:
        return jax.tree.map(jnp.asarray, tree)

    def put(x: Any) -> jax.Array:
        shares = np.ndim(x) > 0 and np.shape(x)[0] % mesh.size == 0
        return _put(x, batch_sharding(mesh) if shares else replicated(mesh))

    return jax.tree.map(put, tree)


def device_put(tree: Tree, shardings: Any) -> Tree:
    """Arrays that every process holds, on the devices as a tree of their shardings says."""
    return jax.tree.map(_put, tree, shardings)


def replicate(mesh: Mesh | None, tree: Tree) -> Tree:
    """Arrays and keys on each device; those that lie on all of them already stay as they are."""
    if mesh is None:
        return tree
    devices = set(mesh.devices.flat)

    def put(x: Any) -> Any:
        there = isinstance(x, jax.Array) and x.sharding.device_set == devices
        return x if there else _put(x, replicated(mesh))

    return jax.tree.map(put, tree)


def to_host(mesh: Mesh | None, tree: Tree) -> Tree:
    """The whole of every array, as NumPy's, on every process."""
    if mesh is None or not mesh.is_multi_process:
        return jax.device_get(tree)
    return multihost_utils.process_allgather(tree, tiled=True)


def any_process(mesh: Mesh | None, flag: bool) -> bool:
    """Whether `flag` is set on any process: all ask at the same point and have one answer."""
    if mesh is None or not mesh.is_multi_process:
        return flag
    return bool(multihost_utils.process_allgather(np.asarray(flag)).any())


def local_batch(mesh: Mesh | None, batch: int) -> slice:
    """Which samples of a batch this process has to load."""
    if mesh is None or not mesh.is_multi_process:
        return slice(None)
    held = batch_sharding(mesh).addressable_devices_indices_map((batch,)).values()
    parts = [index[0].indices(batch) for index in held if index is not None]
    return slice(min(part[0] for part in parts), max(part[1] for part in parts))


def global_batch(mesh: Mesh | None, x: np.ndarray, *, axis: int, batch: int) -> Any:
    """The batch of which x holds this process's `share` along `axis`."""
    if mesh is None or not mesh.is_multi_process:
        return x
    sharding = NamedSharding(mesh, PartitionSpec(*(None,) * axis, AXES))
    shape = (*x.shape[:axis], batch, *x.shape[axis + 1 :])
    return jax.make_array_from_process_local_data(sharding, x, shape)


def _put(x: Any, sharding: Sharding) -> jax.Array:
    """As `device_put`, and of several processes each fills its own devices."""
    if sharding.is_fully_addressable:
        return jax.device_put(x, sharding)
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        data = _put(jax.random.key_data(x), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
    held = np.asarray(x)
    return jax.make_array_from_callback(held.shape, sharding, lambda index: held[index])


def shape_of(mesh: Mesh | None, shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    """What `spread` makes of a float32 array of that shape, to compile a program for it."""
    if mesh is None:
        return jax.ShapeDtypeStruct(shape, jnp.float32)
    place = batch_sharding(mesh) if shape[0] % mesh.size == 0 else replicated(mesh)
    return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=place)


def constrain_batch(mesh: Mesh | None, tree: Tree) -> Tree:
    """Inside a program: let every device have its share of the leading axis."""
    if mesh is None:
        return tree
    return jax.lax.with_sharding_constraint(tree, batch_sharding(mesh))


def constrain_replicated(mesh: Mesh | None, tree: Tree) -> Tree:
    """Inside a program: the whole of parameters that lie shared out, while a network uses them."""
    if mesh is None:
        return tree
    return jax.lax.with_sharding_constraint(tree, replicated(mesh))


def fsdp_shardings(mesh: Mesh, tree: Any, *, lead: int = 0) -> Any:
    """How parameters and what is kept beside them lie: the widest axis that divides over `fsdp`.

    The first `lead` axes stand for networks side by side and are never shared out.
    """
    parts = mesh.shape["fsdp"]

    def of(x: Any) -> NamedSharding:
        axes = [i for i in range(lead, len(x.shape)) if x.shape[i] % parts == 0]
        if parts == 1 or not axes:
            return replicated(mesh)
        widest = max(axes, key=lambda i: x.shape[i])
        return NamedSharding(mesh, PartitionSpec(*(None,) * widest, "fsdp"))

    return jax.tree.map(of, tree)


def _told(mesh: Mesh) -> str:
    return ", ".join(f"{name} {size}" for name, size in mesh.shape.items())
