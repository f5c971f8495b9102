"""Trajectories on disk: the same rows, windows, digests and updates as in memory."""

import threading
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ups_jax as ups
from fixtures import write_pdebench
from ups_jax.config import load
from ups_jax.data import DiskFields, content_hash, draw_windows, sample_windows, window_loader
from ups_jax.data.splits import initial_hashes
from ups_jax.emulator import fit_statistics
from ups_jax.experiment.build import build
from ups_jax.stages import STAGES, bind
from ups_jax.train import Hooks, Recipe, fit

SMALL = {"pde.points": 32, "data.cells": (32,), "operator.width": 8, "operator.dilations": (1,)}


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """An emulator, data in memory, and the same data on disk."""
    emulator = build(load("configs/burgers.py:smoke", SMALL))
    data = ups.simulate(emulator.pde, jax.random.key(0), n=12, steps=9, cache=False)
    path = tmp_path_factory.mktemp("stored") / "u.f32"
    np.asarray(data.u).tofile(path)
    return emulator, data, replace(data, u=DiskFields(path, data.u.shape))


@pytest.mark.parametrize(
    "index",
    [3, slice(2, 9, 3), np.array([5, 1, 1]), (slice(None), 0), (slice(1, 4), -1),
     (slice(0, 2), slice(2, 5)), (slice(None), 4, slice(0, 8)), slice(4, 4)],
)  # fmt: skip
def test_indexing_equals_that_of_an_array(task, index):
    _, data, stored = task
    np.testing.assert_array_equal(stored.u[index], np.asarray(data.u)[index])


def test_taken_rows_stay_on_disk_in_order(task):
    _, data, stored = task
    some = stored.take(np.array([7, 0, 3])).take(slice(1, 3))
    assert isinstance(some.u, DiskFields) and some.u.shape == (2, *data.u.shape[1:])
    np.testing.assert_array_equal(np.asarray(some.u), np.asarray(data.u)[[0, 3]])
    np.testing.assert_array_equal(np.concatenate(list(some.u.blocks())), some.u[:])


def test_digests_and_statistics_are_those_of_the_array(task):
    emulator, data, stored = task
    assert content_hash(stored) == content_hash(data)
    assert content_hash(stored.take(slice(5))) == content_hash(data.take(slice(5)))
    assert initial_hashes(stored.u) == initial_hashes(data.u)
    jax.tree.map(
        np.testing.assert_array_equal,
        fit_statistics(emulator, stored),
        fit_statistics(emulator, data),
    )


@pytest.mark.parametrize(("length", "start_bias"), [(1, 1.0), (3, 2.0), (10, 1.0)])
def test_windows_are_those_that_the_device_would_draw(task, length, start_bias):
    _, data, stored = task
    key, spec = jax.random.key(4), dict(batch=6, length=length, start_bias=start_bias)
    expected = sample_windows(key, jnp.asarray(data.u), jnp.asarray(data.cond), **spec)
    jax.tree.map(np.testing.assert_array_equal, draw_windows(key, stored, **spec), expected)


def losses_and_params(task, data, key, unroll):
    emulator, in_memory, _ = task
    params = ups.init(emulator, jax.random.key(1), fit_statistics(emulator, in_memory))
    if key.ndim:
        params = jax.tree.map(lambda x: jnp.stack([x] * len(key)), params)
    recipe = Recipe(
        steps=8, batch=4, lr=1e-2, warmup=2, weight_decay=0, unroll=unroll, steps_per_call=2,
        phase_fractions=(1 / len(unroll),) * len(unroll), ema_decay=0.9, start_bias=2.0,
        val_every=2,
    )  # fmt: skip
    losses = []
    result = fit(
        bind(STAGES["operator"], emulator, recipe.to_dict()), params, data, key, recipe,
        augment=emulator.pde.symmetries,
        hooks=Hooks(on_log=lambda step, row: losses.append((step, row["loss"]))),
    )  # fmt: skip
    return losses, result.best


@pytest.mark.parametrize(
    ("key", "unroll"),
    [(jax.random.key(2), (1, 2)), (jax.random.split(jax.random.key(2), 2), (1,))],
    ids=["two phases", "two networks"],
)
def test_training_from_disk_has_the_bits_of_training_from_memory(task, key, unroll):
    _, data, stored = task
    losses, params = losses_and_params(task, stored, key, unroll)
    expected_losses, expected_params = losses_and_params(task, data, key, unroll)
    assert [step for step, _ in losses] == [2, 4, 6, 8] and losses == expected_losses
    jax.tree.map(np.testing.assert_array_equal, params, expected_params)


class RecordedFields(DiskFields):
    threads: list[str] = []

    def windows(self, *args):
        self.threads.append(threading.current_thread().name)
        return super().windows(*args)


def test_the_next_windows_are_read_ahead_by_a_thread(task):
    _, data, stored = task
    recorded = replace(data, u=RecordedFields(stored.u.path, data.u.shape))
    spec = dict(steps_per_call=3, batch=4, length=2, start_bias=1.0)
    loader = window_loader(None, recorded, jax.random.key(0), **spec)
    first, ahead = loader(0), loader(3)
    caller, reader = RecordedFields.threads[:2]
    assert caller == threading.current_thread().name and reader.startswith("windows")
    fresh = window_loader(loader, stored, jax.random.key(0), **spec)
    np.testing.assert_array_equal(ahead[0], fresh(3)[0])
    np.testing.assert_array_equal(first[0], fresh(0)[0])
    assert first[0].shape == (3, 4, 2, 32, 1) and first[1].shape == (3, 4, 1)
    fresh.close()


def test_a_streamed_pdebench_file_is_copied_once_and_equals_the_loaded_one(tmp_path, monkeypatch):
    monkeypatch.setenv("UPS_DATA", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    path = write_pdebench(tmp_path / "1D_Burgers_Sols_Nu0.001.hdf5", rng.normal(size=(6, 11, 8)))
    spec = dict(space_stride=2, time_stride=5, samples=(1, 6))
    loaded, stored = (ups.load_pdebench(path, stream=s, **spec) for s in (False, True))
    assert isinstance(stored.u, DiskFields) and stored.u.shape == (5, 3, 4, 1)
    assert content_hash(stored) == content_hash(loaded) and stored.origin == loaded.origin
    (copy,) = (tmp_path / "cache" / "stored").iterdir()
    before = copy.stat().st_mtime_ns
    again = ups.load_pdebench(path, stream=True, **spec)
    np.testing.assert_array_equal(again.u[:], loaded.u)
    assert copy.stat().st_mtime_ns == before


def test_a_file_of_another_size_is_refused(task, tmp_path):
    (tmp_path / "short.f32").write_bytes(b"\0" * 8)
    with pytest.raises(ValueError, match=r"has 8 bytes, not those of shape .* delete it"):
        DiskFields(tmp_path / "short.f32", (1, 2, 4, 1))
