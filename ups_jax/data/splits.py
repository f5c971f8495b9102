"""Training, validation and test trajectories: simulated or taken from a file, and disjoint."""

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import NamedTuple

import jax
import numpy as np

from ups_jax.data.cache import digest
from ups_jax.data.simulate import simulate
from ups_jax.pde.base import PDE
from ups_jax.sharding import Mesh
from ups_jax.types import Array, Key, Trajectories

SPLIT_NAMES = ("train", "val", "test")


class DataSplits(NamedTuple):
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
) -> DataSplits:
    """Simulate the three splits: `train`, `val` and `test` trajectories of `steps` intervals.

    The test split is drawn from `pde.test` if there is one. Validation and test have `eval_steps`
    intervals if given. `seed` fixes all data, `key_seeds` the
    key of single splits. Raises ValueError if a solver fails or splits share an initial condition,
    Interrupted after `stop()`.
    """
    sizes = {"train": train, "val": val, "test": test}
    parts = {
        name: simulate(
            pde.test or pde if name == "test" else pde,
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
    return DataSplits(**parts)


def split(
    n: int, *, seed: int, train: int, val: int, test: int, shuffle_test: bool = False
) -> dict[str, np.ndarray]:
    """Return the sample numbers of `train`, `val` and `test` among the `n` samples of a file.

    Test is the first `test` samples, as in PDEBench, or with `shuffle_test` any; it is a tenth of
    a file that has fewer than `test` samples. The others are permuted by `seed`: validation takes
    the first ones, training the next. Neither depends on the size of the training split. Raises
    ValueError if there are too few samples.
    """
    test = test if test < n else max(1, n // 10)
    sizes = {"train": train, "val": val, "test": test}
    if min(sizes.values()) < 1:
        raise ValueError(f"split sizes are {sizes}; every split needs at least one sample")
    if test + val + train > n:
        tenth = max(1, n // 10)
        remedy = f"such as {n - 2 * tenth}, {tenth} and {tenth}" if n > 2 else "of a larger file"
        raise ValueError(
            f"{n} samples are too few for {train} train, {val} val and {test} test; "
            f"set data.train, data.val and data.test to at most {n} together, {remedy}"
        )
    random, order = np.random.default_rng(seed), np.arange(n)
    if shuffle_test:
        order = random.permutation(order)
    rest = random.permutation(order[test:])
    return {"train": rest[val : val + train], "val": rest[:val], "test": order[:test]}


def initial_hashes(u: Array | np.ndarray) -> list[str]:
    """Return a hash of the first frame of each trajectory of u (n, t, *s, c), as float32."""
    frames = np.asarray(jax.device_get(u[:, 0]), np.float32) + np.float32(0)
    return [blake2b(frame.tobytes(), digest_size=16).hexdigest() for frame in frames]


def check_disjoint(splits: Mapping[str, Trajectories]) -> None:
    """Raise ValueError if splits share an initial condition, even with different PDE parameters.

    One initial condition under different forcing starts different trajectories. The message names
    the first pair and the number of pairs.
    """
    seen: dict[str, tuple[str, int]] = {}
    leaks = []
    for name, data in splits.items():
        forced = _forcing_hashes(data)
        hashes = [a + b for a, b in zip(initial_hashes(_starts(data)), forced, strict=True)]
        leaks += [(*seen[h], name, i) for i, h in enumerate(hashes) if h in seen]
        for i, h in enumerate(hashes):
            seen.setdefault(h, (name, i))
    if leaks:
        first, i, second, j = leaks[0]
        raise ValueError(
            f"{first}[{i}] and {second}[{j}] start from the same initial condition "
            f"({len(leaks)} such pairs); split by initial condition, not by parameter, "
            "and keep copies in one split"
        )


def _starts(data: Trajectories) -> np.ndarray:
    """Return what a trajectory starts from, one frame each: fields, of steady data the inputs."""
    first, c = np.asarray(data.u[:, 0]), len(data.predicted)
    if not data.steady:
        return first[:, None, ..., :c]
    inputs = [first[..., c:].reshape(len(first), -1), np.asarray(data.cond)]
    return np.concatenate(inputs, 1)[:, None]


def _forcing_hashes(data: Trajectories) -> list[str]:
    """Return a hash of the forcing of each trajectory at all of its frames, "" without forcing."""
    if not data.forcing:
        return [""] * len(data)
    rows = (np.asarray(data.u[i])[..., -len(data.forcing) :] for i in range(len(data)))
    return [blake2b(np.ascontiguousarray(row, np.float32).data).hexdigest() for row in rows]


def content_hash(data: Trajectories) -> str:
    """Return 32 hex digits of the fields, parameters, dt, extent and channels."""
    names = ("cond", "dt", "extent", "channels")
    names += () if data.lengths is None else ("lengths",)
    return digest({"u": data.u, **{name: np.asarray(getattr(data, name)) for name in names}})
