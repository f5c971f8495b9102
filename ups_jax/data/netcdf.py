"""NetCDF-4 files as HDF5: variables whose axes have the names of dimensions."""

import h5py

from ups_jax.data.named_arrays import stored_variables
from ups_jax.data.stored import Stored, dataset, group, text_of
from ups_jax.data.variables import Variable, variable

BARE = "This is a netCDF dimension but not"
"""Begin of the attribute NAME of a dimension without coordinates."""


def is_netcdf(file: h5py.File) -> bool:
    """Return whether a dataset at the top of a file is a field whose axes are dimensions."""
    own = (key for key in file if isinstance(file.get(key, getlink=True), h5py.HardLink))
    arrays = [array for key in own if isinstance(array := file.get(key), h5py.Dataset)]
    return any(a.ndim > 1 and all(len(scales) for scales in a.dims) for a in arrays)


def open_netcdf(file: h5py.File) -> Stored:
    """Return the fields of a file: see `named_arrays.stored_variables`."""
    arrays = {key: dataset(file, key) for key in _names(file)}
    variables = {key: variable(key, array, _dims(key, array)) for key, array in arrays.items()}
    coordinates = {key: field for key, field in variables.items() if arrays[key].is_scale}
    fields = {key: field for key, field in variables.items() if key not in coordinates}
    return stored_variables(fields, {k: v for k, v in coordinates.items() if not _is_bare(v)})


def _names(file: h5py.File) -> list[str]:
    return [str(key) for key in file if not group(file, str(key))]


def _dims(key: str, array: h5py.Dataset) -> tuple[str, ...]:
    """Return the names of the axes; one without a dimension has a name of its own."""
    if array.is_scale:
        return (key, *(f"{key}_{i}" for i in range(1, array.ndim)))
    return tuple(
        str(scales[0].name).rpartition("/")[2] if len(scales) else f"{key}_{i}"
        for i, scales in enumerate(array.dims)
    )


def _is_bare(scale: Variable) -> bool:
    """Return whether a dimension has no coordinates."""
    return text_of(scale.attrs.get("NAME", "")).startswith(BARE)
