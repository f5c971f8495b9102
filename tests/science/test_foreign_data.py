"""Data from outside: damaged files, files of another task, and numbers that no PDE allows."""

import dataclasses
import io
import re
import subprocess
import sys
import zipfile

import h5py
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import ups_jax as ups
from fixtures import write_pdebench
from ups_jax.arrays import check_field
from ups_jax.data import (
    check_task,
    describe_differences,
    load,
    load_npz,
    load_pdebench,
    parameter_differences,
    save_npz,
)
from ups_jax.data.checks import SolverOutput, check_solver_output
from ups_jax.experiment.build import build_pde
from ups_jax.experiment.datasets import load_splits
from ups_jax.pde.base import MAX_SUBSTEPS, Law, transport_laws
from ups_jax.types import Trajectories

RNG = np.random.default_rng(0)
U = RNG.normal(size=(4, 5, 8)).astype(np.float32)
FIELDS = U[..., None]
BURGERS = ups.PDES["burgers"](nu=(1e-3, 1e-2), points=8, cells=32, dt=0.1)


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def header(shape):
    text = str(dict(descr="<f4", fortran_order=False, shape=shape)).ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def flip(content):
    content[60:200] = bytes(byte ^ 0x5A for byte in content[60:200])


def encrypt(content):
    content[6] |= 1
    content[content.find(b"PK\x01\x02") + 8] |= 1


# --- damaged files: one line that names the file


@pytest.mark.parametrize(
    ("member", "content", "compression", "damage", "message"),
    [
        ("u.npy", npy(FIELDS), zipfile.ZIP_DEFLATED, flip, "decompressing"),
        ("u.npy", npy(FIELDS), zipfile.ZIP_LZMA, flip, "Corrupt"),
        ("u.npy", npy(FIELDS), zipfile.ZIP_BZIP2, flip, "Invalid data"),
        ("u.npy", npy(FIELDS), zipfile.ZIP_STORED, encrypt, "encrypted"),
        ("u.npy", b"some text", zipfile.ZIP_STORED, None, "member 'u' is no array"),
        ("u", b"some text", zipfile.ZIP_STORED, None, "member 'u' is no array"),
        ("u.npy", header((2**31, 2**10, 2**10, 1)), zipfile.ZIP_STORED, None, "Unable to allocate"),
        ("u.npy", header((2**62, 2, 2, 1)), zipfile.ZIP_STORED, None, "reshape"),
    ],
)
def test_a_damaged_npz_file_is_refused_in_one_line(
    tmp_path, member, content, compression, damage, message
):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr(member, content)
    if damage:
        raw = bytearray(path.read_bytes())
        damage(raw)
        path.write_bytes(raw)
    with pytest.raises(ValueError, match=message) as error:
        load_npz(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["npz", "compressed", "h5"])
def test_no_damage_of_a_file_ends_in_another_error(tmp_path, kind):
    path = tmp_path / ("a_Nu0.1.h5" if kind == "h5" else "a.npz")
    if kind == "h5":
        write_pdebench(path, U)
    else:
        save = np.savez if kind == "npz" else np.savez_compressed
        save(path, u=FIELDS, cond=np.ones((4, 1)), dt=0.1, extent=1.0, channels=["u"])
    whole, rng = path.read_bytes(), np.random.default_rng(1)
    refused = 0
    for _ in range(120):
        content = bytearray(whole)
        content[rng.integers(1, len(content)) :] = b"" if rng.random() < 0.1 else content[-1:]
        content = content if len(content) < len(whole) // 2 else bytearray(whole)
        for _ in range(rng.choice([1, 8, 40])):
            content[rng.integers(len(content))] = rng.choice([0, 255, rng.integers(256)])
        path.write_bytes(content)
        try:
            load(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: ") and len(str(error)) < len(str(path)) + 320
            refused += 1
    assert refused > 30


def replace_tensor(make):
    def change(file):
        del file["tensor"]
        made = make(file)
        if made is not None:
            file["tensor"] = made

    return change


def soft_loop(file):
    file["other"] = h5py.SoftLink("/tensor")
    return h5py.SoftLink("/other")


def virtual(file):
    layout = h5py.VirtualLayout(shape=U.shape, dtype="f4")
    layout[:] = h5py.VirtualSource("other.h5", "tensor", shape=U.shape)
    file.create_virtual_dataset("tensor", layout)


def external(file):
    file.create_dataset("tensor", U.shape, "f4", external=[("/etc/passwd", 0, U.nbytes)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replace_tensor(soft_loop), "only data stored in the file itself"),
        (replace_tensor(external), "only data stored in the file itself"),
        (replace_tensor(virtual), "only data stored in the file itself"),
        (
            replace_tensor(lambda file: h5py.ExternalLink("other.h5", "/tensor")),
            "only data stored in the file itself",
        ),
        (replace_tensor(lambda file: U[:0]), r"tensor holds \(0, 5, 8\)"),
        (replace_tensor(lambda file: U.astype("f8") * 1e300), "sample 0 holds .* in float32"),
        (replace_tensor(lambda file: U[:, :1]), "t-coordinate has shape"),
        (lambda file: file.attrs.update(Nu=1e300), "Nu is 1e[+]300"),
    ],
)
def test_an_hdf5_file_of_another_place_or_equation_is_refused(tmp_path, change, message):
    write_pdebench(tmp_path / "other.h5", U)
    path = write_pdebench(tmp_path / "a.h5", U)
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(ValueError, match=message) as error:
        load(path)
    assert str(error.value).startswith(f"{path}: ")


