"""WandBContext: one run on disk and, unless disabled, in W&B."""

import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from ups_jax.files import MetricsFile, read_json, write_json
from ups_jax.tracking.schema import RunRecord, Schema, exit_code_of


class Session(NamedTuple):
    """An open W&B run; `wandb` and `run` are None where the mode is disabled."""

    mode: str
    wandb: Any
    run: Any
    closing: ExitStack


class WandBContext:
    """One pipeline, one process, one run: made by `start` or `reopen`, closed by `with`.

    Set `exit_code` before raising to record a code other than the exception's own.
    """

    def __init__(
        self, run_id: str, workdir: Path, *, schema: Schema, session: Session, metrics: MetricsFile
    ) -> None:
        self.id = run_id
        self.workdir = workdir
        self.mode = session.mode
        # Offline runs have no url, and asking for one prints a warning.
        self.url: str | None = session.run.url if session.mode == "online" else None
        self.exit_code: int | None = None
        self.tags: list[str] = []
        self.preempting = False
        self._session = session
        self._metrics = metrics
        self._ledger = RunRecord(schema)
        self._ledger.resume(metrics.rows())
        self._pending: list[dict[str, Any]] = []
        self._finished = False

    @property
    def summary(self) -> dict[str, int | float | None]:
        """Summary scalars recorded so far by this process."""
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
        """Write one series value; W&B has it after `commit`."""
        self.log_training_metrics(stage, {metric: value}, step)

    def log_training_metrics(self, stage: str, metrics: Mapping[str, Any], step: int) -> None:
        """Write all series values of one step as one row; W&B has it after `commit`."""
        row = self._ledger.row(stage, metrics, step)
        self._metrics.append(row)
        self._pending.append(row)

    def commit(self) -> None:
        """Send the pending rows to W&B: call it once the checkpoint they lead to is durable."""
        for row in self._pending:
            self._log({key: value for key, value in row.items() if key not in ("stage", "step")})
        self._pending = []

    def offset(self) -> int:
        """Bytes in `metrics.jsonl` now: what a checkpoint keeps."""
        return self._metrics.offset()

    def rewind(self, offset: int) -> None:
        """Cut `metrics.jsonl` back to `offset` bytes and drop the rows not yet sent."""
        self._metrics.rewind(offset)
        self._pending = []
        self._ledger.resume(self._metrics.rows())

    def log_eval_summary(self, metrics: Mapping[str, Any], prefix: str = "eval") -> None:
        """Record summary scalars `<prefix>/<name>`, or `<name>` where the prefix is empty."""
        entries = self._ledger.scalars(metrics, prefix)
        if self._session.run is not None:
            self._session.run.summary.update(entries)

    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Record a table, once; a copy goes to `tables/<slug>.json`."""
        table = self._ledger.table(name, columns, rows)
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        write_json(self.workdir / "tables" / f"{slug}.json", table)
        if self._session.run is not None:
            made = self._session.wandb.Table(
                columns=table["columns"], data=table["rows"], allow_mixed_types=True
            )
            self._log({name: made})

    def log_figure(self, name: str, path: Path | str) -> None:
        """Show an image file as `figures/<name>`."""
        file = self._ledger.media(f"figures/{name}", path)
        if self._session.run is not None:
            self._log({f"figures/{name}": self._session.wandb.Image(str(file))})

    def log_html(self, name: str, path: Path | str) -> None:
        """Show an .html file as `<name>`."""
        file = self._ledger.media(name, path)
        if self._session.run is not None:
            self._log({name: self._session.wandb.Html(file, inject=False)})

    def update_config(self, updates: Mapping[str, Any]) -> None:
        """Add metadata to the run's config; a copy goes to `metadata.json`."""
        updates = self._ledger.metadata(updates)
        path = self.workdir / "metadata.json"
        write_json(path, {**read_json(path, {}), **updates})
        if self._session.run is not None:
            self._session.run.config.update(updates, allow_val_change=True)

    def alert(self, title: str, text: str, level: str = "WARN") -> None:
        """Say something on stderr, in `alerts.json` and as a W&B alert; the same thing once."""
        notice = self._ledger.notice(title, text, level)
        path = self.workdir / "alerts.json"
        told = read_json(path, [])
        if notice in told:
            return
        write_json(path, [*told, notice])
        print(f"{level}: {title}: {text}", file=sys.stderr)
        if self._session.run is None:
            return
        try:
            # W&B wants titles of 2 to 64 characters.
            self._session.run.alert(title.ljust(2)[:64], text, level=level)
        except (self._session.wandb.Error, OSError) as error:
            print(f"W&B has no copy of this alert: {error}", file=sys.stderr)

    def add_tags(self, tags: Sequence[str]) -> None:
        """Add tags to the run, each once."""
        self.tags = list(dict.fromkeys([*self.tags, *tags]))
        run = self._session.run
        if run is not None:
            run.tags = tuple(dict.fromkeys([*(run.tags or ()), *tags]))

    def mark_preempting(self) -> None:
        """Tell W&B that the run will go on in another process."""
        self.preempting = True
        if self._session.run is not None:
            self._session.run.mark_preempting()

    def finish(self, exit_code: int = 0) -> None:
        """Close the run with its exit code; only the first call counts, and it sends no rows."""
        if self._finished:
            return
        self._finished, self.exit_code = True, exit_code
        self._metrics.close()
        with self._session.closing:
            if self._session.run is not None:
                self._session.run.finish(exit_code=exit_code)
                # finish returns before the last bytes are on disk; the service ends after them.
                self._session.wandb.teardown(exit_code)

    def write_summary(self) -> None:
        """Write `summary.json`, whose presence means that the run is finished."""
        write_json(self.workdir / "summary.json", dict(sorted(self.summary.items())))

    def _log(self, payload: dict[str, Any]) -> None:
        # Never step=: W&B would not commit the row, and drops lower steps without an error.
        if self._session.run is not None:
            self._session.run.log(payload)
