"""Files of this library and of named datasets, what layouts do not state, and what is refused."""

import subprocess
import sys

import h5py
import numpy as np
import pytest

import ups_jax as ups
from fixtures import write_fluid, write_groups, write_pdebench, write_well
from ups_jax.config import load_adapted
from ups_jax.data import save_predictions
from ups_jax.experiment.build import build
from ups_jax.experiment.datasets import load_splits

RNG = np.random.default_rng(0)
N, T, X, Y = 10, 5, 8, 6
A, B = (RNG.normal(size=(N, T, X, Y)).astype(np.float32) for _ in range(2))
U, LINES = A[..., None], A[:, :, :, :1]


def write(folder, kind, **arrays):
    """Write arrays of one layout as npz, as HDF5, or as HDF5 with attributes."""
    path = folder / ("a.npz" if kind == "npz" else "a.h5")
    if kind == "npz":
        np.savez(path, **arrays)
        return path
    with h5py.File(path, "w") as file:
        file["u"] = arrays.pop("u")
        for name, value in arrays.items():
            array = np.asarray(value)
            array = array.astype(h5py.string_dtype()) if array.dtype.kind == "U" else array
            if kind == "file attributes" and array.ndim < 2:
                file.attrs[name] = array
            elif kind == "attributes of u" and array.ndim < 2:
                file["u"].attrs[name] = array
            else:
                file[name] = array
    return path


KINDS = ("npz", "h5", "file attributes", "attributes of u")


