"""Meshes of devices: the losses of one device, sharded parameters, batches that divide."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from runs import QUICK, ROOT
from ups_jax import sharding

TRAIN = """
import json, sys
from dataclasses import replace
from pathlib import Path
import jax
import numpy as np
import ups_jax as ups
from ups_jax import sharding
from ups_jax.config import load
from ups_jax.emulator import fit_statistics
from ups_jax.evaluate.rollouts import Rollouts, rollout_dataset
from ups_jax.evaluate.timing import compile_seconds
from ups_jax.experiment import environment
from ups_jax.experiment.build import build
from ups_jax.experiment.checkpoint import Checkpoints
from ups_jax.stages import STAGES, bind
from ups_jax.train import Hooks, Progress, Recipe, TrainSnapshot, TrainState, fit, init_state
from ups_jax.types import Interrupted

small = {"pde.points": 32, "data.cells": (64,), "operator.width": 16, "operator.dilations": (1,)}
small |= {"diffusion.steps": 2}
small |= {"denoiser.width": 8, "denoiser.dilations": (1,)}
emulator = build(load("configs/burgers.py:smoke", small))
data = ups.simulate(emulator.pde, jax.random.key(0), n=32, steps=8, cache=False)
params = ups.init(emulator, jax.random.key(1), fit_statistics(emulator, data))
recipe = Recipe(
    steps=50, batch=16, lr=3e-3, warmup=5, unroll=(1,), steps_per_call=5, val_every=5,
    ema_decay=0.9,
)


def train(mesh, losses, params=params, key=jax.random.key(2), recipe=recipe, resume=None, **hooks):
    stage = bind(STAGES["operator"], emulator, recipe.to_dict())
    hooks = Hooks(on_log=lambda step, row: losses.append(row["loss"]), **hooks)
    return fit(
        stage, params, data, key, recipe, augment=emulator.pde.symmetries, mesh=mesh, hooks=hooks,
        resume=resume,
    )


def rollout(params, mesh):
    u0, cond = sharding.shard_batch(mesh, (data.u[:8, 0], data.cond[:8]))
    key = jax.random.key(3)
    out = ups.forecast(emulator, params, u0, cond, key, steps=4, forecaster="operator")
    return np.asarray(out.u)


report = {}
for data_axis, fsdp in ((None, 1), (1, 1), (8, 1), (2, 4)):
    losses, mesh = [], None
    if data_axis is not None:
        mesh = sharding.make_mesh(data=data_axis, fsdp=fsdp)
    result = train(mesh, losses)
    specs = [str(x.sharding) for x in jax.tree.leaves(result.last["operator"])]
    difference = rollout(result.best, mesh) - rollout(jax.device_get(result.best), None)
    report[f"{data_axis}-{fsdp}"] = {
        "loss": losses,
        "sharded": sum("'fsdp'," in spec or "'fsdp')" in spec for spec in specs),
        "difference": float(abs(difference).max()),
    }

stacked = jax.tree.map(lambda x: np.stack([x, 1.1 * x]), params)
meshes = {"stacked None": None, "stacked 2-4": sharding.make_mesh(data=2, fsdp=4)}
for name, mesh in meshes.items():
    losses, states = [], []
    train(
        mesh, losses, stacked, jax.random.split(jax.random.key(2), 2), replace(recipe, steps=10),
        on_save=lambda snapshot: states.append(snapshot.state.opt),
    )
    vectors = [str(x.sharding) for x in jax.tree.leaves(states[0]) if x.size > 1000]
    report[name] = {
        "loss": losses, "sharded": sum("'fsdp'" in v for v in vectors), "total": len(vectors)
    }

sizes = dict(n=520, steps=1, cache=False)
one = ups.simulate(emulator.pde, jax.random.key(4), **sizes)
with compile_seconds() as compiled:
    many = ups.simulate(emulator.pde, jax.random.key(4), mesh=sharding.make_mesh(), **sizes)
report["data"] = {
    "equal": bool((one.u == many.u).all()), "total": len(many), "compiled": len(compiled)
}