def test_parameters_are_attributes_or_in_the_file_name(tmp_path):
    for name, params in (
        ("ReacDiff_Nu0.5_Rho1.0.hdf5", {"nu": 0.5, "rho": 1.0}),
        ("1D_Advection_Sols_beta0.4.hdf5", {"beta": 0.4}),
        ("bare.h5", {}),
    ):
        data = load_pdebench(write_pdebench(tmp_path / name, U, nu=None))
        assert data.params == tuple(params)
        np.testing.assert_array_equal(data.cond, np.float32([list(params.values())] * 4))
        with pytest.raises(ValueError, match="parameters .*, not nu"):
            check_task(data, BURGERS)


def test_a_file_that_a_writer_holds_open_is_named_as_such(tmp_path):
    path = write_pdebench(tmp_path / "a.h5", U)
    code = f"import h5py; f = h5py.File({str(path)!r}, 'a'); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(ValueError, match="close the program that writes to it"):
            load(path)
        writer.communicate(b"\n")


def test_the_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_pdebench(tmp_path / "a.h5", U)
    save_npz("~/a.npz", Trajectories(FIELDS))
    assert len(load("~/a.npz")) == len(load("~/a.h5")) == len(load_pdebench("~/a.h5")) == 4


# --- arrays


def test_half_precision_becomes_float32_and_other_types_are_refused():
    for dtype in (np.float16, ml_dtypes.bfloat16):
        data = Trajectories(FIELDS.astype(dtype), np.ones((4, 1), dtype), dt=np.array([0.5]))
        assert data.u.dtype == data.cond.dtype == np.float32 and data.dt == 0.5
        with pytest.raises(ValueError, match=r"expected float32: u.astype"):
            check_field(FIELDS.astype(dtype), ndim=1, channels=1)
    assert Trajectories(jnp.asarray(FIELDS, jnp.bfloat16)).u.dtype == np.float32
    assert Trajectories(FIELDS, np.ones((4, 1), int)).cond.dtype == np.float32
    for bad in (FIELDS.astype(int), FIELDS.astype(complex), FIELDS.astype(object)):
        with pytest.raises(ValueError, match="u holds"):
            Trajectories(bad)
    with pytest.raises(ValueError, match="holds nothing"):
        Trajectories(FIELDS[:0])
    with pytest.raises(ValueError, match="holds nothing"):
        check_field(FIELDS[:0, 0], ndim=1, channels=1)


# --- the task of the data is that of the emulator


@pytest.fixture(scope="module")
def emulator():
    return ups.Emulator(BURGERS, ups.OPERATORS["resnet"], width=4, blocks=1, patch=2)


