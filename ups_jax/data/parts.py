"""Trajectories of a mixture: those of its parts, each solved as a PDE of its own."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ups_jax.pde.base import PDE
from ups_jax.types import Key, Trajectories


def part_numbers(weights: Sequence[float], n: int) -> np.ndarray:
    """Return the part of each of n samples (n,): any first samples are in proportion to weights."""
    shares, counts = np.array(weights) / np.sum(weights), np.zeros(len(weights))
    numbers = np.empty(n, int)
    for i in range(n):
        numbers[i] = np.argmax(np.round(shares * (i + 1) - counts, 9))
        counts[numbers[i]] += 1
    return numbers


def simulate_parts(
    simulate: Callable[..., Trajectories],
    pde: PDE,
    key: Key,
    n: int,
    progress: Callable[[int, int], None] | None,
    shared: dict[str, Any],
) -> Trajectories:
    """Return trajectories of a mixture; sample j of a part is that of its own PDE."""
    numbers, solved, laws = part_numbers(pde.weights, n), [], {}
    rows = [np.flatnonzero(numbers == i) for i in range(len(pde.parts))]
    for part, own in zip(pde.parts, rows, strict=True):
        if not len(own):
            continue
        before = sum(map(len, solved))
        tick = progress and (lambda done, _, before=before: progress(before + done, n))
        solved.append(simulate(part, key, n=len(own), progress=tick, **shared))
        for name, worst in solved[-1].meta["laws"].items():
            laws[name] = max(worst, laws.get(name, 0.0))
    order = np.argsort(np.concatenate(rows), kind="stable")
    u, cond = (
        np.concatenate([np.asarray(x) for x in arrays])[order]
        for arrays in ([data.u for data in solved], [data.cond for data in solved])
    )
    first = replace(solved[0], u=u, cond=cond, pde=pde.equation or pde.name)
    return replace(first, meta={"cells": pde.cells, "laws": laws})
