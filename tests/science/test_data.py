"""Data: simulation, files, splits, statistics and windows."""

import dataclasses
import json
import os

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fixtures import write_pdebench
from ups_jax.data import (
    check_disjoint,
    condition,
    content_hash,
    fit_normalizer,
    initial_hashes,
    load,
    load_npz,
    load_pdebench,
    normalize,
    sample_windows,
    save_npz,
    save_predictions,
    simulate,
    split,
)
from ups_jax.data import pdebench as pdebench_module
from ups_jax.pde import advection, burgers
from ups_jax.types import Interrupted, Trajectories

BURGERS = burgers.make(cells=64, points=16, dt=0.1)
STEPS = 6


def toy(**replaced):
    """A PDE that shifts a sine by one cell a step: compiled in no time, every law kept."""

    def initial(key, cond, cells):
        x = jnp.arange(cells[0]) / cells[0]
        phase = jax.random.key_data(key)[0].astype(jnp.float32) / 2.0**32
        return jnp.sin(2 * jnp.pi * (x + phase))[:, None]

    parts = dict(
        initial=initial,
        sample_cond=lambda key: jnp.full((1,), 1e-3),
        step=lambda u, cond: jnp.roll(u, 1, axis=-2),
    )
    return dataclasses.replace(burgers.make(cells=32, points=8), **(parts | replaced))


TOY = toy()


def random_trajectories(n=5, t=4, shape=(8,), c=1, seed=0, **kw):
    rng = np.random.default_rng(seed)
    u = rng.normal(size=(n, t, *shape, c)).astype(np.float32)
    return Trajectories(u, kw.pop("cond", np.full((n, 1), 1e-3, np.float32)), **kw)


# --- simulation: exact laws


@pytest.fixture(scope="module")
def seventy():
    return simulate(BURGERS, jax.random.key(3), n=70, steps=STEPS, cache=False)


def test_a_sample_depends_on_key_and_number_only(seventy):
    one = simulate(BURGERS, jax.random.key(3), n=1, steps=STEPS, cache=False)
    few = simulate(BURGERS, jax.random.key(3), n=3, steps=STEPS, cache=False)
    many = simulate(BURGERS, jax.random.key(3), n=520, steps=STEPS, cache=False)
    more = simulate(BURGERS, jax.random.key(3), n=514, steps=STEPS, cache=False)
    np.testing.assert_array_equal(one.u, seventy.u[:1])
    np.testing.assert_array_equal(few.u, seventy.u[:3])
    np.testing.assert_array_equal(many.u[:70], seventy.u)
    np.testing.assert_array_equal(many.u[512:514], more.u[512:])
    np.testing.assert_array_equal(many.cond[:70], seventy.cond)
    assert len(set(initial_hashes(many.u))) == 520
    other = simulate(BURGERS, jax.random.key(4), n=3, steps=STEPS, cache=False)
    assert not np.any(other.u[:, 0] == few.u[:, 0])


def test_frames_are_those_of_the_solver_and_native_cells_keep_their_mean(seventy):
    """Frame 0 is the initial condition, frame t+1 is `step` of frame t, on cells, thinned."""
    keys = jax.random.split(jax.random.fold_in(jax.random.key(3), 5))
    cond = BURGERS.sample_cond(keys[0])
    first = u = jax.jit(BURGERS.initial, static_argnums=2)(keys[1], cond, BURGERS.cells)[None]
    step = jax.jit(BURGERS.step)
    for t in range(STEPS + 1):
        np.testing.assert_allclose(seventy.u[5, t], u[0, ::4], atol=2e-6)
        assert abs(np.asarray(u - first, np.float64).mean()) < 1e-6
        u = step(u, cond[None])
    assert np.abs(u - first).max() > 0.1
    assert seventy.u.shape == (70, STEPS + 1, 16, 1) and seventy.u.dtype == np.float32
    assert (seventy.dt, seventy.channels, seventy.origin) == (0.1, ("u",), "regenerated")
    assert 0 <= seventy.meta["laws"]["mass"] <= 1e-6


