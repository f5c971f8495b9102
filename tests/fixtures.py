"""Files as others write them: PDEBench's official HDF5 layout of one-dimensional Burgers."""

from pathlib import Path

import h5py
import numpy as np


def write_pdebench(
    path: Path | str,
    u: np.ndarray,
    *,
    nu: float | None = 1e-3,
    dt: float = 0.01,
    length: float = 1.0,
    spare_time: int = 1,
    x: np.ndarray | None = None,
    t: np.ndarray | None = None,
    leave_out: tuple[str, ...] = (),
) -> Path:
    """Write u (N, T, X) or (N, T, X, c) with its coordinates; `nu` None leaves the attribute out.

    `t-coordinate` is `spare_time` longer than T, as in the official files. `x`, `t` replace the
    coordinates, `leave_out` names datasets that are not written.
    """
    frames, points = u.shape[1:3]
    datasets = {
        "tensor": u.astype(np.float32),
        "x-coordinate": (np.arange(points) + 0.5) * length / points if x is None else x,
        "t-coordinate": np.arange(frames + spare_time) * dt if t is None else t,
    }
    with h5py.File(path, "w") as file:
        for name, value in datasets.items():
            if name not in leave_out:
                file[name] = value.astype(np.float32)
        if nu is not None:
            file.attrs["Nu"] = nu
    return Path(path)