def burgers_data(**replaced):
    given = dict(u=FIELDS, cond=np.full((4, 1), 1e-3, np.float32), dt=0.1)
    return Trajectories(**given | replaced)


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        (dict(dt=0.2), "do not fit pde 'burgers': dt 0.2, not 0.1; use pde.dt=0.2"),
        (dict(dt=0.2, extent=(2.0,)), "dt 0.2, not 0.1; extent 2, not 1; use .*pde.length="),
        (dict(cond=None), "parameters 0 unnamed, not nu"),
        (dict(params=("vx",)), "parameters vx, not nu"),
        (dict(pde="heat"), "equation heat, not burgers; use another pde"),
        (dict(u=FIELDS.repeat(2, -1)), "channels 2, not 1"),
        (dict(boundary=("wall",)), "boundary wall, not periodic"),
        (dict(u=FIELDS[:, :1]), "one frame"),
        (dict(cond=np.float32([[1], [1], [0], [1]])), "sample 2 has nu=0, .* not defined"),
        (dict(cond=np.float32([[1], [1], [1], [-1]])), "sample 3 has nu=-1, .* not defined"),
    ],
)
def test_data_of_another_task_are_refused_wherever_they_meet_an_emulator(
    emulator, replaced, message
):
    data, key, params = burgers_data(**replaced), jax.random.key(0), {"operator": {}}
    with pytest.raises(ValueError, match=message):
        check_task(data, BURGERS)
    with pytest.raises(ValueError, match=message):
        ups.train(emulator, data, burgers_data(), key=key, progress=False)
    with pytest.raises(ValueError, match=message):
        ups.train(emulator, burgers_data(), data, key=key, params=params, progress=False)
    with pytest.raises(ValueError, match=message):
        ups.evaluate(emulator, params, data)


def test_parameters_of_a_file_are_those_that_the_pde_draws():
    fits = burgers_data(cond=np.float32([[1e-3], [1e-2], [1e-3], [1e-3]]))
    assert not parameter_differences(fits, BURGERS)
    other = burgers_data(cond=np.float32([[1e-3], [1e-3], [2e-3], [1e-2]]))
    check_task(other, BURGERS)
    (found,) = parameter_differences(other, BURGERS)
    assert describe_differences([found]) == "nu of sample 2 0.002, not 0.001, 0.01"
    assert found.keys == {"nu": (0.001, 0.002, 0.01)}
    advection = ups.PDES["advection"](points=8, cells=32, velocity=(0.5, 1.5))
    fits = burgers_data(cond=np.float32([[0.5], [1.5], [1], [1]]))
    assert not parameter_differences(fits, advection)
    beyond = burgers_data(cond=np.float32([[0.5], [1.6], [1], [1]]))
    (found,) = parameter_differences(beyond, advection)
    assert describe_differences([found]) == "vx of sample 1 1.6, not 0.501 to 1.5"