def test_two_dimensions_are_thinned_along_both_axes():
    def initial(key, cond, cells):
        grid = jnp.arange(cells[0] * cells[1], dtype=jnp.float32).reshape(*cells, 1) % 37
        return grid * (jax.random.key_data(key)[0].astype(jnp.float32) / 2.0**32)

    pde = dataclasses.replace(
        advection.make(points=(4, 8), cells=(16, 16)),
        initial=initial,
        step=lambda u, cond: jnp.roll(u, 4, axis=-3),
    )
    data = simulate(pde, jax.random.key(0), n=2, steps=2, cache=False)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(0), 1))
    first = initial(keys[1], None, pde.cells)[::4, ::2]
    assert data.u.shape == (2, 3, 4, 8, 1) and data.cond.shape == (2, 2)
    np.testing.assert_array_equal(data.u[1, 0], first)
    np.testing.assert_array_equal(data.u[1, 2], np.roll(first, 2, axis=0))


def test_progress_counts_up_in_the_calling_thread_and_stop_interrupts(tmp_path):
    calls = []
    report = lambda done, n: calls.append((done, n))  # noqa: E731
    simulate(TOY, jax.random.key(0), n=70, steps=2, cache=False, progress=report)
    assert {n for _, n in calls} == {70} and len(calls) > 2
    assert sorted(calls) == calls and calls[-1] == (70, 70)
    stops = iter([False, True, True, True])
    with pytest.raises(Interrupted):
        simulate(TOY, jax.random.key(0), n=2000, steps=2, cache=tmp_path, stop=lambda: next(stops))


# --- simulation: checks of the output


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda u, cond: jnp.where(u > 0.99, jnp.nan, u), "sample 0 is not finite"),
        (lambda u, cond: u + 1e-5, r"'mass' \(conserved\) by 2"),
        (lambda u, cond: u.at[..., 1, :].add(1e-3), r"sample \d breaks .*'energy' \(decaying\)"),
    ],
)
def test_a_violation_is_refused_with_the_law_and_the_sample(step, message):
    """The last fault is at a cell between saved points: laws are checked on native cells."""
    with pytest.raises(ValueError, match=message):
        simulate(toy(step=step), jax.random.key(0), n=2, steps=2, cache=False)


def test_invalid_sizes_are_refused():
    with pytest.raises(ValueError, match="32 cells cannot be thinned to 12 points"):
        simulate(toy(points=(12,)), jax.random.key(0), n=1, steps=1, cache=False)
    with pytest.raises(ValueError, match="n is 0"):
        simulate(TOY, jax.random.key(0), n=0, steps=1, cache=False)
    with pytest.raises(ValueError, match="one key"):
        simulate(TOY, jax.random.split(jax.random.key(0)), n=1, steps=1, cache=False)


# --- simulation: cache


def test_the_cache_returns_the_same_bits_also_for_fewer_samples(tmp_path, capfd):
    pde, key = TOY, jax.random.key(0)
    plain = simulate(pde, key, n=40, steps=2, cache=False)
    made = simulate(pde, key, n=40, steps=2, cache=tmp_path)
    (file,) = [f for f in tmp_path.rglob("*") if f.is_file()]
    stamp = file.stat().st_mtime_ns
    hit = simulate(pde, key, n=40, steps=2, cache=tmp_path)
    fewer = simulate(pde, key, n=7, steps=2, cache=tmp_path)
    for other in (made, hit, fewer):
        np.testing.assert_array_equal(other.u, plain.u[: len(other)])
        np.testing.assert_array_equal(other.cond, plain.cond[: len(other)])
    assert hit.meta == plain.meta and file.stat().st_mtime_ns == stamp
    simulate(pde, key, n=50, steps=2, cache=tmp_path)
    assert [f for f in tmp_path.rglob("*") if f.is_file()] == [file]
    assert file.stat().st_mtime_ns != stamp and not capfd.readouterr().err


