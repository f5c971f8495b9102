"""Static problems: Darcy's solver, pairs from arrays and files, their baseline and their run."""

from functools import partial

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse import diags, kron
from scipy.sparse.linalg import spsolve

import ups_jax as ups
from ups_jax.config import load_adapted
from ups_jax.emulator import fit_statistics, identity_stats
from ups_jax.experiment.build import build
from ups_jax.experiment.datasets import load_splits
from ups_jax.pde import darcy


@partial(jax.jit, static_argnums=1)
def random_field(key, points):
    return darcy.random_field(key, points, tau=3, alpha=2)


def direct(a):
    """Solve the same five-point scheme with force 1 by a sparse direct method in float64."""
    nx, ny = a.shape
    total = 0
    for axis, n in enumerate(a.shape):
        b = np.moveaxis(a.astype(np.float64), axis, 0)
        faces = np.concatenate([2 * b[:1], 2 * b[:-1] * b[1:] / (b[:-1] + b[1:]), 2 * b[-1:]])
        faces = np.moveaxis(faces, 0, axis) * n**2
        difference = diags([np.ones(n), -np.ones(n)], [0, -1], shape=(n + 1, n))
        eye = diags(np.ones(a.shape[1 - axis]))
        d = kron(difference, eye) if axis == 0 else kron(eye, difference)
        total = total + d.T @ diags(faces.ravel()) @ d
    return spsolve(total.tocsc(), np.ones(nx * ny)).reshape(nx, ny)


def test_the_solution_is_that_of_a_direct_solver():
    field = random_field(jax.random.key(3), (32, 24))
    a = np.where(field >= 0, 12.0, 3.0).astype(np.float32)
    assert set(np.unique(a).tolist()) == {3.0, 12.0}
    solve = jax.jit(partial(darcy.solve, force=1.0, low=3.0, high=12.0))
    u, want = solve(a), direct(a)
    np.testing.assert_allclose(u, want, atol=3e-6 * want.max())
    np.testing.assert_allclose(np.asarray(solve(np.stack([a, a])))[1], u, atol=1e-6 * want.max())
    residual = np.asarray(jax.jit(lambda a, u: darcy.operator(a)(u))(a, u)) - 1
    assert np.sqrt(np.mean(residual**2)) < 1e-3


def test_a_constant_permeability_gives_the_series_of_the_square():
    """u(1/2, 1/2) of -lap u = 1 is 0.0736713; the scheme is of second order."""
    centre = []
    for n in (16, 32):
        solve = jax.jit(partial(darcy.solve, force=6.0, low=3.0, high=3.0))
        u = np.asarray(solve(np.full((n, n), 3.0, np.float32)))
        points = u[n // 2 - 1 : n // 2 + 1, n // 2 - 1 : n // 2 + 1]
        # Bilinear interpolation at the corner of four cells, whose error is -h^2 lap u / 8.
        centre.append(float(points.mean() / 2) + 1 / (8 * n**2))
    errors = np.abs(np.array(centre) - 0.0736713)
    assert errors[0] < 5e-4 and errors[1] < errors[0] / 3


def test_simulated_pairs_are_one_step_from_zero():
    pde = ups.PDES["darcy"](points=(8, 8), cells=(16, 16))
    data = ups.simulate(pde, jax.random.key(0), n=3, steps=1)
    assert data.u.shape == (3, 2, 8, 8, 2) and data.steady
    assert (data.channels, data.static) == (("u", "a"), ("a",))
    u, a = np.asarray(data.u)[..., 0], np.asarray(data.u)[..., 1]
    assert (u[:, 0] == 0).all() and (u[:, 1] > 0).all()
    np.testing.assert_array_equal(a[:, 0], a[:, 1])
    assert 3 <= a.min() < a.max() <= 12
    fine = ups.simulate(ups.PDES["darcy"](points=(16, 16), cells=(16, 16)), jax.random.key(0), n=3,
                        steps=1)  # fmt: skip
    means = np.asarray(fine.u).reshape(3, 2, 8, 2, 8, 2, 2).mean((3, 5))
    np.testing.assert_allclose(data.u, means, rtol=1e-5)
    # A sample is one function on every grid: a point of the odd grid is that of a third of it.
    coarse, odd = (np.asarray(random_field(jax.random.key(1), (n, n))) for n in (5, 15))
    np.testing.assert_allclose(coarse, odd[1::3, 1::3], atol=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(permeability=(12.0, 3.0)), "expected two rising permeabilities"),
        (dict(permeability=(12.0,)), "expected two rising permeabilities"),
        (dict(alpha=1.0), "alpha above 1"),
        (dict(permeability=(1.0, 1e7)), "a ratio of at most 1e[+]06"),
        (dict(force=0.0), "pde.force is 0.0; it must be positive"),
        (dict(cells=(64,)), "expected 2 axes"),
    ],
)
def test_bad_arguments_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        ups.PDES["darcy"](**given)


A = np.random.default_rng(0).uniform(0.1, 1, (20, 8, 8)).astype(np.float32)
U = np.random.default_rng(1).normal(size=(20, 8, 8)).astype(np.float32)


def official(path, leave_out=()):
    """Write PDEBench's Darcy layout: nu (N, X, Y), tensor (N, 1, X, Y), coordinates."""
    grid = ((np.arange(8) + 0.5) / 8).astype(np.float32)
    arrays = {"nu": A, "tensor": U[:, None], "x-coordinate": grid, "y-coordinate": grid}
    with h5py.File(path, "w") as file:
        for name, value in arrays.items():
            if name not in leave_out:
                file[name] = value
        file.attrs["beta"] = 1.0
    return path


