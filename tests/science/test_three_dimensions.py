"""Fields of three space axes: files, metrics, symmetries, figures and a run."""

import os
from functools import partial
from pathlib import Path

import h5py
import jax
import numpy as np
import pytest
import xarray

import ups_jax as ups
from fixtures import write_fluid
from runs import QUICK, RUNNER, sh, summary
from ups_jax.metrics.point import METRICS
from ups_jax.pde import PDES
from ups_jax.pde.symmetries import cube, vector

# Values of apebench 0.1.1 itself: training trajectory 0 at frame 2, in the first channel at the
# points (0, 0, 0) and (16, 3, 9), in the last at (5, 17, 30).
DUMPED = {
    "3d_diff_burgers": (0.2326117, -0.2785009, 0.1569118),
    "3d_diff_kdv": (0.1549623, -0.07993729, -0.1597617),
    "3d_phy_aniso_diff": (-0.1871653, 0.08012295, -0.05787235),
    "3d_phy_gs_type": (0.9999578, 1.000297, -0.00196671),
}
N, T, SPACE = 4, 5, (8, 6, 4)
RNG = np.random.default_rng(0)
A, B, C, D, E = (RNG.normal(size=(N, T, *SPACE)).astype(np.float32) for _ in range(5))


def own(folder: Path) -> Path:
    grid = {name: np.arange(n) / n for name, n in zip("xyz", SPACE, strict=True)}
    np.savez(folder / "own.npz", u=np.stack([A, B], -1), t=0.05 * np.arange(T), **grid)
    return folder / "own.npz"


def fluid(folder: Path) -> Path:
    fields = {"density": A, "Vx": B, "Vy": C, "Vz": D, "pressure": E}
    return write_fluid(folder / "3D_CFD_Rand_M1.0_periodic_8.hdf5", fields)


def well(folder: Path) -> Path:
    with h5py.File(folder / "mhd.hdf5", "w") as file:
        file.create_group("dimensions").attrs["spatial_dims"] = list("xyz")
        file["dimensions/time"] = 0.05 * np.arange(T)
        for name, n in zip("xyz", SPACE, strict=True):
            file[f"dimensions/{name}"] = np.arange(n) / n
        file["t0_fields/density"] = A
        file["t1_fields/velocity"] = np.stack([B, C, D], -1)
    return folder / "mhd.hdf5"


def named(folder: Path) -> Path:
    with h5py.File(folder / "named.h5", "w") as file:
        file["flow/q"], file["time"] = A, 0.05 * np.arange(T)
        for name, n in zip("xyz", SPACE, strict=True):
            file[name] = np.arange(n) / n
    return folder / "named.h5"


FILES = {
    own: ((), (A, B)),
    fluid: ((), (A, B, C, D, E)),
    well: ((), (A, B, C, D)),
    named: (("q=flow/q", "t=time", "x=x", "y=y", "z=z"), (A,)),
}


@pytest.mark.parametrize("write", FILES)
def test_files_are_read_as_they_are(tmp_path, write):
    datasets, fields = FILES[write]
    data = ups.load_data(write(tmp_path), datasets=datasets)
    np.testing.assert_array_equal(data.u, np.stack(fields, -1))
    assert data.dt == pytest.approx(0.05) and data.extent == pytest.approx((1.0, 1.0, 1.0))


def test_without_coordinates_the_last_of_five_axes_is_not_guessed(tmp_path):
    with pytest.raises(ValueError, match=r"its last axis may be space or channels.*z=PATH"):
        ups.load_data(named(tmp_path), datasets=("q=flow/q", "t=time"))


def test_a_dataset_of_xarray_has_three_named_axes():
    dims = ("sample", "time", "lon", "lat", "level")
    data = ups.from_xarray(xarray.Dataset({"q": (dims, A)}))
    np.testing.assert_array_equal(data.u[..., 0], A)


def test_the_error_of_one_wave_is_in_its_shell_and_on_every_face():
    x = 2 * np.pi * np.arange(8) / 8
    wave = np.cos(2 * x)[:, None, None] * np.cos(x)[None, :, None] * np.cos(2 * x)[None, None]
    pred = wave.astype(np.float32)[None, None, ..., None]

    def metric(name):
        function = jax.jit(METRICS[name].per_sample, static_argnums=2)
        return np.asarray(function(pred, np.zeros_like(pred), 3))[0, 0]

    spectrum = metric("frmse_low")[:, 0]
    # |k| = 3; half of the mean square 1/8: a wave and its conjugate count once.
    np.testing.assert_allclose(spectrum, [0, 0, 0, 1 / 16, 0][: len(spectrum)], atol=1e-7)
    assert metric("rmse") == pytest.approx(8**-0.5, abs=1e-6)
    ends = [np.stack([np.take(wave, i, axis) for i in (0, 7)]) for axis in range(3)]
    expected = np.sqrt(np.mean(np.square(ends)))
    assert metric("brmse") == pytest.approx(expected, abs=1e-6)


def generated(maps, u):
    """Return all images of a field (x, y, z, c) by products of maps, as bytes."""
    found, new = {u.tobytes()}, [u]
    changed = jax.jit(lambda u: [change(u) for change in maps])
    while new:
        images = [np.asarray(image) for v in new for image in changed(v)]
        new = [v for i, v in enumerate(images) if v.tobytes() not in found]
        found |= {v.tobytes() for v in new}
    return found