def test_the_cache_depends_on_program_key_and_steps(tmp_path):
    key = jax.random.key(0)
    simulate(TOY, key, n=2, steps=2, cache=tmp_path)
    simulate(TOY, key, n=2, steps=2, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    simulate(toy(step=lambda u, cond: jnp.roll(u, 2, axis=-2)), key, n=2, steps=2, cache=tmp_path)
    simulate(TOY, jax.random.key(1), n=2, steps=2, cache=tmp_path)
    simulate(TOY, key, n=2, steps=3, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


def test_data_of_other_compiler_flags_are_not_reused(tmp_path, monkeypatch):
    def folders(flags):
        monkeypatch.setenv("XLA_FLAGS", flags)
        simulate(TOY, jax.random.key(0), n=1, steps=1, cache=tmp_path)
        return len(list(tmp_path.iterdir()))

    assert folders("") == 1
    assert folders("--xla_force_host_platform_device_count=8 --xla_dump_to=x") == 1
    assert folders("--xla_cpu_enable_fast_math=true") == 2


def test_caches_and_predictions_keep_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        data = simulate(TOY, jax.random.key(0), n=2, steps=2, cache=tmp_path / "cache")
        for name in ("a.npz", "a.h5"):
            save_predictions(tmp_path / name, {"toy": data.u}, truth=data)
    finally:
        os.umask(before)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 3 and {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_a_folder_in_the_place_of_a_cached_file_costs_a_line(tmp_path, capfd):
    simulate(TOY, jax.random.key(0), n=2, steps=2, cache=tmp_path)
    (file,) = tmp_path.rglob("*.npz")
    file.unlink()
    file.mkdir()
    assert len(simulate(TOY, jax.random.key(0), n=2, steps=2, cache=tmp_path)) == 2
    assert len(capfd.readouterr().err.splitlines()) == 2


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other"])
def test_a_damaged_cache_is_replaced(tmp_path, capfd, damage):
    pde, key = TOY, jax.random.key(0)
    plain = simulate(pde, key, n=4, steps=2, cache=tmp_path)
    (file,) = tmp_path.rglob("*.npz")
    content = bytearray(file.read_bytes())
    if damage == "flipped":
        with np.load(file) as arrays:
            kept = dict(arrays)
        kept["u"][1, 1] += 1e-3
        np.savez(file, **kept)
    elif damage == "other":
        np.savez(file, u=np.zeros(3))
    else:
        file.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    again = simulate(pde, key, n=4, steps=2, cache=tmp_path)
    np.testing.assert_array_equal(again.u, plain.u)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1 and str(file) in lines[0] and "damaged" in lines[0]
    simulate(pde, key, n=4, steps=2, cache=tmp_path)
    assert not capfd.readouterr().err
    assert [f.name for f in file.parent.iterdir()] == [file.name]


def test_a_read_only_cache_gives_one_warning(tmp_path, monkeypatch, capfd):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("UPS_DATA", str(blocked))
    assert len(simulate(TOY, jax.random.key(0), n=600, steps=2)) == 600
    assert len(capfd.readouterr().err.splitlines()) == 1

    def full(*args, **kw):
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez", full)
    simulate(TOY, jax.random.key(0), n=600, steps=2, cache=tmp_path / "data")
    assert len(capfd.readouterr().err.splitlines()) == 1
    assert not [f for f in (tmp_path / "data").rglob("*") if f.is_file()]


def test_default_cache_is_the_user_s(tmp_path, monkeypatch):
    monkeypatch.setenv("UPS_DATA", str(tmp_path / "here"))
    simulate(TOY, jax.random.key(0), n=1, steps=2)
    assert list((tmp_path / "here").rglob("*.npz"))
    monkeypatch.delenv("UPS_DATA")
    monkeypatch.setenv("HOME", str(tmp_path))
    simulate(TOY, jax.random.key(0), n=1, steps=2)
    assert list((tmp_path / ".cache" / "ups_jax" / "data").rglob("*.npz"))


# --- PDEBench files


@pytest.fixture
def official(tmp_path):
    """Seven samples, 21 frames, 16 points, t-coordinate of 22 entries."""
    u = np.random.default_rng(0).normal(size=(7, 21, 16)).astype(np.float32)
    return write_pdebench(tmp_path / "1D_Burgers_Sols_Nu0.01.hdf5", u, nu=0.01), u


def test_an_official_file_is_read_unchanged(official):
    path, u = official
    data = load_pdebench(path)
    np.testing.assert_array_equal(data.u, u[..., None])
    np.testing.assert_array_equal(data.cond, np.full((7, 1), 0.01, np.float32))
    assert (data.dt, data.extent, data.channels) == (0.01, (1.0,), ("u",))
    assert data.u.dtype == np.float32 and data.origin.startswith(f"{path.name}, sha256 ")
    assert len(data.origin.split()[-1]) == 12
    np.testing.assert_array_equal(load(path, time_stride=5).u, data.u[:, ::5])


@pytest.mark.parametrize(
    "samples", [None, slice(2, 6), slice(None, None, 3), slice(-3, None), range(1, 7, 2), (1, 4)]
)
@pytest.mark.parametrize("block", [1, 3 * 21 * 16 * 4, 2**26])
def test_strides_and_ranges_equal_plain_slicing(official, monkeypatch, samples, block):
    path, u = official
    monkeypatch.setattr(pdebench_module, "READ_BYTES", block)
    data = load_pdebench(path, space_stride=4, time_stride=5, samples=samples)
    at = slice(*samples) if isinstance(samples, tuple) else samples
    at = slice(at.start, at.stop, at.step) if isinstance(at, range) else at or slice(None)
    np.testing.assert_array_equal(data.u, u[at][:, ::5, ::4, None])
    assert data.dt == 0.05 and data.extent == (1.0,)


@pytest.mark.parametrize("samples", [None, range(0, 40, 7)])
def test_file_is_streamed_in_contiguous_blocks(tmp_path, monkeypatch, samples):
    u = np.zeros((40, 3, 64), np.float32)
    path = write_pdebench(tmp_path / "a.h5", u)
    reads = []
    plain = h5py.Dataset.__getitem__

    def spy(self, at, *args, **kw):
        got = plain(self, at, *args, **kw)
        if self.name == "/tensor":
            reads.append((at, got.nbytes))
        return got

    monkeypatch.setattr(h5py.Dataset, "__getitem__", spy)
    monkeypatch.setattr(pdebench_module, "READ_BYTES", 10 * u[0].nbytes)
    load_pdebench(path, time_stride=2, samples=samples)
    assert len(reads) >= 3 and max(size for _, size in reads) <= 10 * u[0].nbytes
    assert all(isinstance(at, slice) and at.step is None for at, _ in reads)


def test_trailing_channels_and_other_grids(tmp_path):
    u = np.random.default_rng(0).normal(size=(2, 5, 8, 2)).astype(np.float32)
    path = write_pdebench(tmp_path / "a.h5", u, length=4.0, dt=0.25, spare_time=0)
    data = load_pdebench(path, space_stride=2)
    np.testing.assert_array_equal(data.u, u[:, :, ::2])
    assert data.extent == (4.0,) and data.dt == 0.25 and data.channels == ("u0", "u1")


def test_viscosity_comes_from_attribute_name_or_argument(tmp_path):
    u = np.zeros((1, 3, 4))
    named = write_pdebench(tmp_path / "1D_Burgers_Sols_Nu0.001.hdf5", u, nu=None)
    bare = write_pdebench(tmp_path / "bare.hdf5", u, nu=None)
    both = write_pdebench(tmp_path / "x_Nu0.1.hdf5", u, nu=0.5)
    for path, nu, want in ((named, None, 0.001), (bare, 2.0, 2.0), (both, None, 0.5)):
        assert load_pdebench(path, nu=nu).cond[0, 0] == np.float32(want)
    assert load_pdebench(bare).params == ()
    with pytest.raises(ValueError, match="file has 0.001"):
        load_pdebench(named, nu=0.01)


U = np.zeros((4, 5, 8), np.float32)


@pytest.mark.parametrize(
    ("u", "written", "arguments", "message"),
    [
        (U, dict(leave_out=("tensor",)), {}, "no known layout; found t-coordinate, x-coord"),
        (U, dict(leave_out=("x-coordinate",)), {}, "no dataset 'x-coordinate'"),
        (U, dict(leave_out=("t-coordinate",)), {}, "no dataset 't-coordinate'"),
        (U[..., None, None], {}, {}, "one space axis"),
        (U, dict(x=np.arange(7.0)), {}, r"x-coordinate has shape \(7,\); expected \(8,\)"),
        (U, dict(x=np.arange(8.0)[::-1]), {}, "x-coordinate falls from 7 to 0; .* reverse"),
        (U, dict(t=np.arange(7.0)), {}, r"expected \(5,\) or \(6,\)"),
        (U, dict(t=np.arange(6.0) ** 2), {}, "t-coordinate is not evenly spaced"),
        (U, {}, dict(space_stride=3), "space_stride 3 does not divide 8 points; allowed: 1, 2, 4"),
        (U, {}, dict(time_stride=3), "time_stride 3 does not divide the 4 intervals of 5 frames"),
        (U, {}, dict(time_stride=0), "time_stride is 0"),
        (U, {}, dict(samples=(2, 5)), r"samples \(2, 5\) of 4"),
        (U, {}, dict(samples=slice(0, 9)), "of 4: expected"),
        (U, {}, dict(samples=range(3, 0, -1)), "rising"),
        (U, {}, dict(samples=(2, 2)), "non-empty"),
        (np.where(np.arange(4)[:, None, None] == 2, np.nan, U), {}, {}, "sample 2 holds NaN"),
        (np.where(np.arange(4)[:, None, None] > 0, np.inf, U), {}, {}, "sample 1 holds NaN or inf"),
    ],
)
def test_invalid_files_are_refused(tmp_path, u, written, arguments, message):
    path = write_pdebench(tmp_path / "a.h5", u, **written)
    with pytest.raises(ValueError, match=message):
        load_pdebench(path, **arguments)


def test_a_fault_outside_the_selected_samples_is_ignored(tmp_path):
    u = np.zeros((4, 5, 8))
    u[3] = np.nan
    path = write_pdebench(tmp_path / "a.h5", u)
    assert len(load_pdebench(path, samples=(0, 3))) == 3
    with pytest.raises(ValueError, match="sample 3"):
        load_pdebench(path, samples=range(1, 4, 2))


def test_missing_foreign_and_cut_files(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        load_pdebench(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("not HDF5")
    with pytest.raises(ValueError, match="no HDF5 file"):
        load_pdebench(tmp_path / "text.h5")
    path = write_pdebench(tmp_path / "a.h5", np.ones((64, 5, 64)))
    (tmp_path / "cut.h5").write_bytes(path.read_bytes()[:-20000])
    with pytest.raises(ValueError, match="cut short"):
        load_pdebench(tmp_path / "cut.h5")
    with pytest.raises(ValueError, match="unknown file type '.csv'"):
        load(tmp_path / "a.csv")


def test_large_files_are_hashed_at_both_ends(official, monkeypatch):
    path, _ = official
    whole = pdebench_module.file_hash(path)
    monkeypatch.setattr(pdebench_module, "FULL_HASH_BYTES", 100)
    monkeypatch.setattr(pdebench_module, "END_HASH_BYTES", 50)
    ends = pdebench_module.file_hash(path)
    assert ends.startswith("sha256(size+head+tail) ") and ends.split()[-1] != whole.split()[-1]


# --- npz and predictions


@pytest.mark.parametrize("shape", [(8,), (4, 6)])
def test_npz_round_trip(tmp_path, shape):
    data = random_trajectories(
        shape=shape, c=2, dt=0.05, extent=(2.0,) * len(shape), channels=("a", "b"), origin="mine"
    )
    save_npz(tmp_path / "a.npz", data)
    back = load_npz(tmp_path / "a.npz")
    assert content_hash(back) == content_hash(data)
    assert (back.dt, back.extent, back.channels) == (data.dt, data.extent, data.channels)
    assert back.origin.startswith("a.npz, sha256 ") and back.origin.endswith("(mine)")
    thin = load(tmp_path / "a.npz", space_stride=2, time_stride=3, samples=(1, 4))
    every = (slice(None, None, 2),) * len(shape)
    np.testing.assert_array_equal(thin.u, data.u[(slice(1, 4), slice(None, None, 3), *every)])
    assert thin.dt == pytest.approx(0.15) and len(thin.cond) == 3
    assert [f.name for f in tmp_path.iterdir()] == ["a.npz"]


def test_a_foreign_npz_file_needs_only_u(tmp_path):
    np.savez(tmp_path / "a.npz", u=np.ones((2, 3, 4, 1)))
    data = load(tmp_path / "a.npz", nu=0.5)
    assert data.u.dtype == np.float32 and data.dt == 1.0 and data.channels == ("u0",)
    np.testing.assert_array_equal(data.cond, np.full((2, 1), 0.5, np.float32))
    assert load_npz(tmp_path / "a.npz").cond.shape == (2, 0)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (dict(v=np.ones(3)), "no array 'u'.*arrays: v"),
        (dict(u=np.ones((2, 3, 4))), "add a channel axis"),
        (dict(u=np.ones((2, 3, 4, 1), int)), "u holds int64"),
        (dict(u=np.full((2, 3, 4, 1), np.nan)), "sample 0 holds NaN"),
        (dict(u=np.ones((0, 3, 4, 1))), "holds nothing"),
        (dict(u=np.ones((2, 3, 4, 1)), cond=np.ones(3)), r"expected \(2, p\)"),
        (dict(u=np.ones((2, 3, 4, 1)), dt=np.array(-1.0)), "dt is -1.0"),
        (dict(u=np.ones((2, 3, 4, 1)), dt=np.ones(3)), "expected one number"),
        (dict(u=np.ones((2, 3, 4, 1)), dt=np.inf), "dt is inf"),
        (dict(u=np.ones((2, 3, 4, 1)), extent=np.array(0.0)), "extent is 0.0"),
        (dict(u=np.ones((2, 3, 4, 1)), params=["a", "b"]), "do not name the columns"),
        (dict(u=np.ones((2, 3, 4, 1)) * [[[[1]]], [[[1e39]]]]), "sample 1 holds .* in float32"),
        (dict(u=np.ones((2, 3, 4, 1)), cond=[[1.0], [np.nan]]), r"cond of sample 1 is \[nan\]"),
        (dict(u=np.ones((2, 3, 4, 1)), cond=[[1e39], [1.0]]), "cond of sample 0"),
        (dict(u=np.ones((2, 3, 4, 1)), cond=np.ones((2, 1), complex)), "cond holds complex128"),
        (dict(u=np.array([None, "x"], object)), "pad the arrays by ups.padded"),
    ],
)
def test_an_invalid_npz_file_is_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message) as error:
        load_npz(tmp_path / "a.npz")
    assert "a.npz" in str(error.value)


def test_npz_missing_or_damaged(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        load_npz(tmp_path / "a.npz")
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(ValueError, match="not a readable npz"):
        load_npz(tmp_path / "a.npz")
    np.save(tmp_path / "b.npy", np.ones(3))
    (tmp_path / "b.npy").rename(tmp_path / "b.npz")
    with pytest.raises(ValueError, match="np.savez"):
        load_npz(tmp_path / "b.npz")
    with pytest.raises(ValueError, match="allowed: .npz"):
        save_npz(tmp_path / "a.txt", random_trajectories())


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".hdf5"])
def test_predictions_are_saved_with_the_truth(tmp_path, suffix):
    truth = random_trajectories(channels=("u",))
    predictions = {"operator": jnp.asarray(truth.u[:, 1:]), "mean": truth.u[:, 2:]}
    path = tmp_path / "new" / f"predictions{suffix}"
    save_predictions(path, predictions, truth)
    names = ("u", "cond", "predictions/operator", "predictions/mean")
    opened = np.load(path) if suffix == ".npz" else h5py.File(path)
    with opened as file:
        got = {name: np.asarray(file[name]) for name in names}
    np.testing.assert_array_equal(got["predictions/operator"], truth.u[:, 1:])
    np.testing.assert_array_equal(got["predictions/mean"], truth.u[:, 2:])
    np.testing.assert_array_equal(got["u"], truth.u)
    assert [f.name for f in path.parent.iterdir()] == [path.name]
    with pytest.raises(ValueError, match="prediction 'x' has shape"):
        save_predictions(path, {"x": truth.u[:2]}, truth)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    data = random_trajectories()
    save_npz(tmp_path / "a.npz", data)
    before = (tmp_path / "a.npz").read_bytes()

    def fail(file, **arrays):
        file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="no space"):
        save_npz(tmp_path / "a.npz", random_trajectories(seed=1))
    assert (tmp_path / "a.npz").read_bytes() == before
    assert [f.name for f in tmp_path.iterdir()] == ["a.npz"]