@pytest.mark.parametrize(
    ("name", "saved", "overrides", "message"),
    [
        ("x_Nu0.01.h5", None, {}, "nu of sample 0 0.01, .*: --config.pde.nu=0.01"),
        ("x_Nu0.001.h5", None, {"pde.dt": 0.05}, ": --config.pde.dt=0.1"),
        ("a.npz", dict(params=("nu",), pde="heat"), {}, "without an equation"),
        ("a.npz", dict(cond=np.full((40, 1), -1.0)), {}, "nu of sample 0 -1, not 0.001"),
        ("a.npz", dict(cond=None), {}, "parameters 0 unnamed"),
        ("a.npz", dict(cond=None), {"data.nu": 0.01}, "nu of sample 0 0.01, not 0.001"),
        ("a.npz", {}, {"pde.points": 16}, ": --config.pde.points=8"),
        ("a.npz", {}, {"data.test": 36}, ": --config.data.train=32 .*val=4 .*test=4"),
        (
            "a.npz",
            {},
            {"pde.points": 16, "pde.dt": 0.2, "data.steps": 9, "eval.horizons": 1},
            r"dt 0.1, not 0.2; points 8, not 16; data.steps 5, not 9; eval.horizons 0.1,0.2,0.5, "
            r"not 1.0\s.*: --config.pde.dt=0.1 --config.pde.points=8 --config.data.steps=5 --con",
        ),
        ("a.npz", {}, {}, None),
        ("a.NPZ", {}, {"data.space_stride": "none", "data.time_stride": "none"}, None),
        ("x_Nu0.001.h5", None, {}, None),
    ],
)
def test_a_run_takes_files_of_its_own_task_only(tmp_path, name, saved, overrides, message):
    path, u = tmp_path / name, RNG.normal(size=(40, 6, 8, 1)).astype(np.float32)
    if saved is None:
        write_pdebench(path, u[..., 0], nu=None, dt=0.1)
    else:
        given = dict(u=u, cond=np.full((40, 1), 1e-3, np.float32), dt=0.1)
        save_npz(path, Trajectories(**given | saved))
    base = {"pde.points": 8, "pde.dt": 0.1, "data.steps": 5, "data.path": str(path)}
    base |= {"data.space_stride": 1, "data.time_stride": 1, "operator.patch": 2}
    base |= {"data.train": 30, "data.val": 5, "data.test": 5, "eval.horizons": 0.1}
    base |= {"fit.operator.unroll": 1, "fit.operator.phase_fractions": 1, "data.cells": 32}
    base |= {"fit.ensemble.unroll": 1, "fit.ensemble.phase_fractions": 1, "eval.context_frames": 2}
    base |= {"fit.ensemble.batch": 8, "fit.operator.batch": 8, "eval.protocol": "p1"}
    options = {k: str(v) for k, v in (base | overrides).items()}
    if message:
        with pytest.raises(ValueError, match=re.compile(message, re.DOTALL)) as error:
            ups.load_config("burgers:smoke", options)
        assert str(error.value).startswith(f"{path}: ")
        assert len(str(error.value).splitlines()) == 2
        return
    cfg = ups.load_config("burgers:smoke", options)
    splits = load_splits(cfg, build_pde(cfg))
    ids = splits.record["ids"]
    assert [len(part) for part in splits[:3]] == [30, 5, 5] and len(ids["test"]) == 5
    assert (ids["test"] == list(range(5))) == (path.suffix == ".h5")
    np.testing.assert_array_equal(splits.test.u, u[ids["test"]])


def test_a_file_of_simulated_data_names_its_equation(tmp_path):
    kept = dataclasses.replace(burgers_data(), params=("nu",), pde="burgers")
    save_npz(tmp_path / "a.npz", kept)
    back = load(tmp_path / "a.npz").take(slice(2))
    assert (back.params, back.pde, len(back)) == (("nu",), "burgers", 2)