@pytest.mark.parametrize("kind", KINDS)
def test_npz_and_hdf5_state_the_same(tmp_path, kind):
    stated = dict(dt=[0.1], extent=[2.0, 3.0], channels=["q"], boundary=["wall", "periodic"])
    path = write(tmp_path, kind, u=U, cond=np.ones((N, 2)), params=["a", "b"], **stated)
    data = ups.load_data(path)
    assert (data.dt, data.extent, data.channels) == (0.1, (2.0, 3.0), ("q",))
    assert (data.boundary, data.params) == (("wall", "periodic"), ("a", "b"))
    bare = ups.load_data(write(tmp_path, kind, u=U, cond=np.ones((N, 2))))
    assert (bare.params, bare.dt, bare.extent, bare.meta) == ((), 1.0, (1.0, 1.0), {})
    assert ups.load_data(write(tmp_path, kind, u=U), nu=0.5).cond[3, 0] == 0.5
    path = write(tmp_path, kind, u=U, cond=np.ones((N, 1)), params=["Nu"])
    assert ups.load_data(path, nu=1.0).params == ("Nu",)
    with pytest.raises(ValueError, match="nu=0.5 was given, but the file has 1; omit nu"):
        ups.load_data(path, nu=0.5)
    with pytest.raises(ValueError, match="the file has parameters without names; omit nu"):
        ups.load_data(write(tmp_path, kind, u=U, cond=np.ones((N, 1))), nu=0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_even_coordinates_give_dt_and_extent(tmp_path, kind):
    axes = dict(t=0.1 * np.arange(T), x=np.arange(X) / X, y=2.0 * np.arange(Y))
    data = ups.load_data(write(tmp_path, kind, u=U, **axes))
    assert data.dt == 0.1 and data.extent == (1.0, 12.0) and not data.meta
    both = ups.load_data(write(tmp_path, kind, u=U, **axes, dt=0.1, extent=[7 / 8, 12.0]))
    assert both.dt == 0.1 and both.extent == (7 / 8, 12.0)
    described = ups.load_data(tmp_path / ("a.npz" if kind == "npz" else "a.h5"), describe=True)
    assert (described.dt, described.extent) == (both.dt, both.extent)
    for changed, message in (
        (dict(t=np.arange(T) ** 2.0), "t is not evenly spaced"),
        (dict(x=np.arange(X) ** 2.0), "x is not evenly spaced"),
        (dict(dt=0.2), "dt is 0.2, and t rises by 0.1; remove one of them"),
        (dict(extent=[2.0, 12.0]), "extent is 2 along x, and its 8 coordinates rise by 0.125"),
    ):
        path = write(tmp_path, kind, u=U, **axes | changed)
        with pytest.raises(ValueError, match=message) as refused:
            ups.load_data(path)
        assert str(refused.value).startswith(f"{path}: ")


def test_arrays_that_are_no_coordinates_are_named_as_unused(tmp_path):
    path = write(tmp_path, "npz", u=U, t=np.ones((N, T)), x=np.ones(3), depth=A[0, 0])
    assert set(ups.load_data(path).meta["unused"]) == {"t", "x", "depth"}
    assert set(ups.load_data(path, static="depth").meta["unused"]) == {"t", "x"}
    _, notes = load_adapted("configs/data.py:smoke", {"data.path": path, "operator.patch": 1})
    assert "not used: t, x, depth" in notes[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("stated", "message"),
    [
        (dict(cond=np.ones(N)), rf"cond of shape \({N},\): expected \({N}, p\)"),
        (dict(cond=np.ones((N, 2)), params=["a"]), r"params \('a',\) do not name the columns"),
        (dict(cond=np.ones((N - 1, 2))), "one row for each trajectory"),
        (dict(boundary=["robin", "wall"]), "unknown boundary 'robin'; known: dirichlet, neumann"),
        (dict(boundary=["wall"]), "boundary is .'wall',.; expected 2 names"),
        (dict(dt=[0.1, 0.2]), "dt is .*; expected one number"),
        (dict(dt=-1.0), "dt is -1.0; it must be positive"),
        (dict(extent=[1.0, 1.0, 1.0]), "has not the 2 lengths"),
        (dict(lengths=np.ones(N)), "lengths is .*; expected 10 whole numbers"),
        (dict(u=A[:, :, 0]), r"u has shape .* u\[..., None\]"),
        (dict(u=A, y=np.arange(Y) * 1.0), r"y has as many entries .* u\[..., None\]"),
        (
            dict(u=A[:, :, :, :, None, None, None]),
            "more space axes are not supported: select a part",
        ),
        (dict(u=np.ones((N, T, X, 1), int)), "u holds int64; expected floats"),
    ],
)
def test_what_does_not_fit_is_refused_alike(tmp_path, kind, stated, message):
    path = write(tmp_path, kind, **dict(u=U) | stated)
    for describe in (False, True):
        with pytest.raises(ValueError, match=message) as refused:
            ups.load_data(path, describe=describe)
        assert str(refused.value).startswith(f"{path}: ")
        assert len(str(refused.value).splitlines()) <= 2


def test_padding_of_nan_is_no_missing_value(tmp_path, monkeypatch):
    monkeypatch.setenv("UPS_DATA", str(tmp_path / "cache"))
    lengths = RNG.integers(3, T + 1, N)
    lengths[0] = 3
    inside = (np.arange(T) < lengths[:, None])[:, :, None, None]
    padded = np.where(inside, LINES, np.nan)
    for kind in ("npz", "h5"):
        data = ups.load_data(write(tmp_path, kind, u=padded, lengths=lengths))
        assert np.isfinite(data.u).all() and list(data.lengths) == list(lengths)
        np.testing.assert_array_equal(np.where(inside, data.u, 0), np.where(inside, LINES, 0))
        np.testing.assert_array_equal(data.u[0, 4], LINES[0, 2])
        even = ups.load_data(tmp_path / f"a.{kind}", time_stride=2)
        np.testing.assert_array_equal(even.u[0, :, 0, 0], LINES[0, [0, 2, 2], 0, 0])
    stored = ups.load_data(tmp_path / "a.h5", stream=True)
    np.testing.assert_array_equal(np.asarray(stored.u), data.u)
    padded[0, 1, 3] = np.nan
    with pytest.raises(ValueError, match="sample 0 holds NaN .* frame 1"):
        ups.load_data(write(tmp_path, "npz", u=padded, lengths=lengths))


# --- datasets that a user names


@pytest.mark.parametrize("kind", ["npz", "h5"])
def test_datasets_of_npz_and_hdf5_may_be_named(tmp_path, kind):
    arrays = dict(u=U, flow=A, clock=0.5 * np.arange(T), re=np.arange(N) * 1.0, mask=A[0, 0])
    path = write(tmp_path, kind, **arrays)
    data = ups.load_data(path, datasets=("q=flow", "t=clock", "re", "mask"))
    np.testing.assert_array_equal(data.u[..., 0], A)
    assert (data.channels, data.static, data.params) == (("q", "mask"), ("mask",), ("re",))
    assert data.dt == 0.5 and data.cond[3, 0] == 3
    renamed = ups.load_data(path, datasets="q=u")
    assert renamed.channels == ("q",) and renamed.u.shape == U.shape
    described = ups.load_data(path, datasets=("q=flow", "t=clock", "re", "mask"), describe=True)
    assert repr(described) == repr(data)
    for datasets, message in (
        (("q=flow", "c=clock"), r"c holds \(5,\) float64; expected a field .* numbers \(10,\)"),
        (("q=flaw",), "no .*'flaw'"),
        (("t=clock", "re"), "names no field"),
        (("q=flow", "x=clock", "y=clock"), r"has shape \(5,\); expected \(8,\)"),
    ):
        with pytest.raises(ValueError, match=message) as refused:
            ups.load_data(path, datasets=datasets)
        assert str(refused.value).startswith(f"{path}: ")


@pytest.mark.parametrize("kind", ["npz", "h5"])
def test_a_third_axis_of_space_is_not_taken_for_channels(tmp_path, kind):
    cube = np.ones((N, T, 4, 5, 6), np.float32)
    path = write(tmp_path, kind, u=U, q=cube, x=np.arange(4.0), y=np.arange(5.0))
    with pytest.raises(ValueError, match="q has shape .* name the coordinates x=PATH and y=PATH"):
        ups.load_data(path, datasets="q")
    assert ups.load_data(path, datasets=("q", "x", "y")).u.shape == cube.shape


# --- layouts of others


def fluid(folder, fields, name="2D_CFD.hdf5"):
    return write_fluid(folder / name, fields)


def well(folder, change=lambda file: None):
    path = write_well(folder / "well.hdf5", A, np.stack([A, B], -1), np.arange(1.0, N + 1))
    with h5py.File(path, "a") as file:
        change(file)
    return path


def condition(axis, kind):
    def change(file):
        made = file.create_group("boundary_conditions/more")
        made.attrs.update(bc_type=kind, associated_dims=[axis], associated_fields=[])

    return change


def attribute(place, **values):
    return lambda file: (file[place] if place else file).attrs.update(values)


def without(name):
    return lambda file: file.__delitem__(name)


def scalars(count):
    def change(file):
        del file["scalars/re"]
        file["scalars/re"] = np.ones(count)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (condition("y", "OPEN"), "axis y has two boundary conditions, .*\n.* pde.boundary"),
        (without("boundary_conditions/x_periodic"), "no boundary condition of axis x is stated\n"),
        (attribute("", grid_type="spherical"), "grid_type 'spherical', which is not supported"),
        (attribute("dimensions", spatial_dims=list("xyzw")), "layout with 4 space axes"),
        (attribute("t0_fields/tracer", dim_varying=[True, False]), "tracer does not vary along"),
        (scalars(4), "scalars/re holds 4 numbers; expected one, or 10"),
    ],
)
def test_a_file_of_the_well_that_states_something_else_is_refused(tmp_path, change, message):
    path = well(tmp_path, change)
    with pytest.raises(ValueError, match=message) as refused:
        ups.load_data(path)
    assert str(refused.value).startswith(f"{path}: ") and str(refused.value).count("\n") < 2