# --- splits


def test_split_is_recorded_disjoint_and_stable():
    parts = split(10_000, seed=0, train=4096, val=256, test=1000)
    assert {name: len(part) for name, part in parts.items()} == dict(train=4096, val=256, test=1000)
    np.testing.assert_array_equal(parts["test"], np.arange(1000))
    assert len(set(np.concatenate(list(parts.values())).tolist())) == 4096 + 256 + 1000
    again = split(10_000, seed=0, train=100, val=256, test=1000)
    np.testing.assert_array_equal(again["train"], parts["train"][:100])
    np.testing.assert_array_equal(again["val"], parts["val"])
    assert not np.array_equal(
        split(10_000, seed=1, train=100, val=256, test=1000)["val"], again["val"]
    )
    assert split(20, seed=0, train=16, val=2, test=2)["val"].tolist() == SPLIT_OF_20
    assert json.dumps(split(20, seed=0, train=3, val=2, test=9)["test"].tolist()) == json.dumps(
        list(range(9))
    )


SPLIT_OF_20 = [4, 12]


def test_a_small_file_is_tested_on_a_tenth():
    """The default of 1,000 test samples is more than the file has."""
    parts = split(40, seed=0, train=30, val=4, test=1000)
    assert parts["test"].tolist() == [0, 1, 2, 3] and len(parts["train"]) == 30


