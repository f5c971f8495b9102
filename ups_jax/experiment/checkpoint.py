"""Checkpoints of a stage and of the selected parameters, written by Orbax."""

import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import jax
import numpy as np
import orbax.checkpoint as ocp

from ups_jax.files import folder_digest, read_text, write_text

DIGEST = "digest"
"""File in the folder of a checkpoint: the digest of its subfolder for the arrays and notes."""


class Checkpoint(NamedTuple):
    """A restored checkpoint: the tree and its metadata."""

    tree: Any
    meta: dict[str, Any]


def newest_intact(folder: Path) -> tuple[int | None, list[Path]]:
    """Return the number of the newest checkpoint whose files are intact, and newer damaged ones.

    A checkpoint without a digest counts as intact: older versions wrote none.
    """
    paths = [path for path in folder.iterdir() if path.name.isdecimal()]
    damaged = []
    for path in sorted(paths, key=lambda path: int(path.name), reverse=True):
        if _is_intact(path):
            return int(path.name), damaged
        damaged.append(path)
    return None, damaged


def _is_intact(path: Path) -> bool:
    """Return True if the files of a checkpoint are those that were written."""
    if not path.is_dir():
        return False
    if not (path / DIGEST).exists():
        return True
    try:
        return read_text(path / DIGEST) == _digest(path)
    except (ValueError, OSError):
        return False


def _digest(path: Path) -> str:
    return folder_digest(path, without=DIGEST)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence absl, to which Orbax logs its routine, and errors that it raises as well."""
    logger = logging.getLogger("absl")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _without_late_errors() -> Iterator[None]:
    """Drop the errors of writes that are pending when another fails and Orbax closes its loop.

    TensorStore's threads report them to `sys.unraisablehook` and asyncio logs them, also after the
    save has ended, so they are reported again only if there is no error.
    """
    before, logger = sys.unraisablehook, logging.getLogger("asyncio")

    def report(failure: Any) -> None:
        if str(failure.exc_value) != "Event loop is closed":
            before(failure)

    def keep(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Task exception was never retrieved")

    sys.unraisablehook = report
    logger.addFilter(keep)
    yield
    sys.unraisablehook = before
    logger.removeFilter(keep)


class Checkpoints:
    """A folder that keeps its latest checkpoint, and the one before it."""

    def __init__(self, folder: Path) -> None:
        """Open `folder`; create it if missing."""
        # Only process 0 reads and writes, without a barrier.
        several = jax.process_count() > 1
        primary = ocp.options.MultiprocessingOptions(active_processes={0} if several else None)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=ocp.checkpoint_managers.LatestN(2),
            enable_async_checkpointing=False,
            create=not several,
            multiprocessing_options=primary,
        )
        # Orbax saves nothing, without an error, under a relative path.
        self.folder = folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        with _quiet():
            self._manager = ocp.CheckpointManager(self.folder, options=options)

    def __enter__(self) -> Self:
        """Return the checkpoints."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for pending writes and close."""
        with _quiet():
            self._manager.close()

    def save(self, tree: Any, meta: dict[str, Any]) -> int:
        """Write the next checkpoint with its digest, durable on return; return its number."""
        number = self.next()
        try:
            with _quiet(), _without_late_errors():
                saved = self._manager.save(
                    number,
                    args=ocp.args.Composite(
                        tree=ocp.args.StandardSave(jax.tree.map(np.asarray, tree)),
                        meta=ocp.args.JsonSave(meta),
                    ),
                )
                self._manager.wait_until_finished()
        except ValueError as error:
            # TensorStore's error of a full disk.
            if code := re.search(r"os_error_code='(\d+)'", str(error)):
                number = int(code[1])
                raise OSError(number, os.strerror(number), str(self.folder)) from error
            raise
        if not saved:
            raise OSError(f"checkpoint {number} was not written to {self.folder}")
        path = self.folder / str(number)
        write_text(path / DIGEST, _digest(path))
        return number

    def next(self) -> int:
        """Number of the next checkpoint."""
        return (self._manager.latest_step() or 0) + 1

    def latest(self) -> int | None:
        """Number of the latest checkpoint; None if there is none."""
        return self._manager.latest_step()

    def restore(self, number: int, like: Any) -> Checkpoint:
        """Restore a checkpoint with the tree and shapes of `like`. Raises ValueError on others."""
        target = jax.eval_shape(lambda: like)
        args = ocp.args.Composite(
            tree=ocp.args.StandardRestore(target), meta=ocp.args.JsonRestore()
        )
        refusal = (
            f"checkpoint {number} in {self.folder} does not fit this config's model; "
            "use the config it was made with, or --restart"
        )
        try:
            with _quiet():
                restored = self._manager.restore(number, args=args)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{refusal} ({' '.join(str(error).split())[:200]})") from error
        # Orbax may restore arrays of another shape without an error.
        for (path, want), got in zip(
            jax.tree.leaves_with_path(target), jax.tree.leaves(restored["tree"]), strict=True
        ):
            if want.shape != got.shape:
                name = jax.tree_util.keystr(path)
                raise ValueError(f"{refusal} ({name}: {got.shape} saved, {want.shape} wanted)")
        return Checkpoint(restored["tree"], dict(restored["meta"]))