def test_the_same_condition_at_both_ends_is_one(tmp_path):
    assert ups.load_data(well(tmp_path, condition("y", "WALL"))).boundary == ("periodic", "wall")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(density=A, Vy=A, pressure=A), "has density, Vx, Vy, pressure, and this file no Vx"),
        (dict(density=A, Vx=A, Vy=A), "and this file no pressure"),
        (
            dict(density=A[..., None], Vx=A, Vy=A, pressure=A),
            "Vx, Vy, Vz, pressure, and this file no Vz",
        ),
        (dict(density=A[:, :, 0, 0]), r"compressible flow of shape \(10, 5\), which is not sup"),
        (dict(density=A, Vx=A, Vy=A[:, :, 0], pressure=A), r"Vy has shape .*, density .* of equal"),
    ],
)
def test_a_compressible_flow_that_is_not_whole_is_refused(tmp_path, fields, message):
    with pytest.raises(ValueError, match=message) as refused:
        ups.load_data(fluid(tmp_path, fields))
    assert "add a channel axis" not in str(refused.value)


def test_a_layout_that_is_not_supported_is_named(tmp_path):
    with h5py.File(tmp_path / "ns_incom_inhom_2d_512-0.h5", "w") as file:
        file["velocity"], file["particles"] = np.stack([A, B], -1), U
        file["force"], file["t"] = np.stack([A, B], -1)[:, 0], np.zeros((N, T))
    with pytest.raises(ValueError, match="PDEBench's incompressible Navier-Stokes .*\nsupported: "):
        ups.load_data(tmp_path / "ns_incom_inhom_2d_512-0.h5")


