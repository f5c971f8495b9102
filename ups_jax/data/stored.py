"""Fields that a file holds, not yet read: their datasets, coordinates and channels."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import h5py
import numpy as np

AXIS_NAMES = ("x", "y", "z")
FIELDS = ("u", "cond", "dt", "extent", "channels", "origin", "params", "pde", "boundary", "static")
FIELDS += ("steady", "lengths", "forcing")
"""Arrays of this library's files: the fields of Trajectories by name."""
PACKING = ("scale_factor", "add_offset")
"""Attributes of NetCDF for values that are stored as (value - add_offset) / scale_factor."""
FILE_PARAMETERS = ("beta", "eta", "m", "nu", "rho", "zeta")
"""PDE parameters of PDEBench, as attributes and in file names."""


class Stored(NamedTuple):
    """Fields of an open file, not yet read, and what the file states about them.

    `read(first, last)` returns samples first to last - 1 as (m, t, *s, c); `cond` maps the names of
    PDE parameters to (n,). `unused` names datasets that are left out. `static` and `forcing` name
    channels that are inputs, and `further` maps names to arrays that may become such channels:
    static fields (*s) or (n, *s), and forcing (n, t, ...). `steady` and `lengths` are those of
    Trajectories. The names in `cond` are made up where it is `unnamed`. dt and extent have `digits`
    significant ones, by default those of float32 coordinates. `origin` is what the file states
    about its own source, and `notes` are sentences on what is not as usual.
    """

    shape: tuple[int, ...]
    read: Callable[[int, int], np.ndarray]
    dt: float
    extent: tuple[float, ...]
    channels: tuple[str, ...]
    cond: Mapping[str, np.ndarray] = {}
    boundary: tuple[str, ...] = ()
    pde: str = ""
    unused: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    steady: bool = False
    further: Mapping[str, Any] = {}
    lengths: np.ndarray | None = None
    forcing: tuple[str, ...] = ()
    unnamed: bool = False
    digits: int = 6
    origin: str = ""
    notes: tuple[str, ...] = ()


def dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """Return a dataset that is stored in the file itself, not linked from elsewhere."""
    # A link or external storage may lead to any file that the user can read.
    parts, link = name.strip("/").split("/"), None
    for depth in range(1, len(parts) + 1):
        link = file.get("/".join(parts[:depth]), getlink=True)
        if not isinstance(link, h5py.HardLink):
            break
    found = file.get(name) if isinstance(link, h5py.HardLink) else None
    if isinstance(found, h5py.Dataset) and not (found.external or found.is_virtual):
        return found
    if link is not None:
        raise ValueError(
            f"{name!r} is a link, external or no dataset; only data stored in the file itself "
            "are read: copy them there"
        )
    raise ValueError(f"no dataset {name!r}; found {listed(file)}")


def group(file: h5py.File, name: str) -> Mapping[str, Any]:
    """Return a group that is stored in the file itself, empty if there is none."""
    link = file.get(name, getlink=True)
    if link is not None and not isinstance(link, h5py.HardLink):
        raise ValueError(f"{name!r} is a link; only data stored in the file itself are read")
    found = file.get(name)
    return found if isinstance(found, h5py.Group) else {}


def spacing(axis: Any, count: int, *, spare: int = 0) -> float:
    """Return the spacing of `count` equidistant coordinates; the axis may have `spare` more.

    `axis` is a dataset of HDF5, or an array of xarray.
    """
    name = str(axis.name).strip("/")
    if axis.ndim != 1 or not count <= axis.shape[0] <= count + spare:
        allowed = f"({count},)" + (f" or ({count + spare},)" if spare else "")
        raise ValueError(f"{name} has shape {axis.shape}; expected {allowed}, one for each point")
    if count < 2:
        raise ValueError(f"{name} has one frame or one point; expected two or more")
    if axis.dtype.kind not in "fiu":
        raise ValueError(f"{name} holds {axis.dtype}; expected numbers, one for each point")
    values = np.asarray(decoded(axis, np.asarray(axis[:count])), np.float64)
    step = (values[-1] - values[0]) / (count - 1)
    if np.allclose(np.diff(values), step, rtol=5e-3, atol=0) and step < 0:
        raise ValueError(
            f"{name} falls from {values[0]:.3g} to {values[-1]:.3g}; expected rising coordinates: "
            "reverse this axis of the coordinates and of all fields"
        )
    if not step > 0 or not np.allclose(np.diff(values), step, rtol=5e-3, atol=0):
        raise ValueError(
            f"{name} is not evenly spaced and rising (from {values.min():.3g} to "
            f"{values.max():.3g} by {step:.3g} on average); resample the data on a uniform grid"
        )
    return float(step)


def six_digits(x: float) -> float:
    """Return a number with six significant digits, the precision of float32 coordinates."""
    return float(f"{x:.6g}")


def side_by_side(fields: Mapping[str, Any], ndim: int) -> Callable[[int, int], np.ndarray]:
    """Return the reader of datasets (n, t, *s) or (n, t, *s, c) as the channels of one field.

    Fill values that their attributes name, as those of NetCDF do, are NaN. Raises ValueError where
    their shapes differ.
    """
    first = next(iter(fields))
    for name, field in fields.items():
        require_numbers(field)
        if field.ndim not in (2 + ndim, 3 + ndim) or (
            field.shape[: 2 + ndim] != fields[first].shape[: 2 + ndim]
        ):
            raise ValueError(
                f"{name} has shape {field.shape}, {first} {fields[first].shape}; expected "
                f"(sample, time, {', '.join(AXIS_NAMES[:ndim])}) of equal sizes"
            )

    def read(start: int, stop: int) -> np.ndarray:
        blocks = (decoded(field, np.asarray(field[start:stop])) for field in fields.values())
        return np.concatenate([b if b.ndim > 2 + ndim else b[..., None] for b in blocks], axis=-1)

    return read