def test_the_file_of_pdebench_is_a_run_of_pairs(tmp_path):
    path = official(tmp_path / "2D_DarcyFlow_beta1.0_Train.hdf5")
    data = ups.load_data(path)
    assert data.steady and (data.channels, data.static) == (("u", "nu"), ("nu",))
    assert (data.extent, data.boundary) == ((1.0, 1.0), ("dirichlet", "dirichlet"))
    np.testing.assert_array_equal(data.u, ups.pairs(A[..., None], U[..., None]).u)
    part = ups.load_data(path, samples=slice(2, 8, 2), space_stride=2)
    np.testing.assert_array_equal(part.u, np.asarray(data.u)[2:8:2, :, ::2, ::2])
    cfg, notes = load_adapted("configs/data.py:smoke", {"data.path": path})
    assert cfg.pde.steady and cfg.pde.static == ("nu",) and cfg.pde.params == ("beta",)
    assert (cfg.data.steps, cfg.eval.horizons, cfg.eval.context_frames) == (1, (1.0,), 1)
    assert cfg.eval.forecasters == ("mean_field", "operator")
    assert cfg.gates.skill.ratio_to == "eval/mean_field/nrmse"
    assert any("mean_field replaces persistence, mean" in note for note in notes)
    splits = load_splits(cfg, build(cfg).pde)
    assert [len(part) for part in splits[:3]] == [16, 2, 2]
    for name, message in (
        ("y-coordinate", "no dataset 'y-coordinate'"),
        ("tensor", "no known layout; found nu, x-coordinate, y-coordinate"),
    ):
        bad = official(tmp_path / f"without_{name}.h5", leave_out=(name,))
        with pytest.raises(ValueError, match=message):
            ups.load_data(bad)
    with h5py.File(path, "a") as file:
        del file["tensor"]
        file["tensor"] = np.zeros((20, 3, 8, 8), np.float32)
    with pytest.raises(ValueError, match=r"tensor \(20, 3, 8, 8\); expected \(sample, x, y\)"):
        ups.load_data(path)


def test_gaps_and_leaks_of_pairs_are_refused_with_their_place(tmp_path):
    path = official(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        file["nu"][4, 1, 2] = np.nan
    with pytest.raises(ValueError, match=r"sample 4 .* frame 0 at point \(1, 2\) of channel 1"):
        ups.load_data(path)
    twice = ups.pairs(np.concatenate([A, A])[..., None], np.concatenate([U, -U])[..., None])
    ups.save_npz(tmp_path / "twice.npz", twice)
    cfg = ups.load_config("configs/data.py:smoke", {"data.path": tmp_path / "twice.npz"})
    with pytest.raises(ValueError, match="start from the same initial condition"):
        load_splits(cfg, build(cfg).pde)
    with pytest.raises(ValueError, match=r"a has shape \(20, 8, 8\) .* add a channel axis"):
        ups.pairs(A, U[..., None])


def test_pairs_survive_a_file_and_the_mean_field_is_their_baseline(tmp_path):
    data = ups.pairs(A[..., None], U[..., None], static=("a",), channels=("p",), extent=(2.0, 1.0))
    ups.save_npz(tmp_path / "a.npz", data)
    back = ups.load_data(tmp_path / "a.npz")
    assert back.steady and back.static == ("a",) and back.extent == (2.0, 1.0)
    network = ups.Network(lambda key: {"w": jnp.zeros(1)}, lambda params, u, cond: u[..., 1:])
    emulator = ups.Emulator(ups.pde_of(back), network)
    train, test = back.take(slice(12)), back.take(slice(12, 20))
    params = ups.init(emulator, jax.random.key(0), fit_statistics(emulator, train))
    np.testing.assert_allclose(params["stats"]["mean_field"][..., 0], U[:12].mean(0), rtol=1e-5)
    report = ups.evaluate(emulator, params, test)
    assert report.forecasters == ("mean_field", "operator") and report.protocols == ("p1",)
    error = np.sqrt(((U[:12].mean(0) - U[12:]) ** 2).sum((1, 2)) / (U[12:] ** 2).sum((1, 2)))
    scalars = report.scalars
    np.testing.assert_allclose(scalars["eval/mean_field/rel_l2"], error.mean(), rtol=1e-5)
    assert scalars["eval/mean_field/rel_l2"] == pytest.approx(scalars["eval/mean_field/nrmse"])
    assert report.physics_rows == []
    # The network returns the normalised a, in units of the deviation of solutions.
    stats = params["stats"]
    want = (A[12:] - float(stats["mean"][1])) / float(stats["std"][1])
    out = ups.forecast(emulator, params, test.u[:, 0], test.cond, jax.random.key(0), steps=1,
                       forecaster="operator")  # fmt: skip
    np.testing.assert_allclose(
        out.u[:, 0, :, :, 0], want * float(stats["increment_std"][0]), rtol=1e-4, atol=1e-4
    )


def test_the_mean_field_needs_pairs():
    with pytest.raises(ValueError, match="forecaster 'mean_field' needs pairs of a static problem"):
        build(ups.load_config("advection:smoke", {"eval.forecasters": "mean_field,operator"}))


def test_the_config_of_darcy_is_built_with_its_rules():
    cfg = ups.load_config("configs/darcy.py:smoke")
    emulator = build(cfg)
    assert emulator.pde.steady and emulator.operator.any_grid is False
    assert jax.eval_shape(lambda: identity_stats(emulator))["mean_field"].shape == (16, 16, 1)
    for key, value, message in (
        ("eval.protocol", "p10", "eval.context_frames is 1; it must be at least 1 and below"),
        ("pde.permeability", "0,1", "pde.permeability is .* it must be positive"),
    ):
        with pytest.raises(ValueError, match=message):
            ups.load_config("configs/darcy.py:smoke", {key: value})
