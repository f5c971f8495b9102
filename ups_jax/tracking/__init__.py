"""The record of a run: one W&B run for each pipeline, and the same events as local files."""

import os
import re
import secrets
import string
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ups_jax.files import DamagedFile, read_json, read_text, write_json, write_text
from ups_jax.registry import lookup
from ups_jax.tracking.record import RunRecord
from ups_jax.tracking.schema import SERIES, Schema, plain
from ups_jax.tracking.sinks import START, FileSink, Position
from ups_jax.tracking.wandb_sink import WandBSink, check_settings, open_wandb

# One class serves both: `start` gives the record its sinks, MemoryRun(schema) has none.
WandBContext = MemoryRun = RunRecord

# Values that W&B accepts in WANDB_MODE.
MODES = {mode: mode for mode in ("online", "offline", "disabled")}
MODES |= {"run": "online", "dryrun": "offline"}
RUN_ID = r"[\w-]+"


def check(
    workdir: Path | str,
    log: Mapping[str, Any] | None = None,
    *,
    mode: str | None = None,
    restart: bool = False,
) -> None:
    """Raise ValueError if W&B would refuse the run of `workdir`, before anything is spent.

    `log` are the settings of a run that trains; without them the run is one to `reopen`.
    """
    workdir = Path(workdir)
    if (_resolve_mode(mode) if log is not None else _reopen_mode(workdir, mode)) == "disabled":
        return
    check_settings(log or {})
    given = os.environ.get("WANDB_RUN_ID")
    if given is None and "WANDB_SWEEP_ID" in os.environ:
        raise ValueError("WANDB_SWEEP_ID is set without WANDB_RUN_ID; unset it, or set both")
    if given is None:
        return
    if not re.fullmatch(RUN_ID, given):
        raise ValueError(f"WANDB_RUN_ID is {given!r}; use letters, digits, '_' and '-' only")
    saved = saved_id(workdir)
    # A run keeps its id, and a restart needs another one.
    if saved is not None and restart == (given == saved):
        raise ValueError(
            f"WANDB_RUN_ID is {given}, and {workdir} holds run {saved}"
            f"{', which --restart replaces' * restart}; unset it, or use another --workdir"
        )


def start(
    cfg: Mapping[str, Any],
    workdir: Path | str,
    *,
    schema: Schema,
    mode: str | None = None,
    resume: Position = START,
) -> RunRecord:
    """Start or resume the run of `workdir`; `metrics.jsonl` is cut to a position."""
    workdir = Path(workdir).absolute()
    mode = _resolve_mode(mode)
    run = _local_record(workdir, schema, resume)
    if not (workdir / "alerts.json").exists():
        write_json(workdir / "alerts.json", [])
    saved = saved_id(workdir)
    resumed = saved is not None
    # Under an agent of W&B the run has its id already.
    run.id = saved or (mode != "disabled" and os.environ.get("WANDB_RUN_ID")) or _new_id()
    write_text(workdir / "run_id.txt", run.id + "\n")
    config, log = plain(cfg), cfg["log"]
    run.tags = list(log.get("tags") or ())
    project = {"project": log["project"], "entity": log.get("entity")}
    labels = {"name": log.get("name") or workdir.name, "group": log.get("group"), "tags": run.tags}
    # init(config=...) on resume would replace the stored config, metadata included.
    first = {} if resumed else {"config": config}
    with ExitStack() as on_error:
        on_error.push(run)
        wandb = _connect(run, workdir, mode, **project, **labels, **first)
        if wandb is not None and resumed:
            wandb.config(config)
        if wandb is not None and wandb.mode == "online":
            project = {"project": wandb.run.project, "entity": wandb.run.entity}
        about = {"id": run.id, "url": run.url, **project, "mode": run.mode}
        write_json(workdir / "wandb_run.json", about)
        on_error.pop_all()
    return run


def reopen(workdir: Path | str, *, schema: Schema, mode: str | None = None) -> RunRecord:
    """Open a finished run again to extend its summary; id, config and series stay untouched."""
    workdir = Path(workdir).absolute()
    saved = saved_id(workdir)
    if saved is None:
        raise ValueError(f"{workdir} holds no run: run_id.txt is missing")
    about, resolved = _wandb_record(workdir, mode), _reopen_mode(workdir, mode)
    run = _local_record(workdir, schema)
    run.id = saved
    with ExitStack() as on_error:
        on_error.push(run)
        project, entity = about.get("project"), about.get("entity")
        _connect(run, workdir, resolved, project=project, entity=entity)
        on_error.pop_all()
    return run


def _wandb_record(workdir: Path, mode: str | None) -> dict[str, Any]:
    """Return the project and mode of a finished run, which are not needed without W&B."""
    try:
        return read_json(workdir / "wandb_run.json", {})
    except DamagedFile as error:
        if mode == "disabled":
            return {}
        raise ValueError(f"{error}; use --wandb_mode disabled") from error


def saved_id(workdir: Path) -> str | None:
    """Return the id of a folder's run, from `run_id.txt` or `wandb_run.json`; None if new.

    Raises ValueError if both are damaged, or name different runs.
    """
    found: dict[str, str] = {}
    problems: list[DamagedFile] = []
    for name in ("run_id.txt", "wandb_run.json"):
        path = workdir / name
        try:
            if path.exists():
                found[name] = _id_in(path)
        except DamagedFile as error:
            problems.append(error)
    if len(set(found.values())) == 2 or problems and not found:
        problem = problems[0] if problems else f"{workdir}: {' and '.join(found)} name two runs"
        raise ValueError(
            f"{problem}\nwrite the id of the run to run_id.txt and remove wandb_run.json, or use "
            "--restart"
        )
    return next(iter(found.values()), None)


def _id_in(path: Path) -> str:
    value = read_text(path) if path.suffix == ".txt" else read_json(path, {}, keys=["id"])["id"]
    if not isinstance(value, str) or not re.fullmatch(RUN_ID, value):
        raise DamagedFile(path, "it holds no id of a run")
    return value


def _local_record(workdir: Path, schema: Schema, cut: Position | None = None) -> RunRecord:
    workdir.mkdir(parents=True, exist_ok=True)
    files = FileSink(workdir)
    run = RunRecord(schema, [files], mode="disabled")
    run.restore(files.lines(cut), files.alerts())
    return run


def _connect(run: RunRecord, workdir: Path, mode: str | None, **about: Any) -> WandBSink | None:
    """Add a W&B sink to the record, unless the mode is "disabled" or W&B cannot be started."""
    wandb = None if mode == "disabled" else open_wandb(run.id, workdir, mode, **about)
    if wandb is not None:
        run.sinks.append(wandb)
        run.mode, run.url = wandb.mode, wandb.url
        wandb.define(run.schema)
    return wandb


def _resolve_mode(flag: str | None) -> str | None:
    mode = flag or os.environ.get("WANDB_MODE")
    return lookup(MODES, mode, "wandb mode") if mode else None


def _reopen_mode(workdir: Path, flag: str | None) -> str | None:
    """Return the mode; a run without a W&B record gets one only by an explicit flag."""
    resolved = _resolve_mode(flag)
    about = _wandb_record(workdir, flag)
    return "disabled" if flag is None and about.get("mode") == "disabled" else resolved


def _new_id() -> str:
    alphabet = string.ascii_lowercase + string.digits
    return "".join(secrets.choice(alphabet) for _ in range(8))
