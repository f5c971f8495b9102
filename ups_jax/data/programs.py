"""Programs of a simulation: initial frames of samples, and their evolution to saved frames."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ups_jax.data.checks import SolverOutput, cell_strides
from ups_jax.pde.base import PDE, repeat_step
from ups_jax.pde.finite_volume import thin
from ups_jax.types import Array, Key


def initial_frames(pde: PDE) -> Callable[[Key, Array], tuple[Array, Array, Array]]:
    """Return `draw(key, index)`: parameters, initial frames and speeds (max |u|) of samples."""

    def draw(key: Key, index: Array) -> tuple[Array, Array, Array]:
        def sample(i: Array) -> tuple[Array, Array, Array]:
            k_cond, k_initial = pde.sample_keys(key, i)
            cond = pde.sample_cond(k_cond)
            u = pde.initial(k_initial, cond, pde.cells)
            return cond, u, jnp.max(jnp.abs(u))

        return jax.vmap(sample)(index)

    return draw


def evolution(pde: PDE, steps: int) -> Callable[[Array, Array], SolverOutput]:
    """Return `evolve(u, cond)`: initial frames (b, *cells, c), cond (b, p) -> SolverOutput."""
    strides, periodic = cell_strides(pde), pde.periodic

    def frame(u: Array) -> tuple[Array, dict[str, Array]]:
        fields = u[..., : len(pde.channels)]
        return thin(u, strides, periodic), {n: law.value(fields) for n, law in pde.laws.items()}

    def evolve(u: Array, cond: Array) -> SolverOutput:
        def body(u: Array, _: None) -> tuple[Array, tuple[Array, dict[str, Array]]]:
            u = pde.step(u, cond)
            return u, frame(u)

        def join(first: Array, rest: Array) -> Array:
            return jnp.moveaxis(jnp.concatenate([first[None], rest]), 0, 1)

        u = repeat_step(pde.step, pde.warmup)(u, cond) if pde.warmup else u
        later = jax.lax.scan(body, u, None, length=steps)[1]
        frames, values = jax.tree.map(join, frame(u), later)
        fields = u[..., : len(pde.channels)]
        return SolverOutput(frames, values, {n: law.scale(fields) for n, law in pde.laws.items()})

    return evolve
