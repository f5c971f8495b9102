"""Arrays with named axes, read in rows and in the order of axes that trajectories have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Variable:
    """An array whose axes have the names `dims`, read in that order of axes, in rows of the first.

    `source` is an array of NumPy, h5py or xarray; `axes` gives its axis for each of `dims`, or None
    for an axis of length one that it does not have.
    """

    name: str
    dims: tuple[str, ...]
    source: Any
    axes: tuple[int | None, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return tuple(1 if axis is None else self.source.shape[axis] for axis in self.axes)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.axes)

    @property
    def dtype(self) -> Any:
        """Type of the values as they are stored."""
        return self.source.dtype

    @property
    def attrs(self) -> Mapping[str, Any]:
        """Attributes, such as those of packed values; NumPy's arrays have none."""
        return getattr(self.source, "attrs", {})

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Return rows of the first axis."""
        at = [slice(None)] * len(self.source.shape)
        first = self.axes[0] if self.axes else None
        if first is not None:
            at[first] = rows
        block = np.asarray(self.source[tuple(at)])
        block = block.transpose([axis for axis in self.axes if axis is not None])
        missing = tuple(i for i, axis in enumerate(self.axes) if axis is None)
        block = np.expand_dims(block, missing)
        return block[rows] if missing[:1] == (0,) else block

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def ordered(self, dims: Sequence[str]) -> "Variable":
        """Return the array with its axes in another order; axes that it lacks have length one."""
        axes = dict(zip(self.dims, self.axes, strict=True))
        return Variable(self.name, tuple(dims), self.source, tuple(axes.get(d) for d in dims))


def variable(name: str, source: Any, dims: Sequence[str] = ()) -> Variable:
    """Return an array as a variable; without names its axes are numbered."""
    names = tuple(dims) or tuple(f"dim_{i}" for i in range(len(source.shape)))
    return Variable(name, names, source, tuple(range(len(source.shape))))
