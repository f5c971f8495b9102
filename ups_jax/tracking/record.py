"""RunRecord: the events of one run, checked, kept in memory and passed to sinks."""

import json
import operator
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from ups_jax.files import digest
from ups_jax.registry import lookup
from ups_jax.tracking.schema import Schema, number, plain

Scalars = dict[str, int | float | None]
LONGEST_NAME = 128
"""Characters that the name of an artifact of W&B may have."""


class RunRecord:
    """Series, summary, tables, media and alerts of one run: a context manager.

    Without sinks the record stays in memory, for notebooks, tests and secondary processes. A sink
    is any object with methods named after the events it stores: `row(line)`, `commit(rows)`,
    `scalars(entries)`, `summary(entries)`, `table(table)`, `figure(key, path)`, `html(key, path)`,
    `model(name, files)`, `config(updates)`, `alert(alert)`, `tags(tags)`, `preempting()`,
    `finish(exit_code)`. Set `exit_code` before raising to record a code other than the exception's.
    """

    def __init__(self, schema: Schema, sinks: Sequence[Any] = (), *, mode: str = "memory") -> None:
        self.schema, self.sinks = schema, list(sinks)
        self.id, self.mode = "memory", mode
        self.url: str | None = None
        self.exit_code: int | None = None
        self.summary: Scalars = {}
        self.tables: dict[str, dict[str, Any]] = {}
        self.media: dict[str, Path] = {}
        self.models: dict[str, dict[str, Path]] = {}
        self.config: dict[str, Any] = {}
        self.alerts: list[dict[str, str]] = []
        self.tags: list[str] = []
        self.preempting = False
        self.pending: list[dict[str, Any]] = []
        self._lines: list[bytes] = []
        self._last: dict[str, int] = {}
        self._finished = False

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Rows of all series, in order."""
        return [json.loads(line) for line in self._lines]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self.finish(_exit_code(error) if self.exit_code is None else self.exit_code)

    def restore(self, lines: Sequence[bytes], alerts: Sequence[dict[str, str]]) -> None:
        """Load the series and alerts of an earlier process, without passing them to the sinks."""
        self._lines, self.alerts, self.pending = list(lines), list(alerts), []
        self._last = {row["stage"]: row["step"] for row in self.rows}

    def log_training_metric(self, stage: str, metric: str, value: Any, step: int) -> None:
        """Record one series value; W&B receives it at `commit`."""
        self.log_training_metrics(stage, {metric: value}, step)

    def log_training_metrics(self, stage: str, metrics: Mapping[str, Any], step: int) -> None:
        """Record all series values of one step as one row; W&B receives it at `commit`."""
        if not metrics:
            raise ValueError(f"{stage}: a row needs at least one metric at step {step}")
        for metric in metrics:
            self.schema.check(stage, metric)
        step, last = operator.index(step), self._last.get(stage, -1)
        if step <= last:
            raise ValueError(
                f"{stage}: step {step} after step {last}; steps of a stage must increase, so give "
                "all metrics of one step in one call of log_training_metrics"
            )
        series = {f"{stage}/{metric}": number(v, metric) for metric, v in metrics.items()}
        row = {"stage": stage, "step": step, f"{stage}/step": step, **series}
        line = json.dumps(row, allow_nan=False).encode() + b"\n"
        self._last[stage] = step
        self._lines.append(line)
        self.pending.append(row)
        self._emit("row", line)

    def commit(self) -> None:
        """Send the pending rows to W&B; call it once their checkpoint is durable."""
        self._emit("commit", self.pending)
        self.pending = []

    def offset(self) -> int:
        """Size of all rows in bytes, as in `metrics.jsonl`; a checkpoint stores it."""
        return sum(map(len, self._lines))

    def digest(self) -> str:
        """Digest of all rows, which a checkpoint stores with their size."""
        return digest(b"".join(self._lines))

    def log_eval_summary(self, metrics: Mapping[str, Any], prefix: str = "eval") -> None:
        """Record summary scalars `<prefix>/<name>`, or `<name>` where the prefix is empty."""
        entries: Scalars = {}
        for name, value in metrics.items():
            if prefix and name.startswith(f"{prefix}/"):
                raise ValueError(f"{name!r} carries its prefix already; give prefix=''")
            key = f"{prefix}/{name}" if prefix else name
            self._check_not_series(key, "a summary entry")
            entries[key] = number(value, key)
        self.summary.update(entries)
        self._emit("scalars", entries)

    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Record a table; its name is used once a run."""
        self._check_not_series(name, "a table")
        if name in self.tables:
            raise ValueError(f"table {name!r} is logged already: build it once, log it once")
        for row in rows:
            if len(row) != len(columns):
                raise ValueError(f"table {name!r}: row {row!r} does not fit {list(columns)}")
        self.tables[name] = {"name": name, "columns": list(columns), "rows": plain(rows)}
        self._emit("table", self.tables[name])

    def log_figure(self, name: str, path: Path | str) -> None:
        """Record an image file as `figures/<name>`."""
        self._log_media("figure", f"figures/{name}", path)

    def log_html(self, name: str, path: Path | str) -> None:
        """Record an .html file as `<name>`."""
        self._log_media("html", name, path)

    def log_model(self, name: str, files: Mapping[str, Path]) -> None:
        """Record a trained model: its files by their names in it. W&B keeps it as an artifact.

        Characters of `name` that an artifact cannot have become "-".
        """
        for path in files.values():
            if not path.is_file():
                raise FileNotFoundError(f"model {name}: no file {path}")
        name = re.sub(r"[^A-Za-z0-9_.-]", "-", name)[:LONGEST_NAME]
        self.models[name] = dict(files)
        self._emit("model", name, self.models[name])

    def update_config(self, updates: Mapping[str, Any]) -> None:
        """Add metadata to the config of the run; metrics are refused."""
        for key in updates:
            self._check_not_series(key, "metadata")
            if key.startswith("eval/"):
                raise ValueError(f"{key!r} is a metric; record it with log_eval_summary")
        updates = plain(updates)
        self.config.update(updates)
        self._emit("config", updates)

    def alert(self, title: str, text: str, level: str = "WARN") -> None:
        """Raise an alert; the same alert is raised once a run, restarts included."""
        lookup(dict.fromkeys(("INFO", "WARN", "ERROR")), level, "level")
        alert = {"level": level, "title": title, "text": text}
        if alert not in self.alerts:
            self.alerts.append(alert)
            self._emit("alert", alert)

    def add_tags(self, tags: Sequence[str]) -> None:
        """Add tags to the run, without repeats."""
        self.tags = list(dict.fromkeys([*self.tags, *tags]))
        self._emit("tags", tags)

    def mark_preempting(self) -> None:
        """Mark the run as preempted: another process will resume it."""
        self.preempting = True
        self._emit("preempting")

    def finish(self, exit_code: int = 0) -> None:
        """Close the run with its exit code; later calls have no effect. Sends no pending rows."""
        if not self._finished:
            self._finished, self.exit_code = True, exit_code
            self._emit("finish", exit_code)

    def write_summary(self) -> None:
        """Write `summary.json`, whose presence marks the run as finished."""
        self._emit("summary", dict(sorted(self.summary.items())))

    def _log_media(self, event: str, key: str, path: Path | str) -> None:
        self._check_not_series(key, "a figure")
        if not Path(path).is_file():
            raise FileNotFoundError(f"{key}: no file {path}")
        self.media[key] = Path(path)
        self._emit(event, key, Path(path))

    def _emit(self, event: str, *args: Any) -> None:
        for sink in self.sinks:
            handle = getattr(sink, event, None)
            if handle is not None:
                handle(*args)

    def _check_not_series(self, key: str, kind: str) -> None:
        if key in self.schema.keys():
            raise ValueError(f"{key!r} is a series of this run and cannot be {kind} as well")


def _exit_code(error: BaseException | None) -> int:
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 130 if isinstance(error, KeyboardInterrupt) else int(error is not None)