def mean_and_largest(mesh):
    function = lambda start, x: (x.mean(), sharding.max_over_devices(mesh, start + x.max()))
    run = jax.jit(sharding.mean_over_samples(mesh, function))
    return [float(value) for value in run(1.0, np.arange(16.0))]


pair = [mean_and_largest(mesh) for mesh in (None, sharding.make_mesh())]
report["reduced"] = {"pair": pair}

both = None, sharding.make_mesh()
for name, options in json.loads(sys.argv[2]).items():
    given = dict(steps=2, forecaster=name, **options)
    alone, shared = (
        ups.forecast(
            emulator, params, data.u[:8, 0], data.cond[:8], jax.random.key(3), mesh=mesh, **given
        )
        for mesh in both
    )
    arrays = zip(jax.tree.leaves(alone), jax.tree.leaves(shared), strict=True)
    # A log's numbers of the whole batch are no array of samples.
    report[f"shared {name}"] = {
        "difference": max(float(abs(np.asarray(a) - np.asarray(b)).max()) for a, b in arrays),
        "members": None if shared.members is None else shared.members.shape[1],
        "devices": len(shared.u.sharding.device_set),
    }
alone, shared = (
    rollout_dataset(emulator, params, data, num_rollouts=20, rollouts=Rollouts(mesh)).u
    for mesh in both
)
report["rollouts"] = {"equal": bool((alone == shared).all())}

report["lines"] = {}
for overrides in json.loads(sys.argv[3]):
    cfg = load("configs/burgers.py:smoke", overrides)
    mesh = environment.mesh_of(cfg)
    text = " ".join(f"{key}={value}" for key, value in overrides.items())
    report["lines"][text] = [mesh.size, environment.mesh_line(cfg, mesh)]

losses, snapshot = [], None
for devices, calls in ((8, 4), (4, 7), (1, 99)):
    with Checkpoints(Path(sys.argv[1])) as folder:
        def save(snapshot):
            tree = {**snapshot.state._asdict(), "best": snapshot.best}
            folder.save(tree, snapshot.progress._asdict())
        try:
            train(sharding.make_mesh(data=devices), losses, resume=snapshot, on_save=save,
                  stop=lambda: len(losses) >= calls)
        except Interrupted:
            initial = init_state("operator", params, recipe.build_optimizer())
            like = jax.eval_shape(lambda: {**initial.state._asdict(), "best": initial.best})
            tree, meta = folder.restore(folder.latest(), like)
            best = tree.pop("best")
            snapshot = TrainSnapshot(TrainState(**tree), best, Progress(**meta))
report["moved"] = {"loss": losses}
print(json.dumps(report))
"""


SHARED = {
    "solver": {},
    "ensemble": {"members": 3},
    "diffusion": {"members": 2},
    "student": {"members": 2},
    "ttc": {"beams": 2, "candidates": 2},
}
"""Forecasters that the devices of a mesh share, with small options."""
LINES = {
    "": [8, "8 devices share every batch"],
    "mesh.data=2": [2, "2 of 8 devices share every batch: mesh.data is 2, mesh.fsdp 1"],
    "fit.operator.batch=12": [
        4, "4 of 8 devices share every batch: fit.operator.batch is 12, not a multiple of 8"
    ],
    "fit.operator.batch=5": [
        1, "1 of 8 devices computes every batch: fit.operator.batch is 5, not a multiple of 8"
    ],
}  # fmt: skip
"""Devices that share a batch, and the line of the log, by overrides of the smoke config."""


def forced(devices, cache):
    """Environment with one CPU split into that many devices; equal programs are compiled once."""
    flags = f"--xla_force_host_platform_device_count={devices} {QUICK}"
    more = {"XLA_FLAGS": flags, "JAX_COMPILATION_CACHE_DIR": str(cache)}
    return {**os.environ, "JAX_PLATFORMS": "cpu", **more}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Losses of 50 updates without a mesh, on one device, on eight, and moved from 8 to 4 to 1."""
    folder = tmp_path_factory.mktemp("moved")
    pairs = [[pair.split("=") for pair in text.split()] for text in LINES]
    overrides = [{key: int(value) for key, value in own} for own in pairs]
    more = [json.dumps(value) for value in (SHARED, overrides)]
    argv = [sys.executable, "-c", TRAIN, str(folder / "run"), *more]
    environment = forced(8, folder / "cache")
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_devices_agree_on_the_mean_and_on_the_largest_value(trained):
    assert trained["reduced"]["pair"] == [[7.5, 16.0]] * 2


