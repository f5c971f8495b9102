"""Values that a user gives, as arrays, numbers and names; refused where they cannot be used."""

from typing import Any

import jax
import numpy as np


def names_of(names: Any) -> tuple[str, ...]:
    """Return names as a tuple; a single name is a string."""
    return (names,) if isinstance(names, str) else tuple(names)


def as_array(x: Any, name: str) -> Any:
    """Return lists and arrays of other libraries as arrays of NumPy. Raises ValueError."""
    # Arrays of xarray and h5py have `dims`, and no functions of JAX.
    if isinstance(getattr(x, "dtype", None), np.dtype) and not hasattr(x, "dims"):
        return x
    try:
        return np.asarray(x)
    except ValueError as error:
        raise ValueError(
            f"{name} holds lists of different lengths; expected one shape: pad trajectories of "
            "different lengths by ups.padded(list)"
        ) from error


def checked_cond(cond: Any, n: int) -> Any:
    """Return PDE parameters (n, p) as floating numbers. Raises ValueError on other values."""
    if cond is None:
        return np.zeros((n, 0), np.float32)
    cond = as_array(cond, "cond")
    if cond.ndim != 2 or cond.shape[0] != n:
        raise ValueError(
            f"cond of shape {cond.shape}: expected ({n}, p), one row for each trajectory"
        )
    cond = float_array(cond.astype(np.float32) if cond.dtype.kind in "iu" else cond, "cond")
    # A float64 value beyond float32 is infinite where the networks compute.
    with np.errstate(over="ignore"):
        bad = ~np.isfinite(np.asarray(cond).astype(np.float32)).all(axis=1)
    if bad.any():
        i = int(np.argmax(bad))
        raise ValueError(f"cond of sample {i} is {np.asarray(cond)[i]}; expected finite numbers")
    return cond


def checked_lengths(lengths: Any, n: int, frames: int) -> np.ndarray | None:
    """Return the frames of each trajectory (n,), None where all have as many. ValueError."""
    if lengths is None:
        return None
    found = np.asarray(lengths)
    fits = found.shape == (n,) and found.dtype.kind in "iu"
    if not fits or found.min() < 2 or found.max() > frames:
        raise ValueError(
            f"lengths is {found}; expected {n} whole numbers from 2 to {frames}, the frames of u"
        )
    return None if found.min() == frames else found


def float_array(x: Any, name: str) -> Any:
    """Return x, half precision as float32. Raises ValueError on what is no floating type."""
    if not jax.numpy.issubdtype(x.dtype, np.floating):
        raise ValueError(f"{name} holds {x.dtype}; expected floats: {name}.astype('float32')")
    return x.astype(np.float32) if x.dtype.itemsize < 4 else x


def positive(name: str, values: Any) -> tuple[float, ...]:
    """Return one number or several as floats. Raises ValueError unless positive and finite."""
    try:
        numbers = tuple(float(x) for x in np.ravel(values))
    except (TypeError, ValueError):
        numbers = (np.nan,)
    if not all(0 < x < np.inf for x in numbers):
        raise ValueError(f"{name} is {values}; it must be positive and finite")
    return numbers
