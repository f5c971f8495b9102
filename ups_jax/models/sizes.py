"""Sizes of an operator network that the emulator sets: channels, parameters, boundaries."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from flax import nnx

from ups_jax.models.functional import Network, functional
from ups_jax.models.layers import Modulation, axes_boundary


class Sizes(NamedTuple):
    """Input, output, parameter and noise channels, and the boundary condition of each axis."""

    inputs: int
    channels: int
    params: int
    noise: int
    boundary: tuple[str, ...]

    def modulations(
        self, count: int, width: int, rngs: nnx.Rngs, *, mirrored: bool = False
    ) -> nnx.List:
        """Return `count` layers that scale and shift channels, none without parameters."""
        layer = partial(Modulation, self.params, width, mirrored=mirrored, rngs=rngs)
        return nnx.List([layer() for _ in range(count if self.params else 0)])


def operator(
    module: Callable[..., nnx.Module],
    *,
    ndim: int,
    channels: int,
    params: int,
    inputs: int | None,
    noise: int,
    boundary: Sequence[str] | None,
    any_grid: bool = False,
    **arguments: Any,
) -> Network:
    """Return the functions of `module(rngs, sizes=..., **arguments)`, with a layer for noise.

    Inputs are the output channels for None, boundaries periodic for None. `any_grid` is that of
    `Network`. Raises ValueError on an unknown boundary.
    """
    sizes = Sizes(inputs or channels, channels, params, noise, axes_boundary(boundary, ndim))
    build = partial(module, sizes=sizes, **arguments)
    return functional(build, takes=frozenset({"noise"} if noise else ()), any_grid=any_grid)
