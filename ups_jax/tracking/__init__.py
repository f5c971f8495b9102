"""The record of a run: one W&B run for each pipeline, and the same events as local files."""

import os
import secrets
import string
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ups_jax.files import read_json, write_json, write_text
from ups_jax.registry import lookup
from ups_jax.tracking.record import RunRecord
from ups_jax.tracking.schema import SERIES, Schema, plain
from ups_jax.tracking.sinks import FileSink, WandBSink, open_wandb

# One class serves both: `start` gives the record its sinks, MemoryRun(schema) has none.
WandBContext = MemoryRun = RunRecord

# Values that W&B accepts in WANDB_MODE.
MODES = {mode: mode for mode in ("online", "offline", "disabled")}
MODES |= {"run": "online", "dryrun": "offline"}


def start(
    cfg: Mapping[str, Any],
    workdir: Path | str,
    *,
    schema: Schema,
    mode: str | None = None,
    resume_offset: int = 0,
) -> RunRecord:
    """Start or resume the run of `workdir`; `metrics.jsonl` is cut to `resume_offset` bytes."""
    workdir = Path(workdir).absolute()
    mode = _resolve_mode(mode)
    run = _local_record(workdir, schema)
    run.rewind(resume_offset)
    if not (workdir / "alerts.json").exists():
        write_json(workdir / "alerts.json", [])
    id_file = workdir / "run_id.txt"
    resumed = id_file.exists()
    if not resumed:
        alphabet = string.ascii_lowercase + string.digits
        write_text(id_file, "".join(secrets.choice(alphabet) for _ in range(8)) + "\n")
    run.id = id_file.read_text(encoding="utf-8").strip()
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
    resolved = _resolve_mode(mode)
    id_file = workdir / "run_id.txt"
    if not id_file.exists():
        raise ValueError(f"{workdir} holds no run: {id_file.name} is missing")
    about = read_json(workdir / "wandb_run.json", {})
    # A run without a W&B record gets one only by an explicit flag.
    if mode is None and about.get("mode") == "disabled":
        resolved = "disabled"
    run = _local_record(workdir, schema)
    run.id = id_file.read_text(encoding="utf-8").strip()
    with ExitStack() as on_error:
        on_error.push(run)
        project, entity = about.get("project"), about.get("entity")
        _connect(run, workdir, resolved, project=project, entity=entity)
        on_error.pop_all()
    return run


def _local_record(workdir: Path, schema: Schema) -> RunRecord:
    workdir.mkdir(parents=True, exist_ok=True)
    files = FileSink(workdir)
    run = RunRecord(schema, [files], mode="disabled")
    run.restore(files.lines(), files.alerts())
    return run


def _connect(run: RunRecord, workdir: Path, mode: str | None, **about: Any) -> WandBSink | None:
    """Add a W&B sink to the record, unless the mode is "disabled"."""
    if mode == "disabled":
        return None
    wandb = open_wandb(run.id, workdir, mode, **about)
    run.sinks.append(wandb)
    run.mode, run.url = wandb.mode, wandb.url
    wandb.define(run.schema)
    return wandb


def _resolve_mode(flag: str | None) -> str | None:
    mode = flag or os.environ.get("WANDB_MODE")
    return lookup(MODES, mode, "wandb mode") if mode else None