@pytest.mark.parametrize(("maps", "channels"), [(cube(3), 1), (vector(3), 3)])
def test_maps_generate_the_48_symmetries_of_a_cube(maps, channels):
    u = np.arange(27 * channels, dtype=np.float32).reshape(3, 3, 3, channels) + 1
    assert len(generated(maps, u)) == 48


def test_a_velocity_turns_with_its_axes():
    """The gradient of a scalar is a vector: of the image of a scalar it is the image."""
    u = np.random.default_rng(0).normal(size=(8, 8, 8, 1)).astype(np.float32)
    k = 2j * np.pi * np.fft.fftfreq(8, 1 / 8) * (np.arange(8) != 4)

    def gradient(u):
        hat = np.fft.fftn(u[..., 0])
        axes = (k[:, None, None], k[None, :, None], k[None, None])
        return np.stack([np.fft.ifftn(wave * hat).real for wave in axes], -1).astype(np.float32)

    for scalar, velocity in zip(cube(3), vector(3), strict=True):
        image = gradient(np.asarray(scalar(u)))
        np.testing.assert_allclose(image, velocity(gradient(u)), atol=2e-3)


def test_figures_show_the_plane_in_the_middle_of_z(tmp_path):
    data = ups.Trajectories(A[..., None], dt=0.1)
    figure = ups.plot_forecast(data.u[0], 1.1 * data.u[0])
    assert figure.get_suptitle() == "nRMSE 0.1, middle of z"
    image = figure.subfigs[0].axes[0].images[0].get_array()
    np.testing.assert_array_equal(image, A[0, 0, :, :, 2].T)
    image = ups.plot(data).axes[0].images[0].get_array()
    np.testing.assert_array_equal(image, A[0, 0, :, :, 2].T)
    assert ups.animate(data, tmp_path / "a.gif").stat().st_size > 1000


@pytest.mark.parametrize("scenario", DUMPED)
def test_arrays_are_those_of_apebench(scenario):
    pde = PDES["apebench"](scenario=scenario)
    assert pde.points == (32, 32, 32)
    u = ups.simulate(pde, jax.random.key(0), n=1, steps=2, cache=False).u[0, 2]
    actual = [u[0, 0, 0, 0], u[16, 3, 9, 0], u[5, 17, 30, -1]]
    np.testing.assert_allclose(actual, DUMPED[scenario], atol=2e-6)


SAME = {
    "3d_diff_kdv": dict(convection=-2.0, gamma3=-14.0, gamma4=-9.0),
    "3d_diff_ks": dict(gradient_norm=-6.0, gamma2=-1.2, gamma4=-15.0),
    "3d_diff_fisher": dict(gamma0=0.02, gamma2=0.2, quadratic=-0.02),
}


@partial(jax.jit, static_argnums=0)
def drawn(pde, key, cond):
    return pde.initial(key, cond, pde.cells)


@pytest.mark.parametrize("scenario", SAME)
def test_a_scenario_is_one_of_the_semilinear_family(scenario):
    other = PDES["apebench"](scenario=scenario, points=16)
    pde = PDES["semilinear"](points=(16, 16, 16), cells=(16, 16, 16), **SAME[scenario])
    key, none = jax.random.key(0), np.zeros((1, 0), np.float32)
    cond = np.asarray(pde.sample_cond(key))
    assert len(pde.symmetries) >= 1 + 2
    u = np.asarray(drawn(pde, key, cond))[None]
    want = jax.jit(other.step)(u, none)
    np.testing.assert_allclose(jax.jit(pde.step)(u, cond[None]), want, atol=2e-5)


def test_advection_of_what_does_not_depend_on_z_is_that_of_the_plane():
    plane, space = (PDES["advection"](points=(8,) * d, cells=(16,) * d) for d in (2, 3))
    assert space.params == ("vx", "vy", "vz")
    u = np.asarray(drawn(plane, jax.random.key(0), np.ones(2, np.float32)))
    deep, velocity = np.repeat(u[:, :, None], 16, 2), np.float32([[0.7, 1.2, 0.0]])
    after = np.asarray(jax.jit(space.step)(deep[None], velocity))[0]
    expected = np.asarray(jax.jit(plane.step)(u[None], velocity[:, :2]))[0]
    for z in (0, 9):
        np.testing.assert_allclose(after[:, :, z], expected, atol=2e-6)


def test_sampled_extremes_may_grow_by_the_motion_between_points():
    """A wave of five periods on 32 points has other extremes on them after part of a spacing."""
    data = ups.simulate(
        PDES["apebench"](scenario="3d_diff_adv"), jax.random.key(0), n=2, steps=4, cache=False
    )
    assert data.u.shape == (2, 5, 32, 32, 32, 1)


def test_a_scenario_is_trained_and_evaluated_in_one_run(tmp_path):
    settings = ["--config.fit.operator.steps=100", "--wandb_mode=disabled", f"--workdir={tmp_path}"]
    argv = [*RUNNER, "--config=configs/apebench.py:3d_diff_diff-8-smoke", *settings]
    sh(argv, check=True, env={**os.environ, "XLA_FLAGS": QUICK})
    errors = summary(tmp_path)
    assert errors["eval/operator/nrmse"] < 0.3 * errors["eval/persistence/nrmse"]
    assert (tmp_path / "figures" / "animation_0.gif").exists()