def test_a_shuffled_test_split_is_a_random_part_of_the_file():
    """A file sorted by a parameter would be tested at one end only."""
    sizes = dict(train=70, val=10, test=20, shuffle_test=True)
    parts = split(100, seed=0, **sizes)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(100))
    assert len(parts["test"]) == 20 and 30 < parts["test"].mean() < 70
    fewer = split(100, seed=0, **sizes | dict(train=5))
    np.testing.assert_array_equal(fewer["test"], parts["test"])
    np.testing.assert_array_equal(fewer["train"], parts["train"][:5])
    assert set(split(100, seed=1, **sizes)["test"]) != set(parts["test"])


def test_split_of_too_few_is_refused():
    with pytest.raises(ValueError, match="at most 100 together, such as 80, 10 and 10"):
        split(100, seed=0, train=70, val=11, test=20)
    with pytest.raises(ValueError, match="of a larger file"):
        split(2, seed=0, train=1, val=1, test=1)
    with pytest.raises(ValueError, match="at least one"):
        split(100, seed=0, train=10, val=0, test=10)


def test_shared_initial_conditions_are_refused_also_between_viscosities():
    train, test = random_trajectories(seed=0), random_trajectories(seed=1)
    check_disjoint({"train": train, "test": test})
    planted = np.array(test.u)
    planted[3, 0] = train.u[2, 0]
    leak = Trajectories(planted, np.full((5, 1), 4.0, np.float32))
    with pytest.raises(ValueError, match=r"train\[2\] and test\[3\].*1 such pairs.*initial"):
        check_disjoint({"train": train, "test": leak})
    twice = Trajectories(np.concatenate([train.u, train.u]), np.zeros((10, 1)))
    check_disjoint({"train": twice, "test": test})


