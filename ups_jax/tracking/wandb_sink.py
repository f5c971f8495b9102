"""The W&B run: its settings, the calls it receives, and their time limit."""

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

from ups_jax.tracking.schema import Schema

CALL_S = 30.0
"""Seconds after which a call to W&B is given up."""
FINISH_S = 120.0
"""Seconds for the last uploads of a run."""
CLOSE_S = 5.0
"""Seconds to close a run whose service has failed."""


class WandBSink:
    """An open W&B run, made by `open_wandb`.

    The first call that fails or takes longer than `CALL_S` ends it, with one line on stderr: local
    files are the record of a run, and W&B has a copy of it.
    """

    def __init__(self, mode: str, wandb: Any, run: Any, closing: ExitStack, folder: Path) -> None:
        self.mode, self.run, self.lost = mode, run, False
        # Offline runs have no url, and reading it prints a warning.
        self.url: str | None = run.url if mode == "online" else None
        self._wandb, self._closing, self._folder = wandb, closing, folder

    def define(self, schema: Schema) -> None:
        """Set the x-axis of every series and keep series out of the summary."""

        def define_all() -> None:
            for stage in schema.stages:
                self.run.define_metric(f"{stage}/step", summary="none")
            for key, axis in schema.axes().items():
                self.run.define_metric(key, step_metric=axis, summary="none")

        self._call(define_all)

    # No call passes step=: W&B would not commit the row, and drops lower steps without an error.
    def commit(self, rows: Sequence[dict[str, Any]]) -> None:
        """Log rows of series to the history."""
        lines = [{k: v for k, v in row.items() if k not in ("stage", "step")} for row in rows]
        if lines:
            self._call(lambda: [self.run.log(line) for line in lines])

    def scalars(self, entries: dict[str, Any]) -> None:
        """Update the summary."""
        self._call(lambda: self.run.summary.update(entries))

    def table(self, table: dict[str, Any]) -> None:
        """Log a table."""
        make = partial(self._wandb.Table, columns=table["columns"], data=table["rows"])
        self._call(lambda: self.run.log({table["name"]: make(allow_mixed_types=True)}))

    def figure(self, key: str, path: Path) -> None:
        """Log an image."""
        self._call(lambda: self.run.log({key: self._wandb.Image(str(path))}))

    def html(self, key: str, path: Path) -> None:
        """Log a page."""
        self._call(lambda: self.run.log({key: self._wandb.Html(path, inject=False)}))

    def model(self, name: str, files: Mapping[str, Path]) -> None:
        """Log an artifact of type "model"; the upload runs in the background."""

        def log() -> None:
            artifact = self._wandb.Artifact(name, type="model")
            for inside, path in files.items():
                artifact.add_file(str(path), name=inside)
            self.run.log_artifact(artifact)

        self._call(log)

    def config(self, updates: dict[str, Any]) -> None:
        """Update the config."""
        self._call(lambda: self.run.config.update(updates, allow_val_change=True))

    def alert(self, alert: dict[str, str]) -> None:
        """Send an alert."""
        # W&B wants titles of 2 to 64 characters.
        title = alert["title"].ljust(2)[:64]
        self._call(lambda: self.run.alert(title, alert["text"], level=alert["level"]))

    def tags(self, tags: Sequence[str]) -> None:
        """Add tags."""

        def add() -> None:
            self.run.tags = tuple(dict.fromkeys([*(self.run.tags or ()), *tags]))

        self._call(add)

    def preempting(self) -> None:
        """Mark the run as preempted."""
        self._call(self.run.mark_preempting)

    def finish(self, exit_code: int) -> None:
        """Close the W&B run with its exit code."""
        finish, teardown = partial(self.run.finish, exit_code), self._wandb.teardown
        with self._closing:
            self._call(finish, FINISH_S + CLOSE_S)
            if self.lost:
                # Without its service W&B raises or waits, and still counts the run as open.
                run_within(CLOSE_S, finish)
                self._wandb.sdk.lib.module.unset_globals()
            # finish returns before the last bytes are on disk; the service ends after them.
            run_within(CLOSE_S if self.lost else FINISH_S, partial(teardown, exit_code))

    def _call(self, function: Callable[[], object], limit_s: float | None = None) -> None:
        if self.lost:
            return
        error = run_within(limit_s or CALL_S, function)
        if error is None:
            return
        self.lost = True
        print(
            f"W&B has failed ({_reason(error)}); this run continues with its local files, "
            f"upload the rest later with {sync_command(self._folder)}",
            file=sys.stderr,
        )


