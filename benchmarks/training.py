"""Training of the golden operator for the benchmarks that measure its speed."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import ups_jax as ups
from ups_jax.data import sample_windows
from ups_jax.emulator import Emulator, fit_statistics
from ups_jax.experiment.datasets import split_key
from ups_jax.experiment.schedule import recipe_of
from ups_jax.stages import STAGES, bind
from ups_jax.train import FitResult, Hooks, Recipe, fit, init_state, run_updates
from ups_jax.types import Key, Params, Trajectories

GOLDEN = "configs/burgers.py"
SAMPLES = 256
"""Trajectories that `updates_program` draws windows from."""


def golden(
    n: int | None = None,
) -> tuple[Any, Emulator, Params, Trajectories, Recipe]:
    """Return the golden config, emulator, initial parameters, n training trajectories, recipe."""
    cfg = ups.load_config(GOLDEN)
    emulator = ups.build(cfg)
    key = split_key(cfg, "train")
    data = ups.simulate(emulator.pde, key, n=n or cfg.data.train, steps=cfg.data.steps)
    params = ups.init(emulator, jax.random.key(0), fit_statistics(emulator, data))
    return cfg, emulator, params, data, recipe_of(emulator, cfg, "operator")


def random_params(emulator: Emulator) -> Params:
    """Return parameters of the emulator's shapes from NumPy: compiling `init` takes seconds."""
    shapes = jax.eval_shape(lambda: ups.init(emulator, jax.random.key(0)))
    generator = np.random.default_rng(0)

    def draw(x: Any) -> Any:
        scale = prod(x.shape[-3:-1]) ** -0.5 if len(x.shape) > 1 else 0.1
        return (scale * generator.normal(size=x.shape)).astype(x.dtype)

    stats = {
        name: np.full(x.shape, "mean" not in name, x.dtype) for name, x in shapes["stats"].items()
    }
    networks = {name: tree for name, tree in shapes.items() if name != "stats"}
    return jax.tree.map(jnp.asarray, {"stats": stats, **jax.tree.map(draw, networks)})


def one_phase(recipe: Recipe, *, unroll: int, calls: int, steps_per_call: int) -> Recipe:
    """Return a recipe shortened to some calls of one unroll length, without validation."""
    steps = calls * steps_per_call
    return replace(
        recipe, steps=steps, steps_per_call=steps_per_call, warmup=steps // 4, val_every=0,
        unroll=(unroll,), phase_fractions=(1.0,),
    )  # fmt: skip


def train_timed(
    emulator: Emulator,
    params: Params,
    data: Trajectories,
    key: Key,
    recipe: Recipe,
    **options: Any,
) -> tuple[FitResult, list[float]]:
    """Train the operator by `fit` without selection; also return each call's updates a second."""
    rates: list[float] = []
    result = fit(
        bind(STAGES["operator"], emulator, recipe.to_dict()), params, data, key, recipe,
        augment=emulator.pde.symmetries if recipe.augment else (),
        hooks=Hooks(on_log=lambda step, row: rates.append(row["steps_per_s"])), **options,
    )  # fmt: skip
    return result, rates


def updates_program(
    emulator: Emulator, params: Params, recipe: Recipe, *, stage: str = "operator"
) -> tuple[Any, Callable[[], None]]:
    """Compile a call of one-step updates as `fit` does, on random fields.

    Return the compiled program and a function that runs it once and waits for its log.
    """
    pde, spec, opt = emulator.pde, STAGES[stage], recipe.build_optimizer()
    loss = bind(spec, emulator, recipe.to_dict()).loss
    windows = partial(sample_windows, batch=recipe.batch, length=2, start_bias=recipe.start_bias)
    call = partial(
        run_updates, loss, opt, pde.symmetries, recipe.steps_per_call, windows, recipe.ema_decay,
        None,
    )  # fmt: skip
    shape = (SAMPLES, 2, *pde.points, spec.fields * len(pde.channels))
    u = jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)
    cond = jnp.full((SAMPLES, len(pde.params)), 1e-3)
    frozen = {name: value for name, value in params.items() if name != stage}
    args = frozen, (u, cond), jax.random.key(2)
    state = init_state(stage, params, opt).state
    compiled = jax.jit(call, donate_argnums=0).lower(state, *args).compile()

    def run() -> None:
        nonlocal state
        state, means = compiled(state, *args)
        jax.device_get(means)

    return compiled, run