def test_hashes_depend_on_content_only():
    data = random_trajectories()
    assert initial_hashes(jnp.asarray(data.u)) == initial_hashes(data.u)
    assert initial_hashes(-0.0 * np.ones((1, 1, 4, 1))) == initial_hashes(np.zeros((1, 2, 4, 1)))
    assert content_hash(data) == content_hash(dataclasses.replace(data, u=jnp.asarray(data.u)))
    assert content_hash(data) == content_hash(dataclasses.replace(data, origin="elsewhere"))
    changed = np.array(data.u)
    changed[4, 3, 7, 0] = np.nextafter(changed[4, 3, 7, 0], np.float32(9))
    others = (dict(u=changed), dict(dt=2.0), dict(cond=data.cond * 2), dict(channels=("v",)))
    assert len({content_hash(dataclasses.replace(data, **o)) for o in ({}, *others)}) == 5


# --- scales and windows


def test_normalizer_statistics_of_a_small_array():
    """Two samples, two frames, two points: channel 0 is 1..8, channel 1 is constant."""
    u = np.stack([np.arange(1, 9), np.full(8, 0.1)], -1).reshape(2, 2, 2, 2).astype(np.float32)
    data = Trajectories(u, np.array([[1e-3], [1e-1]], np.float32))
    stats = fit_normalizer(data, jnp.log10)
    np.testing.assert_allclose(stats["mean"], [4.5, 0.1], rtol=1e-6)
    np.testing.assert_allclose(stats["std"], [np.sqrt(5.25), 1.0], rtol=1e-6)
    np.testing.assert_allclose(stats["increment_std"], [1.0, 1.0])
    np.testing.assert_allclose(stats["cond_mean"], [-2.0], rtol=1e-6)
    np.testing.assert_allclose(stats["cond_std"], [1.0], rtol=1e-6)
    np.testing.assert_allclose(condition(stats, jnp.log10(data.cond))[:, 0], [-1, 1], rtol=1e-5)
    np.testing.assert_allclose(normalize(stats, u)[0, 0, 0], [-3.5 / np.sqrt(5.25), 0], atol=1e-6)
    assert all(value.dtype == np.float32 for value in stats.values())