def test_eight_devices_have_the_losses_of_one(trained):
    one = np.array(trained["1-1"]["loss"])
    assert one[-1] < 0.8 * one[0]
    np.testing.assert_array_equal(one, trained["None-1"]["loss"])
    for name in ("8-1", "2-4"):
        np.testing.assert_allclose(trained[name]["loss"], one, rtol=1e-5)


def test_stacked_networks_and_their_optimizer_state_are_sharded(trained):
    alone, sharded = trained["stacked None"], trained["stacked 2-4"]
    np.testing.assert_allclose(sharded["loss"], alone["loss"], rtol=1e-5)
    assert (alone["sharded"], sharded["sharded"]) == (0, 2) and sharded["total"] == 2


def test_the_cores_of_a_mesh_run_the_solver_that_is_compiled_once(trained):
    assert trained["data"] == {"equal": True, "total": 520, "compiled": 0}


def test_a_checkpoint_of_eight_devices_resumes_on_four_and_on_one(trained):
    moved, alone = trained["moved"]["loss"], trained["1-1"]["loss"]
    assert len(moved) == len(alone) == 10
    np.testing.assert_allclose(moved, alone, rtol=1e-4)


def test_parameters_are_replicated_or_sharded_over_fsdp(trained):
    assert trained["8-1"]["sharded"] == 0 and trained["2-4"]["sharded"] > 0
    assert all(run.get("difference", 0) < 1e-5 for run in trained.values())


@pytest.mark.parametrize("name", SHARED)
def test_forecasts_that_devices_share_are_those_of_one(trained, name):
    """Samples have keys of their own: neither members nor candidates depend on the mesh."""
    result = trained[f"shared {name}"]
    assert result["difference"] < 1e-5 and result["devices"] == 8
    assert result["members"] == SHARED[name].get("members")


def test_rollouts_for_training_have_the_same_bits_on_every_mesh(trained):
    assert trained["rollouts"]["equal"]


def test_the_log_says_how_many_devices_share_a_batch_and_why(trained):
    assert trained["lines"] == LINES


def test_a_mesh_of_more_devices_than_there_are_is_refused():
    with pytest.raises(
        ValueError, match=r"needs 8 devices, but only 1 cpu devices are available; lower"
    ):
        sharding.make_mesh(data=4, fsdp=2)
    with pytest.raises(ValueError, match="both must be at least 1"):
        sharding.make_mesh(data=0)
    with pytest.raises(ValueError, match="needs 2 devices"):
        sharding.make_mesh(fsdp=2)


class EightDevices:
    """The attributes of a mesh that `require_divides` reads."""

    size, shape = 8, {"data": 8, "fsdp": 1}


@pytest.mark.parametrize(
    ("size", "near"), [(12, "use 8 or 16"), (3, "use 8"), (17, "use 16 or 24")]
)
def test_a_batch_that_does_not_divide_is_refused_with_the_nearest_sizes(size, near):
    with pytest.raises(ValueError, match=rf"fit.operator.batch is {size}, .* {near}$"):
        sharding.require_divides("fit.operator.batch", size, EightDevices())  # pyright: ignore[reportArgumentType]
    sharding.require_divides("fit.operator.batch", 16, EightDevices())  # pyright: ignore[reportArgumentType]


def test_one_device_is_a_mesh_of_one_and_odd_axes_are_replicated():
    mesh = sharding.make_mesh()
    assert mesh.size == len(jax.devices()) == 1
    arrays = sharding.shard_batch(mesh, {"a": np.ones((3, 2)), "b": np.float32(1)})
    assert arrays["a"].shape == (3, 2) and arrays["b"].shape == ()
