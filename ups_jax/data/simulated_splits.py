"""Training, validation and test trajectories simulated from one seed."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax

from ups_jax.data.simulate import simulate
from ups_jax.data.splits import check_disjoint
from ups_jax.pde.base import PDE
from ups_jax.sharding import Mesh
from ups_jax.types import Key, Trajectories

SPLIT_NAMES = ("train", "val", "test")


class Splits(NamedTuple):
    """Training, validation and test trajectories."""

    train: Trajectories
    val: Trajectories
    test: Trajectories


def split_key(name: str, *, seed: int = 0, key_seed: int | None = None) -> Key:
    """Return the key of a simulated split, independent of the sizes of all splits.

    `key_seed` makes it `jax.random.key(key_seed)`, as published data sets do.
    """
    if key_seed is not None:
        return jax.random.key(key_seed)
    return jax.random.fold_in(jax.random.key(seed), SPLIT_NAMES.index(name))


def simulate_splits(
    pde: PDE,
    *,
    train: int,
    val: int,
    test: int,
    steps: int = 40,
    eval_steps: int | None = None,
    seed: int = 0,
    key_seeds: Mapping[str, int | None] | None = None,
    mesh: Mesh | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[str, int, int], None] = lambda label, done, total: None,
) -> Splits:
    """Simulate the three splits: `train`, `val` and `test` trajectories of `steps` intervals.

    Validation and test have `eval_steps` intervals if given. `seed` fixes all data, `key_seeds` the
    key of single splits. Raises ValueError if a solver fails or splits share an initial condition,
    Interrupted after `stop()`.
    """
    sizes = {"train": train, "val": val, "test": test}
    parts = {
        name: simulate(
            pde,
            split_key(name, seed=seed, key_seed=(key_seeds or {}).get(name)),
            n=size,
            steps=steps if name == "train" else eval_steps or steps,
            mesh=mesh,
            stop=stop,
            progress=lambda done, total, name=name: progress(f"simulate {name}", done, total),
        )
        for name, size in sizes.items()
    }
    check_disjoint(parts)
    return Splits(**parts)