# --- boundaries that a file states, by its name or not at all


def note(path):
    return load_adapted("configs/data.py:smoke", {"data.path": path, "operator.patch": 1})[1][0]


ASSUMED = "boundary periodic (not stated by the file; set pde.boundary)"


def test_a_run_says_which_boundary_it_assumes(tmp_path):
    plain = write(tmp_path, "npz", u=U)
    assert ASSUMED in note(plain)
    given = {"data.path": plain, "pde.boundary": "wall,periodic", "operator.patch": 1}
    assert ASSUMED not in load_adapted("configs/data.py:smoke", given)[1][0]
    assert ASSUMED not in note(write(tmp_path, "npz", u=U, boundary=["wall", "wall"]))
    assert ASSUMED in note(fluid(tmp_path, dict(density=A, Vx=A, Vy=B, pressure=B)))


def test_names_of_pdebench_state_the_boundary(tmp_path):
    for name, boundary in (
        ("1D_Burgers_Sols_Nu0.01.hdf5", ("periodic",)),
        ("1D_Advection_Sols_beta0.4.hdf5", ("periodic",)),
        ("ReacDiff_Nu0.5_Rho1.0.hdf5", ("periodic",)),
        ("other.hdf5", ()),
    ):
        path = write_pdebench(tmp_path / name, A[..., 0], nu=None)
        assert ups.load_data(path).boundary == boundary
    sorption = write_groups(tmp_path / "1D_diff-sorp_NA_NA.h5", list(LINES))
    assert ups.load_data(sorption).boundary == ("neumann",)
    assert "u = 1 at x = 0 and u = D u_x at x = 1" in note(sorption)


def test_what_a_run_refuses_names_the_file(tmp_path):
    given = {"operator.patch": 1}
    short = write(tmp_path, "npz", u=U[:, :, :3])
    with pytest.raises(
        ValueError, match="a.npz: the fields have 3 x 6 points; expected at least 4"
    ):
        load_adapted("configs/data.py:smoke", given | {"data.path": short})
    twice = write(tmp_path, "npz", u=np.concatenate([U, U]))
    cfg = load_adapted("configs/data.py:smoke", given | {"data.path": twice})[0]
    with pytest.raises(ValueError, match="a.npz: .* start from the same initial condition"):
        load_splits(cfg, build(cfg).pde)


# --- Python


def test_single_names_lists_and_other_arrays_are_accepted():
    data = ups.Trajectories(LINES.tolist(), [[1.0]] * N, channels="height", boundary="wall",
                            params="nu")  # fmt: skip
    assert (data.channels, data.boundary, data.params) == (("height",), ("wall",), ("nu",))
    np.testing.assert_array_equal(data.u, LINES.astype(np.float64))
    pde = ups.pde_of(data, conserved="height", symmetries="translation", vector="height")
    assert list(pde.laws) == ["mean_height"] and pde.boundary == ("wall",)
    pairs = ups.pairs(LINES[:, 0], LINES[:, 1], static="coefficient", channels="u")
    assert (pairs.predicted, pairs.static) == (("u",), ("coefficient",))
    with pytest.raises(ValueError, match="lists of different lengths; .* ups.padded"):
        ups.Trajectories([[[1.0]], [[1.0], [2.0]]])


def test_predictions_are_named_as_unused(tmp_path):
    data = ups.Trajectories(LINES, dt=1 / 30, channels="q")
    save_predictions(tmp_path / "p.npz", {"operator": LINES}, data)
    back = ups.load_data(tmp_path / "p.npz")
    assert back.dt == pytest.approx(1 / 30, rel=1e-11)
    assert back.meta["unused"] == ("predictions/operator",)


def test_fields_on_disk_end_without_an_error(tmp_path):
    path = write(tmp_path, "h5", u=U)
    code = f"import ups_jax as ups; data = ups.load_data({str(path)!r}, stream=True); print(data)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
