"""Destinations of a run's events: the files of its workdir, and the W&B run."""

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple

from ups_jax.files import (
    digest,
    json_lines,
    salvage_json,
    set_aside,
    write_bytes,
    write_json,
)
from ups_jax.tracking.schema import Schema


class Position(NamedTuple):
    """End of the series at a checkpoint: bytes of `metrics.jsonl`, their digest, and last steps."""

    offset: int = 0
    digest: str | None = None
    steps: Mapping[str, int] = MappingProxyType({})


START = Position()
SERIES_KEYS = {"stage": str, "step": int}


def _up_to(rows: Sequence[bytes], steps: Mapping[str, int]) -> list[bytes]:
    """Return the rows up to the last step of each series, each step once."""
    kept, last = [], dict.fromkeys(steps, -1)
    for line in rows:
        row = json.loads(line)
        if last.get(row["stage"], row["step"]) < row["step"] <= steps.get(row["stage"], -1):
            last[row["stage"]] = row["step"]
            kept.append(line)
    return kept


class FileSink:
    """Files of a workdir: series, summary, metadata, alerts and tables. Alerts go to stderr too."""

    def __init__(self, workdir: Path) -> None:
        self.workdir = workdir
        self._metrics = workdir / "metrics.jsonl"
        self._file: BinaryIO | None = None

    def lines(self, cut: Position | None = None) -> list[bytes]:
        """Read the rows of `metrics.jsonl`, and truncate the file at `cut`.

        A kill may have torn the last row. Of a damaged file the readable rows up to the steps of
        `cut` are kept, and the file is set aside.
        """
        content = self._metrics.read_bytes() if self._metrics.exists() else b""
        if cut is None:
            return json_lines(content, SERIES_KEYS)[0]
        kept = content[: cut.offset]
        rows, damaged = json_lines(kept, SERIES_KEYS)
        intact = digest(kept) == cut.digest if cut.digest else len(kept) == cut.offset
        intact = intact and not damaged and len(kept) == sum(map(len, rows))
        if intact and _up_to(rows, cut.steps) == rows:
            self.rewind(cut.offset)
            return rows
        rows = _up_to(json_lines(content, SERIES_KEYS)[0], cut.steps)
        if not intact:
            then = f"{len(rows)} of its rows are kept, training is not affected"
            set_aside(self._metrics, "it is not as the checkpoint recorded it", then)
        write_bytes(self._metrics, b"".join(rows))
        return rows

    def alerts(self) -> list[dict[str, str]]:
        """Read the alerts of earlier processes."""
        path, then = self.workdir / "alerts.json", "earlier alerts are lost"
        return salvage_json(path, [], like=list, then=then)

    def row(self, line: bytes) -> None:
        """Append a line to `metrics.jsonl`, unbuffered."""
        if self._file is None:
            self.rewind(sum(map(len, self.lines())))
            self._file = self._metrics.open("ab", buffering=0)
        self._file.write(line)

    def rewind(self, offset: int) -> None:
        """Truncate `metrics.jsonl` to `offset` bytes."""
        self.finish(0)
        if self._metrics.exists():
            os.truncate(self._metrics, offset)

    def finish(self, exit_code: int) -> None:
        """Close `metrics.jsonl`; a later row opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def summary(self, entries: dict[str, Any]) -> None:
        """Write `summary.json`."""
        write_json(self.workdir / "summary.json", entries)

    def table(self, table: dict[str, Any]) -> None:
        """Write `tables/<slug>.json`."""
        slug = re.sub(r"[^a-z0-9]+", "-", table["name"].lower()).strip("-")
        write_json(self.workdir / "tables" / f"{slug}.json", table)

    def config(self, updates: dict[str, Any]) -> None:
        """Merge the updates into `metadata.json`."""
        path = self.workdir / "metadata.json"
        write_json(path, {**salvage_json(path, {}), **updates})

    def alert(self, alert: dict[str, str]) -> None:
        """Add an alert to `alerts.json` and print it."""
        write_json(self.workdir / "alerts.json", [*self.alerts(), alert])
        print(f"{alert['level']}: {alert['title']}: {alert['text']}", file=sys.stderr)


class WandBSink:
    """An open W&B run, made by `open_wandb`."""

    def __init__(self, mode: str, wandb: Any, run: Any, closing: ExitStack) -> None:
        self.mode, self.run = mode, run
        # Offline runs have no url, and reading it prints a warning.
        self.url: str | None = run.url if mode == "online" else None
        self._wandb, self._closing = wandb, closing

    def define(self, schema: Schema) -> None:
        """Set the x-axis of every series and keep series out of the summary."""
        for stage in schema.stages:
            self.run.define_metric(f"{stage}/step", summary="none")
        for key, axis in schema.axes().items():
            self.run.define_metric(key, step_metric=axis, summary="none")

    # No call passes step=: W&B would not commit the row, and drops lower steps without an error.
    def commit(self, rows: Sequence[dict[str, Any]]) -> None:
        """Log rows of series to the history."""
        for row in rows:
            self.run.log({key: v for key, v in row.items() if key not in ("stage", "step")})

    def scalars(self, entries: dict[str, Any]) -> None:
        """Update the summary."""
        self.run.summary.update(entries)

    def table(self, table: dict[str, Any]) -> None:
        """Log a table."""
        columns, rows = table["columns"], table["rows"]
        data = self._wandb.Table(columns=columns, data=rows, allow_mixed_types=True)
        self.run.log({table["name"]: data})

    def figure(self, key: str, path: Path) -> None:
        """Log an image."""
        self.run.log({key: self._wandb.Image(str(path))})

    def html(self, key: str, path: Path) -> None:
        """Log a page."""
        self.run.log({key: self._wandb.Html(path, inject=False)})

    def config(self, updates: dict[str, Any]) -> None:
        """Update the config."""
        self.run.config.update(updates, allow_val_change=True)

    def alert(self, alert: dict[str, str]) -> None:
        """Send an alert; a failure costs one line on stderr."""
        # W&B wants titles of 2 to 64 characters.
        title = alert["title"].ljust(2)[:64]
        try:
            self.run.alert(title, alert["text"], level=alert["level"])
        except (self._wandb.Error, OSError) as error:
            print(f"W&B has no copy of this alert: {error}", file=sys.stderr)

    def tags(self, tags: Sequence[str]) -> None:
        """Add tags."""
        self.run.tags = tuple(dict.fromkeys([*(self.run.tags or ()), *tags]))

    def preempting(self) -> None:
        """Mark the run as preempted."""
        self.run.mark_preempting()

    def finish(self, exit_code: int) -> None:
        """Close the W&B run with its exit code."""
        with self._closing:
            self.run.finish(exit_code=exit_code)
            # finish returns before the last bytes are on disk; the service ends after them.
            self._wandb.teardown(exit_code)


def open_wandb(run_id: str, workdir: Path, mode: str | None, **about: Any) -> WandBSink:
    """Open a W&B run without a prompt; `mode` None means online if an API key is known."""
    with ExitStack() as stack:
        # W&B looks the folder up at every log; the bytes of tables and plots are written there.
        stack.enter_context(_environment("WANDB_DATA_DIR", str(workdir / "wandb_data")))
        import wandb
        from wandb.sdk.lib.wbauth import authenticate_session

        if wandb.run is not None:
            raise RuntimeError(f"W&B run {wandb.run.id} is open in this process: finish it first")
        about.update(id=run_id, dir=str(workdir))
        if mode == "offline":
            return WandBSink("offline", wandb, _init(wandb, "offline", about), stack.pop_all())
        reason = "no API key"
        try:
            # W&B's own search for a key (environment, netrc, settings), without a prompt.
            host = wandb.setup().settings.base_url
            if authenticate_session(host=host, source="", prompt=False, update_session=False):
                return WandBSink("online", wandb, _init(wandb, "online", about), stack.pop_all())
        except (wandb.Error, OSError) as error:
            reason = " ".join(str(error).split())
        wandb.teardown(1)
        print(
            f"W&B: {reason}; this run is offline, "
            f"upload it later with `wandb sync {workdir}/wandb/offline-run-*`",
            file=sys.stderr,
        )
        return WandBSink("offline", wandb, _init(wandb, "offline", about), stack.pop_all())


def _init(wandb: Any, mode: str, about: dict[str, Any]) -> Any:
    # Made anew each time: init mutates its settings.
    settings = wandb.Settings(
        mode=mode,
        silent=True,
        console="off",
        init_timeout=30,
        finish_timeout=600,
        x_transaction_log_flush_interval=1,
    )
    try:
        return wandb.init(resume="allow", settings=settings, **about)
    except wandb.errors.UsageError as error:
        raise ValueError(f"W&B refuses this run: {error}") from error


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
