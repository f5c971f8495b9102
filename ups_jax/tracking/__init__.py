"""The one W&B run of a pipeline, and its twin on disk."""

import os
import secrets
import string
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ups_jax.files import MetricsFile, read_json, write_json, write_text
from ups_jax.registry import lookup
from ups_jax.tracking.context import Session, WandBContext
from ups_jax.tracking.memory import MemoryRun
from ups_jax.tracking.schema import SERIES, Schema, plain

__all__ = ["SERIES", "MemoryRun", "Run", "Schema", "WandBContext", "reopen", "start"]

Run = WandBContext | MemoryRun

# The spellings that W&B takes in WANDB_MODE.
MODES = {
    "online": "online",
    "offline": "offline",
    "disabled": "disabled",
    "run": "online",
    "dryrun": "offline",
}


def start(
    cfg: Mapping[str, Any],
    workdir: Path | str,
    *,
    schema: Schema,
    mode: str | None = None,
    resume_offset: int = 0,
) -> WandBContext:
    """The run of `workdir`, begun or gone on with; `metrics.jsonl` is cut to `resume_offset`."""
    workdir = Path(workdir).absolute()
    asked = _resolve_mode(mode)
    workdir.mkdir(parents=True, exist_ok=True)
    metrics = MetricsFile(workdir / "metrics.jsonl")
    metrics.rewind(resume_offset)
    if not (workdir / "alerts.json").exists():
        write_json(workdir / "alerts.json", [])
    config, log = plain(cfg), cfg["log"]
    named = {"project": log["project"], "entity": log.get("entity")}
    labels = {
        "name": log.get("name") or workdir.name,
        "group": log.get("group"),
        "tags": list(log.get("tags") or ()),
    }
    id_file = workdir / "run_id.txt"
    resumed = id_file.exists()
    if not resumed:
        write_text(id_file, _new_id() + "\n")
    run_id = id_file.read_text(encoding="utf-8").strip()
    # init(config=...) on resume would replace the stored config, metadata included.
    first = {} if resumed else {"config": config}
    session = _open(run_id, workdir, asked, **named, **labels, **first)
    run = WandBContext(run_id, workdir, schema=schema, session=session, metrics=metrics)
    with ExitStack() as unless_done:
        unless_done.push(run)
        run.tags = labels["tags"]
        if session.run is not None:
            _define(session.run, schema)
            if resumed:
                session.run.config.update(config, allow_val_change=True)
            if session.mode == "online":
                named = {"project": session.run.project, "entity": session.run.entity}
        about = {"id": run_id, "url": run.url, **named, "mode": session.mode}
        write_json(workdir / "wandb_run.json", about)
        unless_done.pop_all()
    return run


def reopen(workdir: Path | str, *, schema: Schema, mode: str | None = None) -> WandBContext:
    """The run of a folder again, to add to its summary: same id, config and series untouched."""
    workdir = Path(workdir).absolute()
    asked = _resolve_mode(mode)
    id_file = workdir / "run_id.txt"
    if not id_file.exists():
        raise ValueError(f"{workdir} holds no run: {id_file.name} is missing")
    run_id = id_file.read_text(encoding="utf-8").strip()
    about = read_json(workdir / "wandb_run.json", {})
    # A run that W&B never saw stays unseen unless a flag asks for it.
    if mode is None and about.get("mode") == "disabled":
        asked = "disabled"
    named = {"project": about.get("project"), "entity": about.get("entity")}
    session = _open(run_id, workdir, asked, **named)
    metrics = MetricsFile(workdir / "metrics.jsonl")
    run = WandBContext(run_id, workdir, schema=schema, session=session, metrics=metrics)
    if session.run is not None:
        _define(session.run, schema)
    return run


def _open(run_id: str, workdir: Path, asked: str | None, **about: Any) -> Session:
    """Open the W&B run: online if asked for or a key is known, else offline, without a prompt."""
    if asked == "disabled":
        return Session("disabled", None, None, ExitStack())
    with ExitStack() as stack:
        # Bytes of tables and plots lie there, and W&B asks for the place at every log.
        stack.enter_context(_variable("WANDB_DATA_DIR", str(workdir / "wandb_data")))
        import wandb
        from wandb.errors import UsageError
        from wandb.sdk.lib.wbauth import authenticate_session

        if wandb.run is not None:
            raise RuntimeError(f"W&B run {wandb.run.id} is open in this process: finish it first")

        def init(mode: str) -> Any:
            # Made anew each time: init mutates its settings.
            settings = wandb.Settings(
                mode=mode,  # pyright: ignore[reportArgumentType]
                silent=True,
                console="off",
                init_timeout=30,
                finish_timeout=600,
                x_transaction_log_flush_interval=1,
            )
            try:
                return wandb.init(
                    id=run_id, resume="allow", dir=str(workdir), settings=settings, **about
                )
            except UsageError as error:
                raise ValueError(f"W&B refuses this run: {error}") from error

        if asked == "offline":
            return Session("offline", wandb, init("offline"), stack.pop_all())
        reason = "no API key"
        try:
            # W&B's own search for a key (environment, netrc, settings), told not to prompt.
            host = wandb.setup().settings.base_url
            if authenticate_session(host=host, source="", prompt=False, update_session=False):
                return Session("online", wandb, init("online"), stack.pop_all())
        except (wandb.Error, OSError) as error:
            reason = " ".join(str(error).split())
        wandb.teardown(1)
        print(
            f"W&B: {reason}; this run is offline, "
            f"upload it later with `wandb sync {workdir}/wandb/offline-run-*`",
            file=sys.stderr,
        )
        return Session("offline", wandb, init("offline"), stack.pop_all())


def _resolve_mode(flag: str | None) -> str | None:
    asked = flag or os.environ.get("WANDB_MODE")
    return lookup(MODES, asked, "wandb mode") if asked else None


def _define(run: Any, schema: Schema) -> None:
    # summary="none": a series leaves nothing in the summary, which holds evaluation alone.
    for stage in schema.stages:
        run.define_metric(f"{stage}/step", summary="none")
    for key, axis in schema.axes().items():
        run.define_metric(key, step_metric=axis, summary="none")


def _new_id() -> str:
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(8))


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
