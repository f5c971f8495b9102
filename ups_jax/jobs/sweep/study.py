"""The study behind a sweep: which trial is next, how each ended, and who has won."""

import os
import sys
import time
from pathlib import Path
from typing import Any

from ups_jax import config, leaderboard
from ups_jax.experiment import workdir
from ups_jax.files import read_json, write_json
from ups_jax.jobs.sweep import trial as trials
from ups_jax.jobs.sweep.space import text
from ups_jax.leaderboard.page import write_page

BOARD, RECORD, DIVERGED, BAD_INPUT = "leaderboard.jsonl", "sweep.json", 4, 2


def package() -> Any:
    """Optuna, or a ValueError that names what to install."""
    try:
        import optuna
    except ImportError as error:
        raise ValueError(
            "a sweep over these keys needs Optuna; pip install 'ups_jax[sweep]'"
        ) from error
    return optuna


def run(sweep: Any) -> int:
    """Every trial that is still to be done, then the winner -> exit code."""
    optuna = package()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sweep.folder.mkdir(parents=True, exist_ok=True)
    record = {"sweep": sorted(sweep.options.sweep), "config": config.to_dict(sweep.cfg)}
    held = read_json(sweep.folder / RECORD, record)
    if held != record:
        print(f"error: {sweep.folder} holds another sweep; use another --name", file=sys.stderr)
        return BAD_INPUT
    write_json(sweep.folder / RECORD, record)
    grid = not sweep.space.ranges
    sampler = optuna.samplers.TPESampler(seed=sweep.cfg.seed)
    study = optuna.create_study(
        storage=f"sqlite:///{sweep.folder.resolve() / 'study.db'}",
        study_name=sweep.folder.name,
        sampler=sampler,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3),
        direction="minimize",
        load_if_exists=True,
    )
    state = optuna.trial.TrialState
    # What ran when the parent was killed goes on first, in the folder that it had.
    for cut in study.get_trials(states=[state.RUNNING]):
        code = _one(sweep, study, optuna.Trial(study, cut._trial_id), state)
        if code:
            return code
    if grid:
        for values in sweep.space.corners():
            study.enqueue_trial(values, skip_if_exists=True)

    def left() -> bool:
        if grid:
            return bool(study.get_trials(states=[state.WAITING]))
        return len(study.get_trials(deepcopy=False)) < sweep.options.trials

    while left():
        code = _one(sweep, study, study.ask(), state)
        if code:
            return code
    return _finish(sweep, study)


def _one(sweep: Any, study: Any, trial: Any, state: Any) -> int:
    """Run or go on with one trial -> 0, or the exit code that ends the sweep."""
    overrides = _suggest(sweep.space, trial)
    folder = sweep.folder / f"trial-{trial.number:04d}"
    told = set(study.get_trials(deepcopy=False)[trial.number].intermediate_values)
    words = " ".join(f"{key}={value}" for key, value in overrides.items())
    print(f"trial {trial.number}: {words}", file=sys.stderr, flush=True)

    def prune(step: int, value: float) -> bool:
        if step not in told:
            trial.report(value, step)
        return trial.should_prune()

    _wait_for(folder, sweep.stop)
    if sweep.stop():
        return sweep.stop.code
    code, pruned = trials.follow(
        _command(sweep, folder, overrides),
        sweep.folder / f"{folder.name}.log",
        folder / "metrics.jsonl",
        prune=prune,
        stop=sweep.stop,
    )
    value = read_json(folder / "summary.json", {}).get(leaderboard.RANKING_METRIC)
    if sweep.stop() and code != 0:
        return sweep.stop.code
    if code == 0 and value is not None:
        study.tell(trial, value)
    elif pruned and code == 143:
        study.tell(trial, state=state.PRUNED)
    elif code in (0, DIVERGED):
        study.tell(trial, state=state.FAIL)
    else:
        log = (sweep.folder / f"{folder.name}.log").read_text().strip().splitlines()
        last = log[-1] if log else "it said nothing"
        print(f"error: trial {trial.number} ended with code {code}: {last}", file=sys.stderr)
        return BAD_INPUT if code == BAD_INPUT else 1
    how = "pruned" if pruned and code == 143 else "failed" if value is None else f"{value:.4g}"
    print(f"trial {trial.number}: {how}", file=sys.stderr, flush=True)
    return 0


def _wait_for(folder: Path, stop: Any) -> None:
    """Let a trial end whose parent was killed: it goes on by itself."""
    if said := workdir.lock_holder(folder):
        print(f"{said} still works in {folder.name}; waiting for it", file=sys.stderr, flush=True)
    while workdir.lock_holder(folder) and not stop():
        time.sleep(1.0)


def _suggest(space: Any, trial: Any) -> dict[str, str]:
    found = {key: trial.suggest_categorical(key, values) for key, values in space.lists.items()}
    for key, (low, high, log) in space.ranges.items():
        whole = low == int(low) and high == int(high)
        suggest = trial.suggest_int if whole else trial.suggest_float
        ends = (int(low), int(high)) if whole else (low, high)
        found[key] = text(suggest(key, *ends, log=log))
    return found


def _command(sweep: Any, folder: Path, overrides: dict[str, str]) -> list[str]:
    given = {**sweep.options.overrides, **overrides, "log.group": sweep.folder.name}
    given["leaderboard.path"] = str(sweep.folder / BOARD)
    words = [*sweep.options.program, "--config", sweep.options.config, "--workdir", str(folder)]
    if sweep.options.wandb_mode:
        words += ["--wandb_mode", sweep.options.wandb_mode]
    return [*words, *(f"--config.{key}={value}" for key, value in given.items())]


def _finish(sweep: Any, study: Any) -> int:
    """Say how the trials stand, and enter the best with all gates met in the common leaderboard."""
    for each in sorted(study.get_trials(), key=lambda t: (t.value is None, t.value or 0.0)):
        shown = each.state.name.lower() if each.value is None else f"{each.value:.5g}"
        print(f"{shown:>10}  trial-{each.number:04d}  {each.params}")
    rows = leaderboard.read(sweep.folder / BOARD).runs
    met = [row for row in rows if not (row.get("gates") or {}).get("failed")]
    boards = {row["board"] for row in met}
    if len(boards) > 1:
        print("these trials stand on different boards; no winner is entered", file=sys.stderr)
        return 0
    if not met:
        print("no trial meets all gates; none joins the leaderboard", file=sys.stderr)
        return 0
    winner = leaderboard.ranked(met, met[0]["board"])[0]
    print(f"winner: {winner['name']} ({winner['id']})")
    _enter_winner(sweep, winner)
    return 0


def _enter_winner(sweep: Any, row: leaderboard.Row) -> None:
    cfg = sweep.cfg
    path = Path(cfg.leaderboard.path).expanduser() if cfg.leaderboard.path else None
    runs = sweep.folder.parent if sweep.options.workdir else sweep.folder.parent.parent
    path = path or runs / BOARD
    found = leaderboard.read(path)
    if row["id"] in {each["id"] for each in found.runs}:
        return
    before = leaderboard.board_state(found, row["board"], without=row["id"])
    report = os.path.relpath(sweep.folder / row["report"], path.parent)
    row = {**row, "report": report}
    claim = leaderboard.decide_promotion(row, before, margin=cfg.leaderboard.margin)
    leaderboard.append(path, row)
    if claim.granted and cfg.leaderboard.auto_promote:
        leaderboard.append(path, leaderboard.event("promote", row, by="sweep", reason=claim.reason))
    write_page(path)
    print(f"leaderboard: {path}; {claim.reason}")
