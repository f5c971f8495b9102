"""Files of each layout that cannot be used, by the command: exit code 2, at most two lines."""

import h5py
import numpy as np
import pytest
import xarray as xr

from fixtures import (
    edited,
    replaced,
    without,
    write_fluid,
    write_groups,
    write_pdebench,
    write_well,
)
from ups_jax.jobs import cli, commands

N, T, X, Y = 10, 5, 8, 8
RNG = np.random.default_rng(0)
A, B = (RNG.normal(size=(N, T, X, Y)).astype(np.float32) for _ in range(2))
DIMS = ("sample", "time", "x", "y")


def tensor(folder):
    return write_pdebench(folder / "a_Nu0.1.h5", A[..., 0])


def fluid(folder):
    fields = {"density": A, "Vx": B, "Vy": B, "pressure": A}
    return write_fluid(folder / "2D_CFD_periodic_8.hdf5", fields)


def groups(folder):
    return write_groups(folder / "2D_diff-react_NA_NA.h5", list(np.stack([A, B], -1)))


def shallow_water(folder):
    return write_groups(folder / "2D_rdb_NA_NA.h5", list(A[..., None]))


def darcy(folder):
    with h5py.File(folder / "darcy.h5", "w") as file:
        file["nu"], file["tensor"] = A[:, 0], B[:, :1]
        file["x-coordinate"] = file["y-coordinate"] = np.arange(8.0)
    return folder / "darcy.h5"


def well(folder):
    return write_well(folder / "well.hdf5", A, np.stack([A, B], -1), np.arange(1.0, N + 1))


def own(folder):
    with h5py.File(folder / "own.h5", "w") as file:
        file["u"], file["boundary"] = A[..., None], ["wall", "wall"]
    return folder / "own.h5"


def netcdf(folder):
    with h5py.File(folder / "a.nc", "w") as file:
        for name, size in zip(DIMS, A.shape, strict=True):
            file[name] = np.arange(size) * 1.0
            file[name].make_scale(name)
        attach(file, "q", A)
        attach(file, "w", B)
    return folder / "a.nc"


def attach(file, name, values):
    if name in file:
        del file[name]
    file[name] = values
    for i, size in enumerate(values.shape):
        axis = DIMS[i] if size == A.shape[i] else "time"
        file[name].dims[i].attach_scale(file[axis])


def hole(name, *place):
    return lambda file: file[name].__setitem__(place, np.nan)


def bc(file):
    file["boundary_conditions/y_wall"].attrs["bc_type"] = "ROBIN"


def npz(**arrays):
    def written(folder):
        np.savez(folder / "a.npz", **dict(u=A[..., None]) | arrays)
        return folder / "a.npz"

    return written


def zarr(dims=DIMS, change=lambda values: values):
    def written(folder):
        dataset = xr.Dataset({"q": (dims, change(A.copy()))})
        dataset.to_zarr(folder / "a.zarr", consolidated=False)
        return folder / "a.zarr"

    return written


def holed(values):
    values[2, 3, 4, 5] = np.nan
    return values


