"""Checkpoints of a stage and of the selected parameters, written by Orbax."""

import logging
import math
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import jax
import numpy as np
import orbax.checkpoint as ocp

logging.getLogger("absl").setLevel(logging.ERROR)


class Checkpoint(NamedTuple):
    """A restored checkpoint: the tree and its metadata."""

    tree: Any
    meta: dict[str, Any]


class Checkpoints:
    """A folder that keeps its latest checkpoint and the one with the lowest value."""

    def __init__(self, folder: Path) -> None:
        """Open `folder`; create it if missing."""
        policy = ocp.checkpoint_managers.AnyPreservationPolicy(
            [
                ocp.checkpoint_managers.LatestN(1),
                ocp.checkpoint_managers.BestN(
                    get_metric_fn=lambda metrics: metrics["value"], reverse=True, n=1
                ),
            ]
        )
        # Only process 0 reads and writes, without a barrier.
        several = jax.process_count() > 1
        primary = ocp.options.MultiprocessingOptions(active_processes={0} if several else None)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policy,
            enable_async_checkpointing=False,
            create=not several,
            multiprocessing_options=primary,
        )
        # Orbax saves nothing, without an error, under a relative path.
        self.folder = folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
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
        self._manager.close()

    def save(self, tree: Any, meta: dict[str, Any], value: float | None = None) -> int:
        """Write the next checkpoint, durable on return; the lowest `value` is kept as best."""
        number = self.next()
        best = value if value is not None and math.isfinite(value) else math.inf
        saved = self._manager.save(
            number,
            args=ocp.args.Composite(
                tree=ocp.args.StandardSave(jax.tree.map(np.asarray, tree)),
                meta=ocp.args.JsonSave(meta),
            ),
            metrics={"value": best},
        )
        self._manager.wait_until_finished()
        if not saved:
            raise OSError(f"checkpoint {number} was not written to {self.folder}")
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
