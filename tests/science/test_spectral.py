"""Exact linear steps: against solutions in closed form, and as the base step of an emulator."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ups_jax as ups
from runs import ROOT
from ups_jax.emulator import Emulator, fit_statistics, init, step
from ups_jax.flops import flops, step_flops
from ups_jax.jobs import commands
from ups_jax.pde import PDES
from ups_jax.pde.advection import exact
from ups_jax.pde.spectral import derivative_symbol, linear_step, wave_vectors

ORDERS = {"advection": 1, "diffusion": 2, "dispersion": 3, "hyperdiffusion": 4}
GRIDS = {1: ((64,), (2.0,)), 2: ((24, 20), (2.0, 3.0))}


def waves(points, extent, coefficients, time, seed=0):
    """Sum of plane waves at `time` under sum_j a_j d^j/dx^j: (b, *s, 1) and a (b, 5) in float64.

    Each wave has the rate sum_j a_j ((i k_x)^j + (i k_y)^j), evaluated wave by wave.
    """
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(
        *[np.arange(n) * length / n for n, length in zip(points, extent, strict=True)],
        indexing="ij",
    )
    u = np.zeros((len(coefficients), *points))
    for _ in range(4):
        m = rng.integers(-4, 5, len(points))
        k = 2 * np.pi * m / np.asarray(extent)
        amplitude, phase = rng.uniform(0.2, 1.0), rng.uniform(0, 2 * np.pi)
        angle = sum(a * b for a, b in zip(axes, k, strict=True)) + phase
        for i, a in enumerate(coefficients):
            rate = sum(a[j] * np.sum((1j * k) ** j) for j in range(5))
            u[i] += np.real(amplitude * np.exp(1j * angle + rate * time))
    return u[..., None]


def coefficients_of(term):
    """Per-sample coefficients (3, 5) of one term, or of all: a wave changes by order one."""
    size = np.array([[0.1, 0.5, 1e-2, 1e-3, -5e-5]]) * np.array([[1.0], [0.3], [-0.5]])
    size[:, [2, 4]] = np.abs(size[:, [2, 4]]) * [1, -1]
    return size if term == "all" else size * (np.arange(5) == ORDERS[term])


@pytest.mark.parametrize("ndim", [1, 2])
@pytest.mark.parametrize("term", [*ORDERS, "all"])
@pytest.mark.parametrize(("dtype", "x64"), [("f4", False), ("f4", True), ("f8", True)])
def test_the_linear_step_is_the_exact_solution(term, ndim, dtype, x64):
    points, extent = GRIDS[ndim]
    a = coefficients_of(term)
    start, end = (waves(points, extent, a, time) for time in (0.0, 0.7))
    with jax.enable_x64(x64):
        advance = jax.jit(linear_step(derivative_symbol, dt=0.7, extent=extent))
        got = np.asarray(advance(start.astype(dtype), a.astype(dtype)))
    assert got.dtype == dtype
    np.testing.assert_allclose(got, end, atol=2e-6 if dtype == "f4" else 1e-13)
    assert np.abs(end - start).max() > 0.1


@pytest.mark.parametrize("ndim", [1, 2])
def test_two_half_steps_are_one(ndim):
    points, extent = GRIDS[ndim]
    a = coefficients_of("all").astype(np.float32)
    u = waves(points, extent, a, 0.0).astype(np.float32)
    half, full = (jax.jit(linear_step(derivative_symbol, dt=t, extent=extent)) for t in (0.35, 0.7))
    np.testing.assert_allclose(half(half(u, a), a), full(u, a), atol=2e-6)


def test_the_linear_step_has_free_leading_axes_and_conserves_the_mean():
    points, extent = GRIDS[2]
    a = coefficients_of("all").astype(np.float32)
    a[:, 0] = 0
    u = waves(points, extent, a, 0.0).astype(np.float32)
    advance = jax.jit(linear_step(derivative_symbol, dt=0.7, extent=extent))
    whole = np.asarray(advance(u, a))
    np.testing.assert_allclose(advance(u[None, :2], a[None, :2])[0], whole[:2], atol=1e-6)
    np.testing.assert_allclose(advance(u[2], a[2]), whole[2], atol=1e-6)
    drift = (whole.astype(float) - u).mean((1, 2))
    assert np.abs(drift).max() < 1e-8


def test_symbols_by_hand():
    k = wave_vectors((6, 4), (2 * np.pi, np.pi), jnp.dtype(np.float32))
    assert k.shape == (6, 3, 2)
    np.testing.assert_allclose(k[:, 0, 0], [0, 1, 2, -3, -2, -1], atol=1e-6)
    np.testing.assert_allclose(k[0, :, 1], [0, 2, 4], atol=1e-6)
    got = jax.jit(derivative_symbol)(k, (7.0, 2.0, 3.0, 5.0, 11.0))[1, 1, 0]
    assert complex(got) == 14 + 2j * 3 - 3 * 5 - 5j * 9 + 11 * 17


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("advection", dict(points=64, cells=64)),
        ("advection", dict(points=(12, 16), cells=(12, 16), velocity=(-1.5, 1.5))),
        ("burgers", dict(points=64, cells=64, nu=(0.01, 0.1, 1.0))),
        ("kuramoto", dict(points=64, cells=64)),
        ("apebench", {}),
    ],
    ids=["line", "plane", "burgers", "kuramoto", "apebench"],
)
def test_small_fields_follow_the_linear_part(name, sizes):
    """Of a tiny field, where products vanish, the solver and the linear base agree."""
    pde = PDES[name](**sizes)
    keys = jax.random.split(jax.random.key(0), 3)
    cond = jax.jit(jax.vmap(pde.sample_cond))(keys)
    u = waves(pde.points, pde.extent, np.zeros((3, 5)), 0.0).astype(np.float32)
    base = ups.base_step(pde, "linear")
    if name == "advection":
        want = jax.jit(partial(exact, time=pde.dt, length=1.0))(u, cond)
        atol = 2e-6
    else:
        want = jax.jit(pde.step)(1e-4 * u, cond) / 1e-4
        # The finite volumes of Burgers have a three-point Laplacian.
        atol = 2e-2 if name == "burgers" else 2e-3
    np.testing.assert_allclose(jax.jit(base)(u, cond), want, atol=atol)
    assert np.abs(want - u).max() > 0.01


def emulator_of(pde, **options):
    make = partial(ups.OPERATORS["resnet"], width=4, blocks=1, dilations=(1,))
    return Emulator(pde, make, base="linear", **options)


@pytest.fixture(scope="module")
def task():
    """Burgers at two viscosities, and four trajectories."""
    pde = PDES["burgers"](points=32, cells=32, nu=(0.01, 0.5))
    return pde, ups.simulate(pde, jax.random.key(0), n=4, steps=3, cache=False)


@pytest.mark.parametrize("options", [{}, {"zero_mean": True, "galilean": True}], ids=str)
def test_an_operator_corrects_the_linear_part(task, options):
    pde, data = task
    emulator = emulator_of(pde, **options)
    stats = fit_statistics(emulator, data)
    params = init(emulator, jax.random.key(1), stats)
    u, cond = jnp.asarray(data.u[:, 0]), jnp.asarray(data.cond)
    advance = jax.jit(partial(step, emulator))
    moved = advance(params, u, cond)
    frame = pde.galilean_frame(u) if options.get("galilean") else None
    start = emulator.base(frame.u if frame else u, cond)
    start = frame.from_frame(start) if frame else start
    np.testing.assert_allclose(moved, start, atol=1e-2)
    error = np.asarray(data.u[:, 1:]) - np.asarray(data.u[:, :-1])
    assert 0 < stats["increment_std"] < error.std()
    if options.get("zero_mean"):
        shaken = params | {"operator": jax.tree.map(lambda x: x + 0.1, params["operator"])}
        drift = jnp.mean(advance(shaken, u, cond) - u, (1, 2))
        assert float(jnp.abs(drift).max()) < 1e-6


def test_a_base_step_is_in_the_flops_and_in_the_table(task):
    pde, data = task
    emulator = emulator_of(pde)
    plain = replace(emulator, base=lambda u, cond: u)
    assert step_flops(emulator) - step_flops(plain) > 2 * 2.5 * 32 * 5
    params = init(emulator, jax.random.key(1))
    modes = ("persistence", "operator")
    report = ups.evaluate(emulator, params, data, forecasters=modes, horizons=(0.05,))
    for table, note in (
        (report, "learned; knows the equation"),
        (replace(report, knows_equation=False), "learned"),
    ):
        notes = {row[0]: row[-1] for row in table.rows}
        assert notes == {"persistence": "the given frame", "operator": note}


def test_a_transform_has_its_flops():
    x = jnp.ones((3, 64))
    assert flops(jnp.fft.fft, x) == pytest.approx(3 * 5 * 64 * 6, rel=0.1)
    assert flops(jnp.fft.rfft, x) == 3 * 2.5 * 64 * 6
    assert flops(partial(jnp.fft.rfftn, axes=(0, 1)), jnp.ones((8, 16))) == 2.5 * 128 * 7


def test_an_equation_without_a_linear_part_is_refused(tmp_path, capsys):
    argv = ["--config", f"{ROOT}/configs/shallow_water.py:smoke", "--config.operator.base=linear"]
    assert commands.main([*argv, "--workdir", str(tmp_path / "run")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) <= 2 and "pde 'shallow_water' has no linear_symbol" in lines[0]
    assert not (tmp_path / "run").exists()
    pde = replace(PDES["advection"](points=64, cells=64), linear_symbol=None)
    with pytest.raises(ValueError, match="pde 'advection' has no linear_symbol; use 'identity'"):
        emulator_of(pde)
    with pytest.raises(ValueError, match="did you mean 'linear'"):
        ups.base_step(pde, "linaer")