def run_within(limit_s: float, function: Callable[[], object]) -> BaseException | None:
    """Return the error of `function()`, None on success, a TimeoutError after `limit_s` seconds.

    It runs in a daemon thread, so that a call without an answer does not keep the process alive.
    """
    done: Future[None] = Future()

    def work() -> None:
        try:
            function()
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(None)

    Thread(target=work, name="W&B call", daemon=True).start()
    try:
        return done.exception(limit_s)
    except TimeoutError:
        return TimeoutError(f"no answer within {limit_s:.0f} s")


def sync_command(folder: Path) -> str:
    """Return the command that uploads the W&B files of a workdir."""
    return f"`wandb sync {shlex.quote(str(folder / 'wandb'))}/*run-*`"


def check_settings(log: Mapping[str, Any]) -> None:
    """Raise ValueError on environment variables and config keys of `log` that W&B refuses."""
    wandb = _import_wandb()
    settings = wandb.Settings()

    def check(name: str, update: Callable[..., None], *args: Any) -> None:
        try:
            update(*args)
        except (wandb.Error, ValueError, TypeError) as error:
            # The text of pydantic's errors holds the value, which may be a key.
            details = getattr(error, "errors", lambda e=error: [{"msg": str(e)}])()
            raise ValueError(
                f"W&B refuses {name}: {details[0]['msg']}; change it, or use --wandb_mode disabled"
            ) from None

    for name, value in os.environ.items():
        check(f"${name}", settings.update_from_env_vars, {name: value})
    check("$WANDB_FORK_FROM", settings.update_from_dict, {"resume": "allow"})
    for key, setting in {"project": "project", "tags": "run_tags"}.items():
        check(f"log.{key}", settings.update_from_dict, {setting: log.get(key)})


def open_wandb(run_id: str, workdir: Path, mode: str | None, **about: Any) -> WandBSink | None:
    """Open a W&B run without a prompt; `mode` None means online if an API key is known.

    An online run that cannot be opened becomes an offline one; None if that fails too. Each costs
    one line on stderr.
    """
    with ExitStack() as stack:
        # W&B looks the folder up at every log; the bytes of tables and plots are written there.
        stack.enter_context(_environment("WANDB_DATA_DIR", str(workdir / "wandb_data")))
        wandb, runs = _import_wandb(), []
        if wandb.run is not None:
            raise RuntimeError(f"W&B run {wandb.run.id} is open in this process: finish it first")
        about.update(id=run_id, dir=str(workdir))
        remedies = {
            "online": f"this run is offline, upload it later with {sync_command(workdir)}",
            "offline": "this run has local files only",
        }
        for attempt in dict.fromkeys((mode or "online", "offline")):
            error = run_within(2 * CALL_S, partial(_init, wandb, attempt, about, runs))
            if runs:
                sink = WandBSink(attempt, wandb, runs[0], stack.pop_all(), workdir)
                if sink.run.id != run_id:
                    sink.finish(1)
                    raise ValueError(f"W&B gives this run the id {sink.run.id}, not {run_id}")
                return sink
            print(f"W&B: {_reason(error)}; {remedies[attempt]}", file=sys.stderr)
            run_within(CLOSE_S, partial(wandb.teardown, 1))
    return None


def _import_wandb() -> Any:
    try:
        import wandb
    except ImportError as error:
        raise ValueError(
            f"W&B cannot be imported ({error}); run `pip install wandb`, or use --wandb_mode "
            "disabled"
        ) from error
    return wandb


def _init(wandb: Any, mode: str, about: dict[str, Any], runs: list[Any]) -> None:
    """Add an open run to `runs`; raise an error if there is no key, or W&B fails."""
    from wandb.sdk.lib.wbauth import authenticate_session

    # W&B prints its retries and errors otherwise.
    host = wandb.setup(settings=wandb.Settings(silent=True)).settings.base_url
    # W&B's own search for a key (environment, netrc, settings), without a prompt.
    key = dict(host=host, source="", prompt=False, update_session=False)
    if mode == "online" and not authenticate_session(**key):
        raise LookupError("no API key")
    # Made anew each time: init mutates its settings.
    settings = wandb.Settings(
        mode=mode,
        silent=True,
        console="off",
        init_timeout=CALL_S,
        finish_timeout=FINISH_S,
        finish_timeout_raises=True,
        sagemaker_disable=True,
        x_transaction_log_flush_interval=1,
    )
    runs.append(wandb.init(resume="allow", settings=settings, **about))


def _reason(error: BaseException | None) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
