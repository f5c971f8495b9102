"""A run that is kept in memory."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ups_jax.files import encode
from ups_jax.tracking.schema import RunRecord, Schema, exit_code_of


class MemoryRun:
    """The methods and checks of WandBContext without a file or a network: notebooks, tests."""

    id, mode, url = "memory", "memory", None

    def __init__(self, schema: Schema) -> None:
        self.exit_code: int | None = None
        self.rows: list[dict[str, Any]] = []
        self.sent: list[dict[str, Any]] = []
        self.tables: dict[str, dict[str, Any]] = {}
        self.media: dict[str, Path] = {}
        self.config: dict[str, Any] = {}
        self.alerts: list[dict[str, str]] = []
        self.tags: list[str] = []
        self.preempting = False
        self.written: dict[str, int | float | None] | None = None
        self._ledger = RunRecord(schema)
        self._pending: list[dict[str, Any]] = []
        self._finished = False

    @property
    def summary(self) -> dict[str, int | float | None]:
        """Summary scalars recorded so far."""
        return self._ledger.summary

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.finish(exit_code_of(error, self.exit_code))

    def log_training_metric(self, stage: str, metric: str, value: Any, step: int) -> None:
        """Keep one series value."""
        self.log_training_metrics(stage, {metric: value}, step)

    def log_training_metrics(self, stage: str, metrics: Mapping[str, Any], step: int) -> None:
        """Keep all series values of one step."""
        row = self._ledger.row(stage, metrics, step)
        self.rows.append(row)
        self._pending.append(row)

    def commit(self) -> None:
        """Move the pending rows to `sent`."""
        self.sent += self._pending
        self._pending = []

    def offset(self) -> int:
        """Bytes the rows would take in `metrics.jsonl`."""
        return sum(len(encode(row).encode()) for row in self.rows)

    def rewind(self, offset: int) -> None:
        """Drop the rows after `offset` bytes and those not yet sent."""
        if not 0 <= offset <= self.offset():
            raise ValueError(f"the run holds {self.offset()} bytes, it cannot go back to {offset}")
        while self.offset() > offset:
            self.rows.pop()
        if self.offset() < offset:
            raise ValueError(f"no row ends at byte {offset}")
        self._pending = []
        self._ledger.resume(self.rows)

    def log_eval_summary(self, metrics: Mapping[str, Any], prefix: str = "eval") -> None:
        """Keep summary scalars."""
        self._ledger.scalars(metrics, prefix)

    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Keep a table, once."""
        self.tables[name] = self._ledger.table(name, columns, rows)

    def log_figure(self, name: str, path: Path | str) -> None:
        """Keep the path of a figure."""
        self.media[f"figures/{name}"] = self._ledger.media(f"figures/{name}", path)

    def log_html(self, name: str, path: Path | str) -> None:
        """Keep the path of an HTML page."""
        self.media[name] = self._ledger.media(name, path)

    def update_config(self, updates: Mapping[str, Any]) -> None:
        """Keep metadata."""
        self.config.update(self._ledger.metadata(updates))

    def alert(self, title: str, text: str, level: str = "WARN") -> None:
        """Keep an alert, the same one once."""
        notice = self._ledger.notice(title, text, level)
        if notice not in self.alerts:
            self.alerts.append(notice)

    def add_tags(self, tags: Sequence[str]) -> None:
        """Keep tags, each once."""
        self.tags = list(dict.fromkeys([*self.tags, *tags]))

    def mark_preempting(self) -> None:
        """Note that the run will go on elsewhere."""
        self.preempting = True

    def finish(self, exit_code: int = 0) -> None:
        """Close the run; the first exit code stands."""
        if not self._finished:
            self._finished, self.exit_code = True, exit_code

    def write_summary(self) -> None:
        """Keep the summary as `summary.json` would hold it."""
        self.written = dict(sorted(self.summary.items()))
