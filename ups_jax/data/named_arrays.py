"""Fields among arrays with named axes: those of NetCDF and Zarr, and datasets of xarray."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ups_jax.data.axes import SPACE_AXIS, TIME_AXIS, Roles, in_seconds, kind_of, roles_of
from ups_jax.data.static import select_inputs
from ups_jax.data.stored import Stored, decoded, require_numbers, side_by_side, spacing
from ups_jax.data.variables import Variable, variable

SINGLE = "one trajectory: no axis of samples"


def stored_of(dataset: Any, static: Sequence[str] = (), forcing: Sequence[str] = ()) -> Stored:
    """Return an xarray Dataset, or a DataArray, as stored fields: see `stored_variables`."""
    if not hasattr(dataset, "data_vars"):
        dataset = dataset.to_dataset(name=dataset.name or "u")
    variables, coordinates = (
        {str(k): variable(str(k), dataset[k], tuple(map(str, dataset[k].dims))) for k in names}
        for names in (dataset.data_vars, [d for d in dataset.dims if d in dataset.coords])
    )
    return select_inputs(stored_variables(variables, coordinates), static, forcing)


def stored_variables(
    variables: Mapping[str, Variable], coordinates: Mapping[str, Variable]
) -> Stored:
    """Return variables with named axes, and the coordinates of axes by name, as stored fields.

    Channels are the variables of sample, time and one to three axes of space, in any order, with
    the axes of the first of the most dimensions. Names and coordinates give the roles of the axes,
    see `axes.roles_of`; without an axis of samples there is one trajectory. Coordinates give dt and
    extent, else spacings are 1; times with a unit count in seconds. Variables (sample,) are PDE
    parameters, others without time may become static channels, and those of sample and time
    forcing. Raises ValueError if no variable has such axes or their roles are ambiguous.
    """
    axes = {dim for field in variables.values() for dim in field.dims}
    kinds = {dim: kind_of(dim, coordinates.get(dim)) for dim in axes}
    first = _first_field(variables, kinds)
    roles = roles_of(first.name, first.dims, kinds)
    _check_space(first, roles.space)
    own = {name: field for name, field in variables.items() if {*field.dims} == {*first.dims}}
    fields = {name: field.ordered(roles.order) for name, field in own.items()}
    rows = {
        name: field
        for name, field in variables.items()
        if field.dims == (roles.sample,) and field.dtype.kind in "fiu"
    }
    sizes = dict(zip(first.dims, first.shape, strict=True))

    def step(dim: str) -> float:
        if dim not in coordinates:
            return 1.0
        axis = in_seconds(coordinates[dim]) if dim == roles.time else coordinates[dim]
        return spacing(axis, sizes[dim])

    for row in rows.values():
        require_numbers(variable(row.name, decoded(row, row[:]).astype(np.float64)))
    ordered = next(iter(fields.values()))
    return Stored(
        read=side_by_side(fields, len(roles.space)),
        shape=(*ordered.shape, len(fields)),
        dt=step(roles.time),
        extent=tuple(sizes[dim] * step(dim) for dim in roles.space),
        channels=tuple(fields),
        cond={name: decoded(row, row[:]) for name, row in sorted(rows.items())},
        unused=tuple(name for name in variables if name not in {*fields, *rows}),
        further=_further(variables, roles, without={*fields, *rows}),
        notes=(SINGLE,) if roles.sample is None else (),
    )


def _first_field(variables: Mapping[str, Variable], kinds: Mapping[str, str | None]) -> Variable:
    """Return the first variable of the most axes that may be a field."""

    def count(field: Variable, kind: str) -> int:
        return sum(kinds[dim] == kind for dim in field.dims)

    timed = [field for field in variables.values() if count(field, TIME_AXIS)]
    # With one axis next to time this may be a series of each sample.
    long = [field for field in timed if field.ndim > 2 or count(field, SPACE_AXIS)]
    usual = [field for field in variables.values() if field.ndim > 2]
    candidates = long or usual
    flat = [f for f in candidates if f.ndim < 5 and count(f, SPACE_AXIS) < 3] or candidates
    if not flat:
        dims = ", ".join(f"{name} {field.dims}" for name, field in variables.items()) or "none"
        raise ValueError(
            "no variable has dimensions (sample, time, x) to (sample, time, x, y, z); variables: "
            f"{dims}; dataset.expand_dims and transpose add and order dimensions"
        )
    return max(flat, key=lambda field: field.ndim)


def _check_space(field: Variable, space: Sequence[str]) -> None:
    """Raise ValueError unless a field has one to three axes of space."""
    if len(space) not in (1, 2, 3):
        raise ValueError(
            f"{field.name} has dimensions ({', '.join(field.dims)}) with {len(space)} axes of "
            "space; one to three are supported: select a part, such as dataset.isel(level=0)"
        )


def _further(
    variables: Mapping[str, Variable], roles: Roles, *, without: set[str]
) -> dict[str, Variable]:
    """Return variables that may be static (*s), (n, *s), or forcing (n, t, ...), in this order."""
    lead, found = (roles.sample,) if roles.sample else (), {}
    for name, field in variables.items():
        axes = {*field.dims}
        rest = [dim for dim in field.dims if dim not in roles.order]
        if name in without:
            continue
        if axes in ({*roles.space}, {*lead, *roles.space}):
            found[name] = field.ordered([dim for dim in roles.order if dim in axes])
        elif {*lead, roles.time} <= axes:
            space = [dim for dim in roles.space if dim in axes]
            found[name] = field.ordered((*roles.order[:2], *space, *rest))
    return found
