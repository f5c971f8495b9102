"""The Optuna study of a sweep: it chooses trials, records their results, and enters the winner."""

import os
import sqlite3
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ups_jax import config, leaderboard
from ups_jax.experiment import workdir
from ups_jax.experiment.context import RunOptions
from ups_jax.experiment.signals import StopFlag
from ups_jax.files import read_json, write_json
from ups_jax.jobs.cli import BAD_INPUT, DIVERGED
from ups_jax.jobs.sweep.space import Space, text
from ups_jax.jobs.sweep.trial import follow
from ups_jax.leaderboard.page import write_page

BOARD_FILE = "leaderboard.jsonl"


@dataclass(frozen=True, kw_only=True)
class SweepOptions(RunOptions):
    """Options of every run of a sweep, and of the sweep."""

    sweep: Sequence[str] = ()
    """KEY=A,B,... or KEY=LOW:HIGH[:log], one per key."""
    trials: int | None = None
    name: str | None = None
    """None: named after the config."""
    program: Sequence[str] = (sys.executable, "-m", "ups_jax")
    """The command that trains one trial."""


@dataclass(frozen=True)
class Command:
    """Trials to run one after another, and their folder."""

    cfg: Any
    space: Space
    folder: Path
    options: SweepOptions
    stop: StopFlag


def import_optuna() -> Any:
    """Return Optuna. ValueError with the command that installs it, if it is missing."""
    try:
        import optuna
    except ImportError as error:
        raise ValueError(
            "a sweep over these keys needs Optuna; run pip install 'ups_jax[sweep]'"
        ) from error
    return optuna


def resumes(command: Command) -> bool:
    """Return True if the folder has this sweep, perhaps with older keys. ValueError if another."""
    record, saved = _record(command), read_json(command.folder / "sweep.json", None)
    if saved is None:
        return False
    changed = [f"--sweep {word}" for word in saved["sweep"] if word not in record["sweep"]]
    changed += [f"--sweep {word}" for word in record["sweep"] if word not in saved["sweep"]]
    changed += config.difference(saved["config"], record["config"])
    if changed:
        raise ValueError(
            f"{command.folder} has a different sweep ({changed[0]}); choose another --name"
        )
    return True


def _record(command: Command) -> dict[str, Any]:
    return {"sweep": sorted(command.options.sweep), "config": config.to_dict(command.cfg)}


def run(command: Command) -> int:
    """Run all unfinished trials, then enter the winner -> exit code."""
    folder, space = command.folder, command.space
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "sweep.json", _record(command))
    optuna, study = _open_study(command)
    state = optuna.trial.TrialState
    # Trials that ran when the parent was killed resume first, in their folders.
    for interrupted in study.get_trials(states=[state.RUNNING]):
        if code := _run_trial(command, study, optuna.Trial(study, interrupted._trial_id), state):
            return code
    if not space.ranges:
        for values in space.corners():
            study.enqueue_trial(values, skip_if_exists=True)

    def unfinished() -> bool:
        if space.ranges:
            return len(study.get_trials(deepcopy=False)) < (command.options.trials or 0)
        return bool(study.get_trials(states=[state.WAITING]))

    while unfinished():
        if code := _run_trial(command, study, study.ask(), state):
            return code
    return _finish(command, study)


def _open_study(command: Command) -> tuple[Any, Any]:
    from sqlalchemy.pool import NullPool

    optuna = import_optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # A URL would read a ? or % in the path as its own.
    file = command.folder.resolve() / "study.db"
    storage = optuna.storages.RDBStorage(
        "sqlite://", engine_kwargs={"creator": lambda: sqlite3.connect(file), "poolclass": NullPool}
    )
    return optuna, optuna.create_study(
        storage=storage,
        study_name=command.folder.name,
        sampler=optuna.samplers.TPESampler(seed=command.cfg.seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3),
        direction="minimize",
        load_if_exists=True,
    )


