"""Agreement of the device with the CPU of the same process, to stated tolerances.

Differences are relative to the RMS of what the CPU computes in float32 at precision "highest".
TF32 is noticed by the difference at default precision, which has a tolerance of its own. On a CPU
all differences but those of bfloat16 are zero.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from inspect import signature
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import ups_jax as ups
from benchmarks.accuracy.contender import train_operator
from benchmarks.gpu.pack import Row, Setting, Skipped, Task, row
from benchmarks.training import one_phase, random_params
from ups_jax.experiment.build import build_pde
from ups_jax.experiment.schedule import recipe_of
from ups_jax.models import OPERATORS
from ups_jax.pde import PDES
from ups_jax.pde.base import rollout
from ups_jax.types import Array, Trajectories

CONFIG, SAMPLES = "configs/burgers.py:smoke", 16
ALONE = {"stages": ("operator",)}
TOLERANCE = {"float32": 5e-5, "tf32": 1e-2, "bfloat16": 5e-2}
"""Of a network; rounding is 6e-8, 5e-4 and 4e-3 an operation."""
SOLVER_TOLERANCE, SAMPLER_TOLERANCE = 1e-4, 1e-3
LOSS_TOLERANCE, UPDATE_TOLERANCE = 1e-4, 2e-2
"""Of the mean loss of a few updates, and of the change of the parameters, relative to its RMS.

AdamW divides each gradient by its size, so that a gradient near zero may change its sign.
"""
TF32_AT_LEAST = 1e-4
"""Differences of a network at default precision above this are those of TF32, not of float32."""


def correctness(setting: Setting) -> dict[str, Task]:
    """Return a task for each network, for training, for each PDE family, and for the sampler."""
    tasks: dict[str, Task] = {f"network {name}": partial(network, name) for name in OPERATORS}
    tasks |= {"training": training, "sampler": sampler}
    tasks |= {f"solver {name}": partial(solver, name) for name in PDES if name != "data"}
    return {**tasks, "generation": generation}


@contextmanager
def on(device: Any, matmul: str = "float32") -> Iterator[None]:
    """Compute on a device, at precision "highest" or, for other matmuls, the default one."""
    precision = "highest" if matmul == "float32" else "default"
    with jax.default_device(device), jax.default_matmul_precision(precision):
        yield


def devices() -> tuple[Any, Any]:
    """Return the CPU and the first device."""
    return jax.devices("cpu")[0], jax.devices()[0]


def difference(value: Any, reference: Any) -> float:
    """Return the RMS of a difference over the RMS of the reference."""
    value, reference = (np.asarray(x, np.float64) for x in (value, reference))
    return float(np.sqrt(np.mean((value - reference) ** 2) / np.mean(reference**2)))


def both(compute: Callable[[], Any]) -> tuple[Any, Any]:
    """Return a float32 result of the first device, and that of the CPU: once if they are equal."""
    results = []
    for place in dict.fromkeys(devices()):
        with on(place):
            results.append(compute())
    return results[-1], results[0]


def network(name: str) -> list[Row]:
    """Compare the increment of one operator step at each precision."""
    host, card = devices()
    with on(host):
        reference = increment(name, "float32")
    rows, used = [], {}
    for matmul in ("float32", "tf32", "bfloat16"):
        with on(card, matmul):
            result = increment(name, matmul)
        if result is not None:
            used[matmul] = difference(result, reference)
            label = f"{name}, {matmul}: difference to the CPU"
            rows.append(row(label, used[matmul], "1", max=TOLERANCE[matmul]))
    noticed = "yes" if used["tf32"] > TF32_AT_LEAST else "no"
    return [*rows, row(f"{name}: TF32 at default precision", noticed, "")]


def increment(name: str, matmul: str) -> np.ndarray | None:
    """Return the network's increment of a random field, None if it cannot use bfloat16."""
    overrides = {**ALONE, "operator.name": name}
    if matmul == "bfloat16":
        if "matmul" not in signature(OPERATORS[name]).parameters:
            return None
        overrides |= {"operator.matmul": matmul}
    emulator = ups.build(ups.load_config(CONFIG, overrides))
    u, cond = fields(emulator)
    return np.asarray(jax.jit(partial(ups.step, emulator))(random_params(emulator), u, cond) - u)


