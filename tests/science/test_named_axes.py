"""Arrays with named axes: their names, not their order, say what is time, samples and space."""

import h5py
import numpy as np
import pytest
import xarray as xr

import ups_jax as ups
from ups_jax.config import load_adapted
from ups_jax.data import DiskFields

RNG = np.random.default_rng(0)
N, T, X, Y = 6, 5, 8, 4
A = RNG.normal(size=(N, T, X, Y)).astype(np.float32)
RE = np.arange(1.0, N + 1)
DIMS = ("sample", "time", "lon", "lat")
HOURS = np.datetime64("2026-01-01", "ns") + 6 * np.arange(T) * np.timedelta64(3600, "s")


def weather(time=HOURS, dims=DIMS):
    """Temperatures of several samples every six hours, a parameter, a mask and a forcing."""
    fields = {"q": (dims, A), "re": (dims[:1], RE), "mask": (dims[2:], A[0, 0])}
    fields["sun"] = (dims[:2], A[:, :, 0, 0])
    coordinates = {dims[1]: time, "lon": np.arange(X) * 2.0, "lat": np.arange(Y) * 1.0}
    return xr.Dataset(fields, {k: v for k, v in coordinates.items() if k in dims})


def opened(dataset, path, **options):
    """Read a dataset from memory and from a Zarr store, which must agree."""
    dataset.to_zarr(path, consolidated=False)
    memory, stored = ups.from_xarray(dataset, **options), ups.load_data(path, **options)
    np.testing.assert_array_equal(memory.u, stored.u)
    np.testing.assert_array_equal(memory.cond, stored.cond)
    assert (memory.dt, memory.extent, memory.meta) == (stored.dt, stored.extent, stored.meta)
    return stored


@pytest.mark.parametrize(
    "order",
    [
        ("sample", "time", "lon", "lat"),
        ("time", "sample", "lon", "lat"),
        ("time", "lon", "lat", "sample"),
        ("lon", "lat", "sample", "time"),
    ],
)
def test_the_order_of_the_axes_does_not_matter(tmp_path, monkeypatch, order):
    monkeypatch.setenv("UPS_DATA", str(tmp_path / "cache"))
    dataset = weather().transpose(*order)
    data = opened(dataset, tmp_path / "a.zarr", static=("mask",), forcing=("sun",))
    np.testing.assert_array_equal(data.u[..., 0], A)
    np.testing.assert_array_equal(data.u[4, 3, ..., 1], A[0, 0])
    np.testing.assert_array_equal(data.u[4, 3, 2, 1, 2], A[4, 3, 0, 0])
    np.testing.assert_array_equal(data.cond[:, 0], RE)
    assert (data.dt, data.extent, data.params) == (21600.0, (16.0, 4.0), ("re",))
    part = dict(samples=slice(1, 5), time_stride=2, space_stride=2)
    some = ups.load_data(tmp_path / "a.zarr", stream=True, **part)
    assert isinstance(some.u, DiskFields)
    np.testing.assert_array_equal(np.asarray(some.u)[..., 0], A[1:5, ::2, ::2, ::2])


@pytest.mark.parametrize("space", [("lon", "lat"), ("x", "y"), ("rlon", "rlat")])
def test_without_an_axis_of_samples_there_is_one_trajectory(tmp_path, space):
    dataset = weather().isel(sample=0, drop=True).rename(lon=space[0], lat=space[1])
    given = dict(static=("mask",), forcing=("sun",))
    data = opened(dataset, tmp_path / "a.zarr", **given)
    assert data.u.shape == (1, T, X, Y, 3) and data.dt == 21600.0
    np.testing.assert_array_equal(data.u[0, ..., 0], A[0])
    np.testing.assert_array_equal(data.u[0, 2, 1, 1], [A[0, 2, 1, 1], A[0, 0, 1, 1], A[0, 2, 0, 0]])
    assert data.meta["notes"] == ("one trajectory: no axis of samples",)
    line = ups.from_xarray(weather().q.isel(sample=0, lat=0, drop=True).transpose("lon", "time"))
    np.testing.assert_array_equal(line.u[0, ..., 0], A[0, :, :, 0])
    assert line.channels == ("q",) and line.extent == (16.0,)


