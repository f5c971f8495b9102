"""Devices side by side: samples over all of them, parameters whole on each or sharded over `fsdp`.

One device is a mesh of one, and the same code.
"""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

Tree = TypeVar("Tree")
AXES = ("data", "fsdp")


def make(*, data: int | None = None, fsdp: int = 1) -> Mesh:
    """A mesh of data x fsdp devices; none: as many as there are. ValueError where there are fewer.

    Parameters are sharded over `fsdp`, samples over both axes.
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


def samples(mesh: Mesh) -> NamedSharding:
    """The leading axis over all devices."""
    return NamedSharding(mesh, PartitionSpec(AXES))


def whole(mesh: Mesh) -> NamedSharding:
    """A copy on each device."""
    return NamedSharding(mesh, PartitionSpec())


def spread(mesh: Mesh | None, tree: Tree) -> Tree:
    """Arrays on the devices, their leading axis shared out where it divides, else whole on each."""
    if mesh is None:
        return jax.tree.map(jnp.asarray, tree)

    def put(x: Any) -> jax.Array:
        shares = np.ndim(x) > 0 and np.shape(x)[0] % mesh.size == 0
        return jax.device_put(x, samples(mesh) if shares else whole(mesh))

    return jax.tree.map(put, tree)


def shape_of(mesh: Mesh | None, shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    """What `spread` makes of a float32 array of that shape, to compile a program for it."""
    if mesh is None:
        return jax.ShapeDtypeStruct(shape, jnp.float32)
    place = samples(mesh) if shape[0] % mesh.size == 0 else whole(mesh)
    return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=place)


def constrain(mesh: Mesh | None, tree: Tree) -> Tree:
    """Inside a program: let every device have its share of the leading axis."""
    if mesh is None:
        return tree
    return jax.lax.with_sharding_constraint(tree, samples(mesh))


def shardings(mesh: Mesh, tree: Any, *, lead: int = 0) -> Any:
    """How parameters and what is kept beside them lie: the widest axis that divides over `fsdp`.

    The first `lead` axes stand for networks side by side and are never shared out.
    """
    parts = mesh.shape["fsdp"]

    def of(x: Any) -> NamedSharding:
        axes = [i for i in range(lead, len(x.shape)) if x.shape[i] % parts == 0]
        if parts == 1 or not axes:
            return whole(mesh)
        widest = max(axes, key=lambda i: x.shape[i])
        return NamedSharding(mesh, PartitionSpec(*(None,) * widest, "fsdp"))

    return jax.tree.map(of, tree)


def _told(mesh: Mesh) -> str:
    return ", ".join(f"{name} {size}" for name, size in mesh.shape.items())
