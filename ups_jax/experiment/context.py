"""Options, resume state and context of a run."""

import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ups_jax.config import split_path
from ups_jax.emulator import Emulator
from ups_jax.experiment.checkpoint import Checkpoint
from ups_jax.experiment.datasets import Splits
from ups_jax.experiment.signals import StopFlag
from ups_jax.experiment.trained import Origin
from ups_jax.progress import ProgressBar
from ups_jax.sharding import Mesh
from ups_jax.stages import STAGES
from ups_jax.tracking import Position
from ups_jax.tracking.schema import SERIES, Schema


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Settings of one run besides its config: where it writes, how it starts, how it exits."""

    config: str
    """Path of the config file, with an optional `:variant`."""
    overrides: Mapping[str, str] = field(default_factory=dict)
    """Text of every `--config.KEY=VALUE`, by key."""
    workdir: Path | None = None
    """Folder of the run; None: `default_workdir(config)`."""
    wandb_mode: str | None = None
    """online, offline or disabled; None: $WANDB_MODE, else by the presence of a W&B key."""
    restart: bool = False
    """Move an existing folder away instead of resuming from it."""
    dry_run: bool = False
    fail_on_gate: bool = False
    fail_on_regression: bool = False
    coordinator: str | None = None
    """HOST:PORT of process 0, or auto; None: $JAX_COORDINATOR_ADDRESS, else a single process."""
    num_processes: int | None = None
    process_id: int | None = None
    wait_s: int = 120
    """Seconds to wait for the other processes: compute nodes do not all start at once."""


def default_workdir(config: str) -> Path:
    """Return runs/<config> for the default variant, else runs/<config>-<variant>."""
    file, variant = split_path(config)
    stem = Path(file).stem
    return Path("runs") / (stem if variant == "default" else f"{stem}-{variant}")


def resume_command() -> str:
    """Return the command that resumes this process's run, quoted for a shell."""
    program = Path(sys.argv[0])
    start = {"__main__.py": "python -m ups_jax", "ups": "ups"}.get(
        program.name, f"python {shlex.quote(os.path.relpath(program))}"
    )
    return f"{start} {shlex.join(word for word in sys.argv[1:] if word != '--restart')}"


@dataclass(frozen=True)
class ResumeState:
    """Newest checkpoint of each stage, in their order, from earlier segments of a run."""

    saved: Mapping[str, Checkpoint] = field(default_factory=dict)

    @property
    def position(self) -> Position:
        """End of the series at the time of the newest checkpoint."""
        if not self.saved:
            return Position()
        newest = self._newest
        steps = {STAGES[name].series: saved.meta["step"] for name, saved in self.saved.items()}
        return Position(newest["offset"], newest.get("rows_digest"), steps)

    @property
    def wall(self) -> dict[str, float]:
        """Seconds of earlier segments, and of their data generation."""
        return dict(self._newest["wall"]) if self.saved else {}

    @property
    def _newest(self) -> dict[str, Any]:
        """Metadata of the last stage's checkpoint: stages are trained one after another."""
        return list(self.saved.values())[-1].meta


@dataclass
class RunContext:
    """Config, emulator, workdir, data, devices and signals of one run."""

    cfg: Any
    emulator: Emulator
    workdir: Path
    options: RunOptions
    stop: StopFlag
    began: float
    bar: ProgressBar
    mesh: Mesh
    notes: Sequence[str] = ()
    """Sentences on what the config file has and overrides have switched off."""
    splits: Splits | None = None
    origin: Origin | None = None
    resumed: ResumeState = field(default_factory=ResumeState)
    wall: dict[str, float] = field(default_factory=dict)
    variants: list[list[Any]] = field(default_factory=list)
    lock: AbstractContextManager[Any] = field(default_factory=nullcontext)

    def elapsed(self) -> float:
        """Return the seconds of the run so far, with those of earlier segments."""
        return self.wall.get("earlier_s", 0.0) + time.monotonic() - self.began

    def schema(self) -> Schema:
        """Return the series that the stages of the run may log."""
        stages = [STAGES[name] for name in self.cfg.stages]
        scalars = [name for stage in stages for name in stage.scalars]
        return Schema(tuple(stage.series for stage in stages), (*SERIES, *scalars))