# --- factories of PDEs


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("burgers", dict(length=0), "pde.length is 0"),
        ("burgers", dict(length=float("nan")), "pde.length is nan"),
        ("burgers", dict(dt=1e10), f"expected at most {MAX_SUBSTEPS:,}"),
        ("burgers", dict(dt=-0.1), "pde.dt is -0.1"),
        ("burgers", dict(nu=1e300), "pde.nu is 1e[+]300"),
        ("burgers", dict(nu=1e-300), "pde.nu is 1e-300"),
        ("burgers", dict(nu=()), "pde.nu is"),
        ("burgers", dict(points=16.5), "pde.points is 16.5"),
        ("burgers", dict(points=float("inf")), "pde.points is inf"),
        ("advection", dict(length=float("inf")), "pde.length is inf"),
        ("advection", dict(dt=1e10), "substeps"),
        ("advection", dict(velocity=(2.0, 1.0)), "pde.velocity"),
        ("advection", dict(velocity=(0.0, float("nan"))), "pde.velocity"),
        ("advection", dict(modes=0), "pde.modes is 0"),
        ("kuramoto", dict(dt=1e10), "substeps"),
        ("kuramoto", dict(dt=0), "pde.dt is 0"),
        ("kuramoto", dict(length=0), "pde.length is 0"),
        ("kuramoto", dict(length=float("inf")), "pde.length is inf"),
    ],
)
def test_a_pde_of_impossible_numbers_is_refused(name, arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        ups.PDES[name](**arguments)
    assert len(str(error.value).splitlines()) == 1
    with pytest.raises(ValueError, match="pde.dt is nan"):
        dataclasses.replace(BURGERS, dt=float("nan"))


@pytest.mark.parametrize(
    "sizes", [dict(n=1e14, steps=4), dict(n=1, steps=10**15), dict(n=float("inf"), steps=1)]
)
def test_trajectories_beyond_memory_are_refused(sizes):
    with pytest.raises(ValueError, match=re.escape(f"n is {sizes['n']:.0f}")):
        ups.simulate(BURGERS, jax.random.key(0), cache=False, **sizes)


# --- laws of a solver's output


def output(values, u, scales=1.0, dtype=np.float32):
    values = np.asarray(values, dtype)
    return SolverOutput(u, {"law": values}, {"law": np.full(len(values), scales, dtype)})


def with_law(**kw):
    law = Law(lambda u: u.mean((-2, -1)), "conserved", "gap", lambda u: np.abs(u).max((-2, -1)))
    return dataclasses.replace(BURGERS, laws={"law": law._replace(**kw)})


def test_an_exact_wave_solver_passes_and_a_leaky_one_does_not():
    """u_tt = u_xx from rest, each mode turned exactly, in float32; its energy keeps 1 to 3 eps."""
    n, steps, dt = 64, 400, 0.31
    k = 2 * np.pi * np.fft.rfftfreq(n, 1 / n)[None, :, None]

    def solve(damping):
        cos, sin = (damping * np.float32(f(k * dt)) for f in (np.cos, np.sin))
        turned = np.float32(sin / np.where(k, k, 1))

        def step(w, _):
            u, v = (jnp.fft.rfft(w[..., i : i + 1], axis=-2) for i in (0, 1))
            parts = cos * u + turned * v, -np.float32(k) * sin * u + cos * v
            w = jnp.concatenate([jnp.fft.irfft(part, n, axis=-2) for part in parts], -1)
            return w, w

        x = np.arange(n) / n
        modes = np.sin(2 * np.pi * (np.arange(1, 5)[:, None] * x + RNG.uniform(size=(8, 4, 1))))
        u = (100 * RNG.normal(size=(8, 4, 1)) * modes).sum(1)
        start = jnp.asarray(np.stack([u, 0 * u], -1), jnp.float32)
        frames = jax.lax.scan(step, start, None, length=steps)[1]
        return np.asarray(jnp.concatenate([start[None], frames])).swapaxes(0, 1)

    def energy(w):
        wave = jnp.asarray(1j * k, jnp.complex64).reshape((1,) * (w.ndim - 2) + (-1, 1))
        slope = jnp.fft.irfft(wave * jnp.fft.rfft(w[..., :1], axis=-2), n, axis=-2)
        return jnp.mean(slope[..., 0] ** 2 + w[..., 1] ** 2, -1)

    def momentum(w):
        return jnp.mean(w[..., 1], -1)

    laws = {
        "energy": Law(energy, "conserved", "drift", energy),
        "momentum": Law(momentum, "conserved", "drift", lambda w: jnp.abs(w[..., 1]).max(-1)),
    }
    pde = dataclasses.replace(BURGERS, channels=("u", "v"), laws=laws)

    def check(frames):
        values = {name: np.asarray(law.value(frames)) for name, law in laws.items()}
        scales = {name: np.asarray(law.scale(frames[:, 0])) for name, law in laws.items()}
        return check_solver_output(pde, SolverOutput(frames, values, scales), np.arange(8))

    frames = solve(1.0)
    assert np.abs(frames[:, 0, :, 1]).max() == 0 and check(frames)[:, 0].max() > 1e-6
    with pytest.raises(ValueError, match="'energy' .conserved. by"):
        check(solve(1 - 1e-6))


def test_the_tolerance_of_a_law_follows_steps_float_type_and_the_law():
    u = np.ones((1, 101, 8, 1), np.float32)
    drift = 1 + 2e-7 * np.arange(101)[None]
    check_solver_output(with_law(), output(drift, u), np.arange(1))
    for pde, dtype in ((with_law(), np.float64), (with_law(tolerance=1e-6), np.float32)):
        with pytest.raises(ValueError, match="Law.tolerance"):
            check_solver_output(pde, output(drift, u, dtype=dtype), np.arange(1))
    check_solver_output(with_law(tolerance=0.1), output(1 + 1000 * (drift - 1), u), np.arange(1))
    assert transport_laws(1)["mass"].tolerance is None and BURGERS.laws["mass"].tolerance == 1e-6
