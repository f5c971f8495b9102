"""HDF5 layouts of others: what each states, strides, streaming, and refusals with their place."""

from functools import partial

import h5py
import numpy as np
import pytest
import xarray

from fixtures import edited, replaced, without, write_fluid, write_groups, write_well
from ups_jax.config import load as load_config
from ups_jax.data import DiskFields, from_xarray, load, save_npz, save_predictions
from ups_jax.experiment.build import build
from ups_jax.experiment.datasets import load_splits
from ups_jax.types import Trajectories

RNG = np.random.default_rng(0)
A, B, C = (RNG.normal(size=(5, 5, 8, 4)).astype(np.float32) for _ in range(3))
PAIR = np.stack([B, C], -1)
RE = np.arange(1.0, 6.0)
DAY = np.timedelta64(1, "D")
NAMED = "2D_CFD_Rand_M0.1_Eta0.01_Zeta0.01_periodic_8_Train.hdf5"


def fluid(folder):
    return write_fluid(folder / NAMED, {"density": A, "Vx": B, "Vy": C, "pressure": A})


def groups(folder):
    return write_groups(folder / "2D_diff-react_NA_NA.h5", list(PAIR))


def shallow_water(folder):
    return write_groups(folder / "2D_rdb_NA_NA.h5", list(A[..., None]))


def well(folder):
    return write_well(folder / "channel.hdf5", A, PAIR, RE)


def fluid_1d(folder):
    fields = {"density": A[..., 0], "Vx": B[..., 0], "pressure": C[..., 0]}
    return write_fluid(folder / "1D_CFD_Rand_Eta0.1_Zeta0.1_trans_Train.hdf5", fields)


def mapped(folder):
    with h5py.File(folder / "other.h5", "w") as file:
        file["flow/q"], file["flow/w"], file["clock"] = A, PAIR, np.arange(5) * 0.5
        file["grid/x"], file["grid/y"] = np.arange(8) * 0.25, np.arange(4) * 1.0
        file["re"] = RE
    return folder / "other.h5"


def netcdf(folder):
    """Write NetCDF-4: dimensions are scales, `sample` is one without a variable."""
    with h5py.File(folder / "a.nc", "w") as file:
        scales = {"time": np.arange(5) * 0.5, "lon": np.arange(8) * 2.0, "lat": np.arange(4) * 1.0}
        for name, values in (scales | {"sample": np.zeros(5)}).items():
            file[name] = values.astype(np.float32)
            bare = "This is a netCDF dimension but not a netCDF variable.         5"
            file[name].make_scale(bare if name == "sample" else name)
        for name, u in (("q", A), ("w", B)):
            file[name] = u
            for i, scale in enumerate(("sample", "time", "lon", "lat")):
                file[name].dims[i].attach_scale(file[scale])
        file["re"], file["depth"] = RE, A[:, 0]
        for name, scales in (("re", ("sample",)), ("depth", ("sample", "lon", "lat"))):
            for i, scale in enumerate(scales):
                file[name].dims[i].attach_scale(file[scale])
    return folder / "a.nc"


def labelled():
    """The fields of `netcdf` as a dataset of xarray, and a mask."""
    dims = ("sample", "time", "lon", "lat")
    fields = {"q": (dims, A), "w": (dims, B), "re": ("sample", RE), "mask": (dims[2:], A[0, 0])}
    space = {"lon": np.arange(8) * 2.0, "lat": np.arange(4) * 1.0}
    return xarray.Dataset(fields, {"time": np.arange(5) * 0.5, **space})


def zarr_store(folder, version=3):
    labelled().to_zarr(folder / "a.zarr", zarr_format=version, consolidated=False)
    return folder / "a.zarr"


