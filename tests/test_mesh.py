"""Devices side by side: the same losses as on one, parameters shared out, batches that divide."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from runs import ROOT
from ups_jax import sharding

TRAIN = """
import json, sys
from pathlib import Path
import jax
import numpy as np
import ups_jax as ups
from ups_jax import mesh, optim
from ups_jax.experiment.checkpoint import Checkpoints
from ups_jax.config import load
from ups_jax.simulator import build, statistics
from ups_jax.stages import STAGES
from ups_jax.train import Progress, Snapshot, TrainState, fit, start
from ups_jax.types import Interrupted

small = {"pde.points": 32, "data.cells": (64,), "operator.width": 16, "operator.dilations": (1,)}
cfg = load("configs/burgers.py:smoke", small)
emulator = build(cfg)
data = ups.simulate(emulator.pde, jax.random.key(0), n=32, steps=8, cache=False)
params = ups.init(emulator, jax.random.key(1), statistics(emulator, data))
opt = optim.adamw(
    steps=100, lr=1e-3, schedule="cosine", warmup=10, weight_decay=1e-5, clip_norm=1.0
)


def go(grid, rows, params=params, key=jax.random.key(2), steps=100, **more):
    return fit(
        STAGES["operator"](emulator), params, data, key, opt=opt, phases=[(steps, 1)], batch_size=16,
        steps_per_call=5, ema_decay=0.9, augment=emulator.pde.symmetries, mesh=grid,
        on_log=lambda step, row: rows.append(row["loss"]), **more,
    )


def rolled(found, grid):
    u0, cond = mesh.spread(grid, (data.u[:8, 0], data.cond[:8]))
    key = jax.random.key(3)
    return np.asarray(ups.forecast(emulator, found, u0, cond, key, steps=4, mode="operator").u)


told = {}
for data_axis, fsdp in ((None, 1), (1, 1), (8, 1), (2, 4)):
    rows, grid = [], None if data_axis is None else mesh.make(data=data_axis, fsdp=fsdp)
    found = go(grid, rows)
    specs = [str(x.sharding) for x in jax.tree.leaves(found.last["operator"])]
    apart = rolled(found.best, grid) - rolled(jax.device_get(found.best), None)
    told[f"{data_axis}-{fsdp}"] = {
        "loss": rows, "sharded": sum("'fsdp'," in spec or "'fsdp')" in spec for spec in specs),
        "apart": float(abs(apart).max()),
    }

both = jax.tree.map(lambda x: np.stack([x, 1.1 * x]), params)
for name, grid in (("two alone", None), ("two 2-4", mesh.make(data=2, fsdp=4))):
    rows, held = [], []
    saving = dict(on_save=lambda now: held.append(now.state.opt))
    go(grid, rows, both, jax.random.split(jax.random.key(2), 2), 20, **saving)
    vectors = [str(x.sharding) for x in jax.tree.leaves(held[0]) if x.size > 1000]
    told[name] = {"loss": rows, "shared": sum("'fsdp'" in v for v in vectors), "of": len(vectors)}

wide = dict(n=520, steps=1, cache=False)
one, many = (ups.simulate(emulator.pde, jax.random.key(4), mesh=m, **wide) for m in (None, mesh.make()))
told["data"] = {"alike": bool((one.u == many.u).all()), "of": len(many)}

rows, kept = [], None
for devices, until in ((8, 8), (4, 14), (1, 99)):
    last = {}
    with Checkpoints(Path(sys.argv[1])) as folder:
        def save(now):
            number = folder.save({**now.state._asdict(), "best": now.best}, now.progress._asdict())
            last["number"] = number
        try:
            go(mesh.make(data=devices), rows, resume=kept, on_save=save,
               stop=lambda until=until: len(rows) >= until)
        except Interrupted:
            blank = start(STAGES["operator"](emulator), params, opt)
            like = jax.eval_shape(lambda: {**blank.state._asdict(), "best": blank.best})
            tree, meta = folder.restore(last["number"], like)
            best = tree.pop("best")
            kept = Snapshot(TrainState(**tree), best, Progress(**meta))
told["moved"] = {"loss": rows}
print(json.dumps(told))
"""


def forced(devices):
    """An environment in which a CPU pretends to be that many devices."""
    flags = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
    return {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Losses of 100 updates without a mesh, on one device, on eight, and moved from 8 to 4 to 1."""
    argv = [sys.executable, "-c", TRAIN, str(tmp_path_factory.mktemp("moved"))]
    done = subprocess.run(argv, cwd=ROOT, env=forced(8), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_eight_devices_have_the_losses_of_one(trained):
    one = np.array(trained["1-1"]["loss"])
    assert one[-1] < 0.8 * one[0]
    np.testing.assert_array_equal(one, trained["None-1"]["loss"])
    for name in ("8-1", "2-4"):
        np.testing.assert_allclose(trained[name]["loss"], one, rtol=1e-5)


def test_networks_side_by_side_and_what_the_optimiser_keeps_are_shared_out_too(trained):
    alone, shared = trained["two alone"], trained["two 2-4"]
    np.testing.assert_allclose(shared["loss"], alone["loss"], rtol=1e-5)
    assert (alone["shared"], shared["shared"]) == (0, 2) and shared["of"] == 2


def test_devices_that_simulate_side_by_side_make_the_same_bits(trained):
    assert trained["data"] == {"alike": True, "of": 520}


def test_a_checkpoint_of_eight_devices_goes_on_with_four_and_with_one(trained):
    moved, alone = trained["moved"]["loss"], trained["1-1"]["loss"]
    assert len(moved) == len(alone) == 20
    np.testing.assert_allclose(moved, alone, rtol=1e-4)


def test_parameters_are_whole_on_each_device_or_shared_out_over_fsdp(trained):
    assert trained["8-1"]["sharded"] == 0 and trained["2-4"]["sharded"] > 0
    assert all(run.get("apart", 0) < 1e-5 for run in trained.values())


def test_a_mesh_of_more_devices_than_there_are_is_refused():
    with pytest.raises(ValueError, match=r"needs 8 devices, but 1 cpu devices are here; lower"):
        sharding.make_mesh(data=4, fsdp=2)
    with pytest.raises(ValueError, match="both must be at least 1"):
        sharding.make_mesh(data=0)
    with pytest.raises(ValueError, match="needs 2 devices"):
        sharding.make_mesh(fsdp=2)


class Wide:
    """Of a mesh, what `require_divides` looks at."""

    size, shape = 8, {"data": 8, "fsdp": 1}


@pytest.mark.parametrize(
    ("size", "near"), [(12, "use 8 or 16"), (3, "use 8"), (17, "use 16 or 24")]
)
def test_a_batch_that_does_not_divide_names_the_nearest_that_do(size, near):
    with pytest.raises(ValueError, match=rf"fit.operator.batch is {size}, .* {near}$"):
        sharding.require_divides("fit.operator.batch", size, Wide())  # pyright: ignore[reportArgumentType]
    sharding.require_divides("fit.operator.batch", 16, Wide())  # pyright: ignore[reportArgumentType]


def test_one_device_is_a_mesh_of_one_and_what_does_not_divide_is_whole_on_each():
    grid = sharding.make_mesh()
    assert grid.size == len(jax.devices()) == 1
    found = sharding.shard_batch(grid, {"a": np.ones((3, 2)), "b": np.float32(1)})
    assert found["a"].shape == (3, 2) and found["b"].shape == ()