def is_packed(field: Any) -> bool:
    """Return whether a dataset holds scaled values, by NetCDF's attributes."""
    attrs = getattr(field, "attrs", {})
    return field.dtype.kind in "fiu" and any(name in attrs for name in PACKING)


def decoded(field: Any, block: np.ndarray) -> np.ndarray:
    """Return a block of a dataset as numbers, with NaN in place of its fill values.

    Values are scaled by `scale_factor` and `add_offset`. CF conventions 1.11, 2.5.1 and 8.1.
    """
    attrs, packed = getattr(field, "attrs", {}), is_packed(field)
    if block.dtype.kind != "f" and not packed:
        return block
    gaps = np.zeros(block.shape, bool)
    for name in ("_FillValue", "missing_value"):
        values = np.ravel(attrs.get(name, ()))
        values = values if values.dtype.kind in "fiu" else np.zeros(0)
        # In the file's type: 1e20 and -999.9 are other numbers in double precision.
        with np.errstate(invalid="ignore"):
            own = values.astype(block.dtype)
        for value in own if block.dtype.kind == "f" else own[own == values]:
            gaps |= block == value
    if block.dtype.kind == "i" and text_of(attrs.get("_Unsigned", "")) == "true":
        block = block.view(block.dtype.str.replace("i", "u"))
    if packed:
        scale, offset = (
            float(np.ravel(attrs.get(name, default))[0])
            for name, default in zip(PACKING, (1.0, 0.0), strict=True)
        )
        block = block * scale + offset
    return np.where(gaps, np.nan, block).astype(block.dtype) if gaps.any() else block


def pair_frames(a: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Return the two frames of pairs a (n, *s, e) -> u (n, *s, c): (n, 2, *s, c + e)."""
    fields = np.stack([np.zeros_like(u), u], 1)
    return np.concatenate([fields, np.stack([a, a], 1).astype(u.dtype)], -1)


def width_of(field: h5py.Dataset, ndim: int) -> int:
    """Return the number of channels of a dataset (n, t, *s) or (n, t, *s, c)."""
    return field.shape[-1] if field.ndim > 2 + ndim else 1


def component_names(fields: Mapping[str, h5py.Dataset], axes: Sequence[str]) -> Iterable[str]:
    """Yield the names of the channels: those of scalar datasets, and of components by axis."""
    for name, field in fields.items():
        width = width_of(field, len(axes))
        parts = axes if width == len(axes) else [str(i) for i in range(width)]
        yield from [name] if width == 1 else [f"{name}_{part}" for part in parts]


def require_numbers(field: Any) -> None:
    """Raise ValueError unless a dataset holds floating or packed numbers, at least one."""
    if field.dtype.kind != "f" and not is_packed(field) or 0 in field.shape:
        raise ValueError(
            f"{str(field.name).strip('/')} holds {field.shape} {field.dtype}; expected floating "
            "numbers, at least one"
        )


def listed(file: h5py.File) -> str:
    """Return the first names of a file as text."""
    names = sorted(map(str, file))
    text = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return text or "nothing"


def text_of(value: Any) -> str:
    """Return an attribute of text, bytes or not, as a string."""
    return value.decode() if isinstance(value, bytes) else str(value)


def names_in(array: Any) -> tuple[str, ...]:
    """Return the names in an array of text; one of numbers has none."""
    values = np.ravel(array)
    return () if values.dtype.kind in "fiub" else tuple(map(text_of, values))


def parameters(attrs: Mapping[str, Any], name: str, nu: float | None) -> dict[str, float]:
    """Return the PDE parameters of attributes, else of the file's name, else `nu`."""
    named = re.findall(r"_([a-z]+)(\d+(?:\.\d+)?(?:e-?\d+)?)", name, re.IGNORECASE)
    written: dict[str, Any] = {key.lower(): value for key, value in named}
    written |= {key.lower(): value for key, value in attrs.items()}
    written = {key: value for key, value in written.items() if key in FILE_PARAMETERS}
    if nu is not None:
        written.setdefault("nu", nu)
    values = {key: _number(key, value) for key, value in sorted(written.items())}
    if nu is not None and not np.isclose(values["nu"], nu, rtol=1e-5):
        raise ValueError(f"nu={nu} was given, but the file has {values['nu']}; omit nu")
    return values


def with_nu(stored: Stored, nu: float | None) -> Stored:
    """Return stored fields with the parameter nu of all samples, if it is given.

    Raises ValueError where the file states another, or parameters without names.
    """
    if nu is None:
        return stored
    if stored.unnamed and stored.cond:
        raise ValueError(f"nu={nu} was given, but the file has parameters without names; omit nu")
    own = next((x for name, x in stored.cond.items() if name.lower() == "nu"), None)
    if own is None:
        column = np.full(stored.shape[0], nu)
        return stored._replace(cond={**stored.cond, "nu": column}, unnamed=False)
    if not np.allclose(own, nu, rtol=1e-5):
        raise ValueError(f"nu={nu} was given, but the file has {np.ravel(own)[0]:g}; omit nu")
    return stored


def _number(name: str, value: Any) -> float:
    try:
        number = float(np.asarray(value, np.float64).reshape(()))
    except (TypeError, ValueError):
        number = float("nan")
    if not 0 < number < float(np.finfo(np.float32).max):
        label = name.capitalize()
        raise ValueError(f"{label} is {value}; expected a positive number, as attribute {label!r}")
    return number