DATASETS = ("q=flow/q", "w=flow/w", "t=clock", "x=grid/x", "y=grid/y", "re")
LAYOUTS = {
    "fluid": (
        fluid, (), np.stack([A, B, C, A], -1),
        dict(channels=("density", "Vx", "Vy", "pressure"), extent=(1.0, 1.0), dt=0.05,
             boundary=("periodic", "periodic"), params=("eta", "m", "zeta")),
    ),
    "fluid in one dimension": (
        fluid_1d, (), np.stack([A, B, C], -1)[:, :, :, 0],
        dict(channels=("density", "Vx", "pressure"), extent=(1.0,), boundary=("neumann",)),
    ),
    "groups": (
        groups, (), PAIR,
        dict(channels=("u0", "u1"), extent=(2.0, 2.0), dt=0.05, boundary=("neumann",) * 2),
    ),
    "shallow water": (
        shallow_water, (), A[..., None],
        dict(channels=("u",), extent=(2.0, 2.0), dt=0.05, boundary=("neumann",) * 2),
    ),
    "The Well": (
        well, (), np.concatenate([A[..., None], PAIR], -1),
        dict(channels=("tracer", "velocity_x", "velocity_y"), extent=(4.0, 2.0), dt=0.25,
             boundary=("periodic", "wall"), params=("re",),
             meta={"unused": ("height", "clock")}),
    ),
    "NetCDF": (
        netcdf, (), np.stack([A, B], -1),
        dict(channels=("q", "w"), extent=(16.0, 4.0), dt=0.5, params=("re",)),
    ),
    **{
        f"Zarr {version}": (
            partial(zarr_store, version=version), (), np.stack([A, B], -1),
            dict(channels=("q", "w"), extent=(16.0, 4.0), dt=0.5, params=("re",),
                 meta={"unused": ("mask",)}),
        ) for version in (2, 3)
    },
    "named": (
        mapped, DATASETS, np.concatenate([A[..., None], PAIR], -1),
        dict(channels=("q", "w_x", "w_y"), extent=(2.0, 4.0), dt=0.5, params=("re",)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_read_with_all_that_it_states(tmp_path, monkeypatch, name):
    monkeypatch.setenv("UPS_DATA", str(tmp_path / "cache"))
    write, datasets, u, stated = LAYOUTS[name]
    path = write(tmp_path)
    data = load(path, datasets=datasets)
    np.testing.assert_array_equal(data.u, u)
    for key, value in stated.items():
        assert getattr(data, key) == (value if key != "extent" else pytest.approx(value))
    if "re" in data.params:
        np.testing.assert_array_equal(data.cond[:, 0], RE)
    strided = dict(space_stride=2, time_stride=4, samples=slice(1, 4), datasets=datasets)
    space = (slice(None, None, 2),) * data.ndim
    part, stored = load(path, **strided), load(path, stream=True, **strided)
    np.testing.assert_array_equal(part.u, u[(slice(1, 4), slice(None, None, 4), *space)])
    assert isinstance(stored.u, DiskFields) and part.dt == pytest.approx(4 * data.dt)
    np.testing.assert_array_equal(np.asarray(stored.u), part.u)
    described = load(path, describe=True, **strided)
    assert described.u.shape == part.u.shape and repr(described) == repr(part)


def test_datasets_of_xarray_are_those_of_their_file(tmp_path):
    data, stored = from_xarray(labelled()), load(zarr_store(tmp_path))
    np.testing.assert_array_equal(data.u, stored.u)
    np.testing.assert_array_equal(data.cond, stored.cond)
    assert (data.dt, data.extent, data.channels) == (stored.dt, stored.extent, stored.channels)
    masked = from_xarray(labelled(), static=("mask",))
    np.testing.assert_array_equal(masked.u[3, 2, ..., 2], A[0, 0])
    assert masked.static == ("mask",) == load(tmp_path / "a.zarr", static=("mask",)).static
    # A field without time comes first by name.
    depth = labelled().assign(depth=(("sample", "lon", "lat"), A[:, 0]))[["depth", "q", "w"]]
    assert from_xarray(depth).channels == ("q", "w") and from_xarray(depth).dt == 0.5
    days = labelled().assign_coords(time=np.datetime64("2026-01-01", "ns") + np.arange(5) * DAY)
    assert from_xarray(days).dt == 86400.0


def unpickled(folder):
    zarr_store(folder, version=2)
    (folder / "a.zarr" / "q" / ".zarray").write_text('{"filters": [{"id": "pickle"}]}')


def linked(folder):
    (zarr_store(folder) / "more").symlink_to("/etc")


def emptied(folder):
    (zarr_store(folder) / "zarr.json").unlink()


def shortened(folder):
    labelled()[["re"]].to_zarr(folder / "a.zarr", consolidated=False)


def uneven(folder):
    times = np.array([0, 1, 2, 4, 5.0])
    labelled().assign_coords(time=times).to_zarr(folder / "a.zarr", consolidated=False)


def torn(folder):
    file = zarr_store(folder) / "q" / "zarr.json"
    file.write_text(file.read_text()[:50])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (unpickled, "q/.zarray holds pickled Python objects"),
        (linked, "more is a link"),
        (emptied, "no Zarr group"),
        (shortened, r"no variable has dimensions \(sample, time, x\) .* variables: re"),
        (uneven, "time is not evenly spaced"),
        (torn, "cannot be read"),
    ],
)
def test_a_store_that_cannot_be_read_is_refused_by_name(tmp_path, damage, message):
    damage(tmp_path)
    with pytest.raises(ValueError, match=message) as refused:
        load(tmp_path / "a.zarr")
    assert "a.zarr" in str(refused.value) and str(refused.value).count("\n") < 2


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_run_takes_a_file_of_each_layout_by_its_path(tmp_path, name):
    write, datasets, u, stated = LAYOUTS[name]
    given = {"data.path": write(tmp_path), "data.datasets": datasets, "operator.patch": 1}
    cfg = load_config("configs/data.py:smoke", given)
    assert cfg.pde.channels == stated["channels"] and cfg.data.steps == 4
    splits = load_splits(cfg, build(cfg).pde)
    assert [len(part) for part in splits[:3]] == [3, 1, 1]
    assert splits.train.points == u.shape[2:-1]


def test_predictions_are_read_again(tmp_path):
    data = Trajectories(PAIR, RE[:, None], 0.5, (2.0, 1.0), ("a", "b"), params=("re",))
    save_predictions(tmp_path / "p.h5", {"operator": PAIR[:, 1:]}, data)
    back = load(tmp_path / "p.h5")
    np.testing.assert_array_equal(back.u, data.u)
    np.testing.assert_array_equal(back.cond, data.cond)
    assert (back.dt, back.extent, back.channels) == (0.5, (2.0, 1.0), ("a", "b"))


def of_two_lengths(folder):
    return write_groups(folder / "a.h5", [PAIR[0], PAIR[1], PAIR[2, :4]])


def with_gap(folder):
    u = PAIR.copy()
    u[3, 2, 7, 1, 1] = np.nan
    return groups_of(folder, u)


def groups_of(folder, u):
    return write_groups(folder / "a.h5", list(u))


def bad_condition(file):
    file["boundary_conditions/y_wall"].attrs["bc_type"] = "ROBIN"


def link(file):
    del file["t0_fields"]
    file["t0_fields"] = h5py.ExternalLink("other.h5", "/t0_fields")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            edited(fluid, without("x-coordinate")),
            "no dataset 'x-coordinate'; found Vx, Vy, density",
        ),
        (edited(fluid, replaced("Vy", C[:, :4])), r"Vy has shape \(5, 4, 8, 4\), density \(5, 5"),
        (edited(fluid, replaced("Vy", C.astype(int))), "Vy holds .* int64; expected floating"),
        (
            of_two_lengths,
            r"sample 2 \(/0002/data\) has shape \(4, 8, 4, 2\), sample 0 .* equal lengths",
        ),
        (with_gap, r"sample 3 holds NaN .* frame 2 at point \(7, 1\) of channel 1"),
        (edited(groups, without("0000/grid/y")), "no dataset '0000/grid/y'"),
        (edited(well, without("dimensions")), "spatial_dims"),
        (edited(well, bad_condition), "y_wall has bc_type 'ROBIN'; known: PERIODIC, WALL, OPEN"),
        (edited(well, link), "'t0_fields' is a link"),
        (mapped, "no known layout; found clock, flow, grid, re\nsupported: .* data.datasets"),
    ],
)
def test_a_file_that_does_not_keep_its_layout_is_refused_with_the_place(tmp_path, write, message):
    path = write(tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        load(path)
    assert str(error.value).startswith(f"{path}: ") and str(error.value).count("\n") < 2


def test_gaps_of_an_npz_file_are_refused_with_their_place(tmp_path):
    u = PAIR.copy()
    u[2, 1, 0, 3, 0] = np.inf
    save_npz(tmp_path / "a.npz", Trajectories(u))
    with pytest.raises(ValueError, match=r"sample 2 .* frame 1 at point \(0, 3\) of channel 0"):
        load(tmp_path / "a.npz")
    ragged = np.array([u[0], u[1, :3]], object)
    np.savez(tmp_path / "b.npz", u=ragged)
    with pytest.raises(ValueError, match="b.npz: u holds arrays of .* ups.padded"):
        load(tmp_path / "b.npz")
    with pytest.raises(ValueError, match="b.npz: u holds arrays of .* ups.padded"):
        load(tmp_path / "b.npz", describe=True)
