"""A run that may begin: everything that bad input could spoil has been looked at."""

from argparse import Namespace
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ups_jax.emulator import Emulator
from ups_jax.experiment.checkpoint import Checkpoint
from ups_jax.experiment.datasets import Splits
from ups_jax.experiment.signals import StopFlag
from ups_jax.progress import ProgressBar
from ups_jax.sharding import Mesh


@dataclass(frozen=True)
class ResumeState:
    """What earlier segments of a run left: each stage's newest checkpoint."""

    saved: Mapping[str, Checkpoint] = field(default_factory=dict)

    @property
    def offset(self) -> int:
        """Bytes of metrics.jsonl that the newest checkpoint vouches for."""
        return max((saved.meta["offset"] for saved in self.saved.values()), default=0)

    @property
    def wall(self) -> dict[str, float]:
        """Seconds that earlier segments took, and their data generation."""
        notes = [saved.meta for saved in self.saved.values()]
        return dict(max(notes, key=lambda note: note["offset"])["wall"]) if notes else {}


@dataclass
class RunContext:
    """One run: its config and simulator, its folder and data, and what stops or shows it."""

    cfg: Any
    emulator: Emulator
    workdir: Path
    args: Namespace
    stop: StopFlag
    began: float
    bar: ProgressBar
    mesh: Mesh
    splits: Splits | None = None
    resumed: ResumeState = field(default_factory=ResumeState)
    wall: dict[str, float] = field(default_factory=dict)
    variants: list[list[Any]] = field(default_factory=list)
    lock: AbstractContextManager[Any] = field(default_factory=nullcontext)