def test_an_axis_is_known_by_its_coordinates():
    named = weather(dims=("case", "clock", "east", "north"))
    data = ups.from_xarray(named.transpose("case", "clock", "east", "north"))
    assert data.dt == 21600.0 and data.u.shape == (N, T, X, Y, 1)
    first = named.q.isel(case=0, drop=True)
    with pytest.raises(ValueError, match=r"\(clock, east, north\), where samples or space are not"):
        ups.from_xarray(first)
    stated = first.assign_coords(east=np.arange(X) * 1.0, north=np.arange(Y) * 1.0)
    stated.east.attrs["axis"], stated.north.attrs["units"] = "X", "degrees_north"
    assert ups.from_xarray(stated).u.shape == (1, T, X, Y, 1)
    plain = xr.Dataset({"u": (("a", "b", "c"), A[..., 0])})
    np.testing.assert_array_equal(ups.from_xarray(plain).u[..., 0], A[..., 0])


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        (("sample", "lon", "lat"), "none of them is time; rename that axis to 'time'"),
        (("time", "z", "lev", "lon", "lat"), r"with 4 axes of space; .* dataset.isel\(level=0\)"),
        (("time", "group", "lon", "lat"), "rename an axis to 'sample'"),
        (("time", "t", "lon", "lat"), "both time and t are axes of time; expected one"),
        (("sample", "member", "time", "x"), "both sample and member are axes of sample"),
        (("time", "sample"), r"no variable has dimensions \(sample, time, x\)"),
        (("sample", "time", "x", "y", "z", "lev"), "with 4 axes of space"),
    ],
)
def test_axes_that_may_mean_several_things_are_refused(dims, message):
    dataset = xr.Dataset({"q": (dims, np.ones((4,) * len(dims)))})
    with pytest.raises(ValueError, match=message) as refused:
        ups.from_xarray(dataset)
    assert len(str(refused.value).splitlines()) <= 2


def test_a_run_says_that_it_has_one_trajectory(tmp_path):
    weather().isel(sample=0, drop=True).to_zarr(tmp_path / "a.zarr", consolidated=False)
    message = (
        r"a.zarr: the file has 1 samples of 5 frames \(one trajectory: no axis .*\); .* be cut"
    )
    with pytest.raises(ValueError, match=message):
        load_adapted("configs/data.py:smoke", {"data.path": tmp_path / "a.zarr"})


# --- NetCDF


def netcdf4(path, values=A, *, packing=(), units="", dims=DIMS, name="q", axis="time"):
    """Write NetCDF-4 as HDF5: scales of the dimensions, and one variable."""
    scales = {"sample": np.arange(N), axis: np.arange(T), "lon": np.arange(X) * 2.0}
    scales["lat"] = np.arange(Y) * 1.0
    with h5py.File(path, "w") as file:
        for key in dims:
            file[key] = scales[key]
            file[key].make_scale(key)
        if units:
            file[axis].attrs["units"] = units
        file[name] = values
        file[name].attrs.update(dict(packing))
        for i, key in enumerate(dims):
            file[name].dims[i].attach_scale(file[key])
    return path


def test_values_are_unpacked_and_fill_values_are_missing(tmp_path):
    whole = np.round(A * 1000).astype(np.int16)
    packing = dict(scale_factor=1e-3, add_offset=20.0, _FillValue=np.int16(-32768))
    data = ups.load_data(netcdf4(tmp_path / "a.nc", whole, packing=packing))
    np.testing.assert_allclose(data.u[..., 0], whole * 1e-3 + 20.0, rtol=1e-6)
    gap = whole.copy()
    gap[2, 1, 3, 0] = -32768
    with pytest.raises(ValueError, match=r"sample 2 holds NaN .* frame 1 at point \(3, 0\)"):
        ups.load_data(netcdf4(tmp_path / "b.nc", gap, packing=packing))
    scaled = dict(scale_factor=np.array([2.0]), add_offset=100.0)
    data = ups.load_data(netcdf4(tmp_path / "c.nc", packing=scaled))
    np.testing.assert_allclose(data.u[..., 0], 2 * A + 100, rtol=1e-6)
    named = ups.load_data(tmp_path / "c.nc", datasets=("q", "t=time"))
    np.testing.assert_array_equal(named.u, data.u)
    # Bytes above 127 are stored as negative ones.
    unsigned = dict(scale_factor=1.0, _Unsigned="true", missing_value=-1e9)
    data = ups.load_data(netcdf4(tmp_path / "d.nc", np.full(A.shape, -1, "i1"), packing=unsigned))
    assert (data.u == 255).all()
    with pytest.raises(ValueError, match="q holds .* int16; expected floating"):
        ups.load_data(netcdf4(tmp_path / "e.nc", whole))