def fields(emulator: ups.Emulator) -> tuple[Array, Array]:
    """Return random fields and PDE parameters."""
    u = np.random.default_rng(2).normal(size=(SAMPLES, *emulator.pde.points, 1))
    return jnp.asarray(u, jnp.float32), jnp.full((SAMPLES, len(emulator.pde.params)), 1e-3)


def training() -> list[Row]:
    """Compare the mean loss and the change of the parameters after five updates."""

    def train() -> tuple[float, np.ndarray]:
        cfg = ups.load_config(CONFIG, ALONE)
        emulator = ups.build(cfg)
        pde, params = emulator.pde, random_params(emulator)
        u = np.random.default_rng(3).normal(size=(32, 4, *pde.points, 1)).astype(np.float32)
        about = pde.dt, pde.extent, pde.channels
        data = Trajectories(u, np.full((32, 1), 1e-3, np.float32), *about)
        recipe = one_phase(
            recipe_of(emulator, cfg, "operator"), unroll=2, calls=1, steps_per_call=5
        )
        losses: list[float] = []
        result = train_operator(
            emulator, params, data, recipe, on_log=lambda step, row: losses.append(row["loss"])
        )
        change = jax.tree.map(lambda new, old: np.ravel(new - old), result.last, params)
        return losses[0], np.concatenate(jax.tree.leaves(change["operator"]))

    (loss, change), (loss_cpu, change_cpu) = both(train)
    relative = abs(loss - loss_cpu) / loss_cpu
    return [
        row("five updates: difference of the loss", relative, "1", max=LOSS_TOLERANCE),
        row("five updates: difference of the change of the parameters",
            difference(change, change_cpu), "1", max=UPDATE_TOLERANCE),
    ]  # fmt: skip


def sampler() -> list[Row]:
    """Compare forecasts by the diffusion sampler, whose noise is the same for both."""

    def compute() -> np.ndarray:
        emulator = ups.build(ups.load_config(CONFIG, {"stages": ("operator", "diffusion")}))
        start = fields(emulator)
        params, key = random_params(emulator), jax.random.key(2)
        run = partial(ups.forecast, emulator, params, *start, key, steps=3)
        return np.asarray(run(forecaster="diffusion", members=2).u - run(forecaster="operator").u)

    return [row("diffusion sampler", difference(*both(compute)), "1", max=SAMPLER_TOLERANCE)]


def solver(name: str) -> list[Row]:
    """Compare five intervals of a PDE family's solver from its own initial fields."""
    if name == "apebench" and find_spec("exponax") is None:
        raise Skipped("exponax is not installed")
    pde = PDES[name]()
    with on(jax.devices("cpu")[0]):
        keys = [pde.sample_keys(jax.random.key(0), jnp.asarray(i)) for i in range(SAMPLES)]
        cond = np.stack([pde.sample_cond(key) for key, _ in keys])
        fields = [pde.initial(key, c, pde.cells) for (_, key), c in zip(keys, cond, strict=True)]
        u = np.stack(fields)

    def compute() -> Array:
        return jax.jit(rollout(pde.step, 1 if pde.steady else 5))(jnp.asarray(u), jnp.asarray(cond))

    return [row(f"solver {name}", difference(*both(compute)), "1", max=SOLVER_TOLERANCE)]


def generation() -> list[Row]:
    """Compare simulated trajectories, with their random initial conditions."""

    def compute() -> np.ndarray:
        pde = build_pde(ups.load_config(CONFIG))
        return ups.simulate(pde, jax.random.key(0), n=8, steps=5, cache=False).u

    return [row("generation of burgers", difference(*both(compute)), "1", max=SOLVER_TOLERANCE)]