NAN = "sample 2 holds NaN or infinity in float32, first in frame 3"
FILES = [
    ("tensor: missing", edited(tensor, without("x-coordinate")), "no dataset 'x-coordinate'"),
    ("tensor: rank", edited(tensor, replaced("tensor", A[:, 0, 0])), "tensor has shape (10, 8)"),
    ("tensor: NaN", edited(tensor, hole("tensor", 2, 3, 4)), NAN),
    ("fluid: missing", edited(fluid, without("Vx")), "this file no Vx"),
    ("fluid: rank", edited(fluid, replaced("density", A[..., None])), "this file no Vz"),
    ("fluid: NaN", edited(fluid, hole("Vy", 2, 3, 4, 5)), NAN),
    ("fluid: lengths", edited(fluid, replaced("Vy", A[:, :4])), "Vy has shape (10, 4, 8, 8)"),
    ("groups: missing", edited(groups, without("0003/data")), "no dataset '0003/data'"),
    ("groups: rank", edited(groups, replaced("0000/data", A[0, :, 0])), "equal lengths and grids"),
    ("groups: NaN", edited(groups, hole("0002/data", 3, 4, 5, 0)), NAN),
    ("groups: lengths", edited(groups, replaced("0003/data", np.stack([A, B], -1)[3, :4])),
     "sample 3 (/0003/data) has shape (4, 8, 8, 2)"),
    ("shallow water: missing", edited(shallow_water, without("0000/grid/t")), "'0000/grid/t'"),
    ("shallow water: NaN", edited(shallow_water, hole("0002/data", 3, 4, 5, 0)), NAN),
    ("Darcy: rank", edited(darcy, replaced("nu", A[:, 0, :, 0])), "nu has shape (10, 8)"),
    ("Darcy: NaN", edited(darcy, hole("tensor", 2, 0, 4, 5)), "sample 2 holds NaN"),
    ("The Well: missing", edited(well, without("dimensions/time")), "no dataset 'dimensions/time'"),
    (
        "The Well: rank",
        edited(well, replaced("t1_fields/velocity", A[..., 0])),
        "velocity has shape",
    ),
    ("The Well: NaN", edited(well, hole("t0_fields/tracer", 2, 3, 4, 5)), NAN),
    ("The Well: lengths", edited(well, replaced("t0_fields/tracer", A[:, :4])), "of equal sizes"),
    ("The Well: boundary", edited(well, bc), "y_wall has bc_type 'ROBIN'"),
    ("own: missing", edited(own, without("u")), "no known layout; found boundary"),
    ("own: rank", edited(own, replaced("u", A[:, 0, 0])), "u has shape (10, 8)"),
    ("own: NaN", edited(own, hole("u", 2, 3, 4, 5, 0)), NAN),
    ("own: lengths", edited(own, lambda file: file.update(lengths=[1])), "lengths is [1]"),
    (
        "own: boundary",
        edited(own, replaced("boundary", ["robin", "wall"])),
        "unknown boundary 'robin'",
    ),
    ("own: cond", edited(own, lambda file: file.update(cond=np.ones(N))), "cond of shape (10,)"),
    ("NetCDF: rank", edited(netcdf, lambda file: [file.pop("q"), attach(file, "w", A[:, 0, 0])]),
     "no variable has dimensions"),
    ("NetCDF: NaN", edited(netcdf, hole("q", 2, 3, 4, 5)), NAN),
    ("npz: missing", npz(u=A[0, 0, 0, 0]), "u has shape ()"),
    ("npz: rank", npz(u=A[..., 0]), "add a channel axis with u[..., None]"),
    ("npz: NaN", npz(u=holed(A.copy())[..., None]), NAN),
    ("npz: lengths", npz(u=np.array([A[0], A[1, :3]], object)), "ups.padded(list)"),
    ("npz: boundary", npz(boundary=["robin", "wall"]), "unknown boundary 'robin'"),
    ("npz: points", npz(u=A[:, :, :3, :, None]), "the fields have 3 x 8 points"),
    ("npz: copies", npz(u=np.concatenate([A, A])[..., None]), "the same initial condition"),
    ("Zarr: rank", zarr(("sample", "time"), lambda u: u[:, :, 0, 0]), "no variable has dim"),
    ("Zarr: axes", zarr(("sample", "time", "x", "member")), "are axes of sample"),
    ("Zarr: NaN", zarr(change=holed), NAN),
    ("Zarr: no time", zarr(("sample", "x", "y"), lambda u: u[:, 0]), "none of them is time"),
]  # fmt: skip


@pytest.mark.parametrize(("write", "message"), [x[1:] for x in FILES], ids=[x[0] for x in FILES])
def test_a_bad_file_ends_the_command_with_two_lines(write, message, tmp_path, monkeypatch, capsys):
    path = write(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.chdir(tmp_path)
    given = [f"--config.data.path={path}", "--config.operator.patch=1"]
    code = commands.main(["--config=data:smoke", *given, f"--workdir={tmp_path / 'w'}"])
    out, err = capsys.readouterr()
    assert code == cli.BAD_INPUT and out == "", err
    assert len(err.splitlines()) <= 2 and "Traceback" not in err
    assert message in err and str(path) in err
