"""Checkpoints of a stage and of the shipped parameters, through Orbax."""

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
    """A restored checkpoint: the tree, and the notes beside it."""

    tree: Any
    meta: dict[str, Any]


class Checkpoints:
    """A folder that keeps its latest checkpoint, and the one with the lowest value."""

    def __init__(self, folder: Path) -> None:
        """Open `folder`, made where missing."""
        policy = ocp.checkpoint_managers.AnyPreservationPolicy(
            [
                ocp.checkpoint_managers.LatestN(1),
                ocp.checkpoint_managers.BestN(
                    get_metric_fn=lambda metrics: metrics["value"], reverse=True, n=1
                ),
            ]
        )
        # Of several processes the first alone writes and reads, and waits for no other.
        several = jax.process_count() > 1
        alone = ocp.options.MultiprocessingOptions(active_processes={0} if several else None)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policy,
            enable_async_checkpointing=False,
            create=not several,
            multiprocessing_options=alone,
        )
        # Orbax saves nothing, without an error, under a relative path.
        self.folder = folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def __enter__(self) -> Self:
        """Close with the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for what is being written, and let go."""
        self._manager.close()

    def save(self, tree: Any, meta: dict[str, Any], value: float | None = None) -> int:
        """Write the next checkpoint, durable on return; a `value` competes for best."""
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
        """Number that the next checkpoint will have."""
        return (self._manager.latest_step() or 0) + 1

    def latest(self) -> int | None:
        """Number of the latest checkpoint, None where there is none."""
        return self._manager.latest_step()

    def restore(self, number: int, like: Any) -> Checkpoint:
        """Arrays shaped as those of `like`; ValueError where the checkpoint's have other shapes."""
        target = jax.eval_shape(lambda: like)
        args = ocp.args.Composite(
            tree=ocp.args.StandardRestore(target), meta=ocp.args.JsonRestore()
        )
        refusal = (
            f"checkpoint {number} in {self.folder} does not fit this config's model; "
            "use the config it was made with, or --restart"
        )
        try:
            found = self._manager.restore(number, args=args)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{refusal} ({' '.join(str(error).split())[:200]})") from error
        # Orbax hands back arrays of another shape without a word.
        for (path, want), got in zip(
            jax.tree.leaves_with_path(target), jax.tree.leaves(found["tree"]), strict=True
        ):
            if want.shape != got.shape:
                name = jax.tree_util.keystr(path)
                raise ValueError(f"{refusal} ({name}: {got.shape} saved, {want.shape} wanted)")
        return Checkpoint(found["tree"], dict(found["meta"]))