def test_normalizer_equals_plain_statistics_over_blocks():
    data = random_trajectories(n=600, shape=(4, 4), c=2, cond=np.full((600, 1), 1e-3, np.float32))
    shifted = dataclasses.replace(data, u=data.u * np.float32(0.01) + np.float32(100))
    stats = fit_normalizer(shifted, jnp.log10)
    u = shifted.u.astype(np.float64)
    np.testing.assert_allclose(stats["mean"], u.mean((0, 1, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(stats["std"], u.std((0, 1, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(
        stats["increment_std"], np.diff(u, axis=1).std((0, 1, 2, 3)), rtol=1e-6
    )
    assert stats["cond_std"].tolist() == [1.0]
    normal = normalize(stats, jnp.asarray(shifted.u))
    assert abs(float(normal.mean())) < 1e-2 and abs(float(normal.std()) - 1) < 1e-2
    plain = fit_normalizer(Trajectories(data.u), lambda cond: cond)
    assert set(plain) == {"mean", "std", "increment_std"}


@pytest.mark.parametrize("shape", [(6,), (3, 4)])
def test_windows_are_contiguous_and_reach_both_ends(shape):
    n, t, length = 3, 5, 3
    label = np.arange(n)[:, None] * 100 + np.arange(t)
    grid = np.arange(np.prod(shape)).reshape(shape) / 1000
    u = (label.reshape(n, t, *(1,) * len(shape)) + grid).astype(np.float32)[..., None]
    cond = np.arange(n, dtype=np.float32)[:, None]

    data = jnp.asarray(u), jnp.asarray(cond)

    @jax.jit
    def draw(key):
        def body(key, _):
            key, now = jax.random.split(key)
            return key, sample_windows(now, *data, batch=8, length=length)

        return jax.lax.scan(body, key, None, length=20)[1]

    windows, drawn = jax.device_get(draw(jax.random.key(0)))
    assert windows.shape == (20, 8, length, *shape, 1) and drawn.shape == (20, 8, 1)
    drawn_starts = set()
    for window, c in zip(windows.reshape(160, length, *shape, 1), drawn.reshape(160), strict=True):
        i, start = divmod(round(float(window.reshape(-1)[0])), 100)
        np.testing.assert_array_equal(window, u[i, start : start + length])
        assert float(c) == i
        drawn_starts.add((i, start))
    assert drawn_starts == {(i, s) for i in range(n) for s in range(t - length + 1)}


def test_windows_longer_than_the_trajectories_are_refused():
    u = jnp.zeros((2, 3, 4, 1))
    assert sample_windows(jax.random.key(0), u, u[:, 0, 0], batch=2, length=3)[0].shape[1] == 3
    with pytest.raises(ValueError, match="windows of 4 frames from trajectories of 3"):
        sample_windows(jax.random.key(0), u, u[:, 0, 0], batch=2, length=4)


def test_early_windows_start_as_a_power_of_a_uniform_number():
    u = jnp.arange(10.0).reshape(1, 10, 1, 1)
    cond = jnp.zeros((1, 0))
    for start_bias in (1.0, 2.0):
        windows, _ = sample_windows(
            jax.random.key(0), u, cond, batch=20_000, length=2, start_bias=start_bias
        )
        start = np.asarray(windows[:, 0, 0, 0])
        assert start.min() == 0 and start.max() == 8
        assert np.mean(start < 1) == pytest.approx((1 / 9) ** (1 / start_bias), abs=0.02)