def _run_trial(command: Command, study: Any, trial: Any, state: Any) -> int:
    """Start or resume one trial -> 0, or the exit code that ends the sweep."""
    overrides = _suggest(command.space, trial)
    folder = command.folder / f"trial-{trial.number:04d}"
    log = command.folder / f"{folder.name}.log"
    reported = set(study.get_trials(deepcopy=False)[trial.number].intermediate_values)
    values = " ".join(f"{key}={value}" for key, value in overrides.items())
    print(f"trial {trial.number}: {values}", file=sys.stderr, flush=True)

    def prune(step: int, error: float) -> bool:
        if step not in reported:
            trial.report(error, step)
        return trial.should_prune()

    _wait_for_lock(folder, command.stop)
    if command.stop():
        return command.stop.code
    code, pruned = follow(
        _trial_command(command, folder, overrides),
        log,
        folder / "metrics.jsonl",
        prune=prune,
        stop=command.stop,
    )
    error = read_json(folder / "summary.json", {}).get(leaderboard.RANKING_METRIC)
    if command.stop() and code != 0:
        return command.stop.code
    if code == 0 and error is not None:
        study.tell(trial, error)
    elif pruned and code == 143:
        study.tell(trial, state=state.PRUNED)
    elif code in (0, DIVERGED):
        study.tell(trial, state=state.FAIL)
    else:
        last = (log.read_text().strip().splitlines() or ["no output"])[-1]
        print(f"error: trial {trial.number} ended with code {code}: {last}", file=sys.stderr)
        return BAD_INPUT if code == BAD_INPUT else 1
    result = "pruned" if pruned and code == 143 else "failed" if error is None else f"{error:.4g}"
    print(f"trial {trial.number}: {result}", file=sys.stderr, flush=True)
    return 0


def _wait_for_lock(folder: Path, stop: StopFlag) -> None:
    """Wait for a trial that still runs although its parent was killed."""
    if holder := workdir.lock_holder(folder):
        print(f"{holder} still runs {folder.name}; waiting for it", file=sys.stderr, flush=True)
    while workdir.lock_holder(folder) and not stop():
        time.sleep(1.0)


def _suggest(space: Space, trial: Any) -> dict[str, str]:
    values = {key: trial.suggest_categorical(key, texts) for key, texts in space.lists.items()}
    for key, (low, high, log) in space.ranges.items():
        if low == int(low) and high == int(high):
            values[key] = text(trial.suggest_int(key, int(low), int(high), log=log))
        else:
            values[key] = text(trial.suggest_float(key, low, high, log=log))
    return values


def _trial_command(command: Command, folder: Path, overrides: dict[str, str]) -> list[str]:
    options = command.options
    all_overrides = {
        **options.overrides,
        **overrides,
        "log.group": command.folder.name,
        "leaderboard.path": str(command.folder / BOARD_FILE),
    }
    words = [*options.program, "--config", options.config, "--workdir", str(folder)]
    if options.wandb_mode:
        words += ["--wandb_mode", options.wandb_mode]
    return [*words, *(f"--config.{key}={value}" for key, value in all_overrides.items())]


def _finish(command: Command, study: Any) -> int:
    """Print all trials, and enter the best one without a failed gate in the leaderboard."""
    for trial in sorted(study.get_trials(), key=lambda t: (t.value is None, t.value or 0.0)):
        result = trial.state.name.lower() if trial.value is None else f"{trial.value:.5g}"
        print(f"{result:>10}  trial-{trial.number:04d}  {trial.params}")
    rows = leaderboard.read(command.folder / BOARD_FILE).runs
    passed = [row for row in rows if not (row.get("gates") or {}).get("failed")]
    boards = {row["board"] for row in passed}
    if len(boards) != 1:
        reason = "trials belong to different boards" if boards else "every trial fails a gate"
        print(f"{reason}; no winner is entered", file=sys.stderr)
        return 0
    winner = leaderboard.ranked(passed, passed[0]["board"])[0]
    print(f"winner: {winner['name']} ({winner['id']})")
    _enter_winner(command, winner)
    return 0


def _enter_winner(command: Command, row: leaderboard.Row) -> None:
    spec, folder = command.cfg.leaderboard, command.folder
    runs = folder.parent if command.options.workdir else folder.parent.parent
    path = Path(spec.path).expanduser() if spec.path else runs / BOARD_FILE
    if row["id"] in {run["id"] for run in leaderboard.read(path).runs}:
        return
    row = {**row, "report": os.path.relpath(folder / row["report"], path.parent)}
    decision, _ = leaderboard.enter_run(
        path, row, margin=spec.margin, promote=spec.auto_promote, by="sweep"
    )
    write_page(path)
    print(f"leaderboard: {path}; {decision.reason}")
