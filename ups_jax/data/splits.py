"""Which trajectories are learnt from, chosen on and judged on, and the proof that they differ."""

from collections.abc import Mapping
from hashlib import blake2b

import jax
import numpy as np

from ups_jax.data.cache import digest
from ups_jax.types import Array, Trajectories

MOST_TEST = 1000
"""A file's first thousand samples, or tenth, are its test set."""


def split(n: int, *, seed: int, train: int, val: int, test: int) -> dict[str, np.ndarray]:
    """Sample numbers of `train`, `val` and `test` among the `n` of a file, fixed by `seed`.

    Test is the first `test` samples, at most 1,000 and at most a tenth. A permutation of the rest
    gives validation its head and training what follows, so neither depends on the size of the
    training split. ValueError where too few are left.
    """
    sizes = {"train": train, "val": val, "test": test}
    if min(sizes.values()) < 1:
        raise ValueError(f"split sizes are {sizes}; every split needs at least one sample")
    first = min(test, MOST_TEST, max(1, n // 10))
    if first + val + train > n:
        raise ValueError(
            f"{n} samples are too few for {train} train and {val} val beside {first} test; "
            f"lower data.train to at most {max(n - first - val, 0)}, or data.val"
        )
    rest = np.random.default_rng(seed).permutation(np.arange(first, n))
    return {"train": rest[val : val + train], "val": rest[:val], "test": np.arange(first)}


def initial_hashes(u: Array | np.ndarray) -> list[str]:
    """Content hash of the first frame of each trajectory of u (n, t, *s, c), as float32."""
    frames = np.asarray(jax.device_get(u[:, 0]), np.float32) + np.float32(0)
    return [blake2b(frame.tobytes(), digest_size=16).hexdigest() for frame in frames]


def check_disjoint(splits: Mapping[str, Trajectories]) -> None:
    """Refuse splits that share an initial condition, whatever the PDE's parameters beside it.

    Raises ValueError naming both splits, the positions in them, and how many there are.
    """
    seen: dict[str, tuple[str, int]] = {}
    leaks = []
    for name, data in splits.items():
        hashes = initial_hashes(data.u)
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


def content_hash(data: Trajectories) -> str:
    """32 hex digits of what a model can see: fields, parameters, dt, extent and channels."""
    names = ("cond", "dt", "extent", "channels")
    return digest({"u": data.u, **{name: np.asarray(getattr(data, name)) for name in names}})