@pytest.mark.parametrize(
    ("units", "seconds"),
    [("days since 2000-01-01", 86400), ("Hours since 1900-1-1 0:0:0", 3600), ("min", 60),
     ("s", 1), ("1", 1), ("", 1), ("years since 2000-01-01", 365.242198781 * 86400)],
)  # fmt: skip
def test_dt_is_in_seconds_in_every_reader(tmp_path, units, seconds):
    file = ups.load_data(netcdf4(tmp_path / "a.nc", units=units))
    assert file.dt == pytest.approx(seconds, rel=1e-5)
    numbers = weather(np.arange(T) * 1.0)
    numbers.time.attrs.update({"units": units} if units else {})
    assert opened(numbers, tmp_path / "a.zarr").dt == file.dt
    named = ups.load_data(tmp_path / "a.nc", datasets=("q", "t=time", "x=lon", "y=lat"))
    assert (named.dt, named.extent) == (file.dt, file.extent)


def test_netcdf_4_has_the_rules_of_zarr(tmp_path):
    units = "days since 2000-01-01"
    order = ("time", "sample", "lon", "lat")
    path = netcdf4(tmp_path / "a.nc", A.swapaxes(0, 1), dims=order, units=units)
    np.testing.assert_array_equal(ups.load_data(path).u[..., 0], A)
    path = netcdf4(tmp_path / "b.nc", A[0], dims=order[:1] + order[2:], axis="time", units=units)
    np.testing.assert_array_equal(ups.load_data(path).u[0, ..., 0], A[0])
    # ERA5 calls a wind u and its times valid_time.
    dims = ("sample", "valid_time", "lon", "lat")
    wind = ups.load_data(netcdf4(tmp_path / "c.nc", name="u", dims=dims, axis="valid_time"))
    assert wind.u.shape == (N, T, X, Y, 1) and wind.channels == ("u",)


def test_netcdf_3_is_read_as_zarr(tmp_path, monkeypatch):
    dataset = weather()
    dataset["q"].encoding.update(dtype="i2", scale_factor=1e-3, add_offset=1.0, _FillValue=-32768)
    dataset.to_netcdf(tmp_path / "a.nc", engine="scipy")
    assert (tmp_path / "a.nc").read_bytes()[:3] == b"CDF"
    data = ups.load_data(tmp_path / "a.nc")
    np.testing.assert_allclose(data.u[..., 0], A, atol=6e-4)
    np.testing.assert_array_equal(data.cond[:, 0], RE)
    assert (data.dt, data.extent) == (21600.0, (16.0, 4.0))
    with pytest.raises(ValueError, match="data.datasets names datasets of HDF5 and npz"):
        ups.load_data(tmp_path / "a.nc", datasets="q")
    (tmp_path / "b.nc").write_bytes((tmp_path / "a.nc").read_bytes()[:300])
    with pytest.raises(ValueError, match="b.nc: cannot be read .* it is no NetCDF file"):
        ups.load_data(tmp_path / "b.nc")
    monkeypatch.setitem(__import__("sys").modules, "xarray", None)
    with pytest.raises(ValueError, match=r"NetCDF-3 need xarray; pip install 'ups_jax\[xarray\]'"):
        ups.load_data(tmp_path / "a.nc")


def test_falling_coordinates_are_named_with_the_remedy():
    fallen = weather().isel(lat=slice(None, None, -1))
    with pytest.raises(ValueError, match="lat falls from 3 to 0; .* reverse this axis"):
        ups.from_xarray(fallen)
