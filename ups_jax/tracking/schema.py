"""What a run may record: the checks that every kind of run shares."""

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ups_jax.registry import lookup

SERIES = ("loss", "lr", "grad_norm", "steps_per_s", "unroll", "val_nrmse", "val_crps", "val_loss")
SERIES += ("loss_std", "grad_norm_std")  # over seeds, where there are several
SERIES += ("val_nrmse_std", "val_crps_std", "val_loss_std")
LEVELS = ("INFO", "WARN", "ERROR")


@dataclass(frozen=True)
class Schema:
    """Stages and the metrics of each: the only series a run may hold, against `<stage>/step`."""

    stages: tuple[str, ...]
    metrics: tuple[str, ...] = SERIES

    def __post_init__(self) -> None:
        for name in (*self.stages, *self.metrics):
            if not name or "/" in name or name in ("eval", "step"):
                raise ValueError(
                    f"{name!r} cannot name a stage or a series: 'eval' is for the summary, "
                    "'step' is the x-axis, and '/' parts the two"
                )

    def check(self, stage: str, metric: str) -> None:
        """Raise ValueError unless `stage` may hold a series `metric`."""
        if "eval" in (stage.split("/")[0], metric.split("/")[0]):
            raise ValueError(
                f"{stage}/{metric}: evaluation is no series; record it with log_eval_summary"
            )
        lookup(dict.fromkeys(self.stages), stage, "stage")
        lookup(dict.fromkeys(self.metrics), metric, "series")

    def axes(self) -> dict[str, str]:
        """Each series key and the key of its x-axis."""
        return {f"{s}/{m}": f"{s}/step" for s in self.stages for m in self.metrics}

    def keys(self) -> frozenset[str]:
        """Every key that a series uses, the x-axes with them."""
        return frozenset(self.axes()) | frozenset(self.axes().values())


class RunRecord:
    """What one run holds already: the last step of each stage, its summary and tables."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.summary: dict[str, int | float | None] = {}
        self.last: dict[str, int] = {}
        self._tables: set[str] = set()

    def row(self, stage: str, metrics: Mapping[str, Any], step: int) -> dict[str, Any]:
        """One row of series: `stage`, `step`, `<stage>/step` and `<stage>/<metric>`."""
        if not metrics:
            raise ValueError(f"{stage}: a row needs at least one metric at step {step}")
        for metric in metrics:
            self.schema.check(stage, metric)
        step, last = operator.index(step), self.last.get(stage, -1)
        if step <= last:
            raise ValueError(
                f"{stage}: step {step} after step {last}; steps of a stage must increase, so give "
                "all metrics of one step in one call of log_training_metrics"
            )
        series = {f"{stage}/{metric}": number(v, metric) for metric, v in metrics.items()}
        self.last[stage] = step
        return {"stage": stage, "step": step, f"{stage}/step": step, **series}

    def resume(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Go on after `rows`, and no others."""
        self.last = {row["stage"]: row["step"] for row in rows}

    def scalars(self, metrics: Mapping[str, Any], prefix: str) -> dict[str, int | float | None]:
        """Summary entries under `prefix`, noted in `summary`."""
        entries = {}
        for name, value in metrics.items():
            if prefix and name.startswith(f"{prefix}/"):
                raise ValueError(f"{name!r} carries its prefix already; give prefix=''")
            key = f"{prefix}/{name}" if prefix else name
            self._not_series(key, "a summary entry")
            entries[key] = number(value, key)
        self.summary.update(entries)
        return entries

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict:
        """A table as JSON holds it; a name stands for one table of a run."""
        self._not_series(name, "a table")
        if name in self._tables:
            raise ValueError(f"table {name!r} is logged already: build it once, log it once")
        for row in rows:
            if len(row) != len(columns):
                raise ValueError(f"table {name!r}: row {row!r} does not fit {list(columns)}")
        self._tables.add(name)
        return {"name": name, "columns": list(columns), "rows": plain(rows)}

    def media(self, key: str, path: Path | str) -> Path:
        """The file to be shown under `key`, which must exist."""
        self._not_series(key, "a figure")
        if not Path(path).is_file():
            raise FileNotFoundError(f"{key}: no file {path}")
        return Path(path)

    def metadata(self, updates: Mapping[str, Any]) -> dict[str, Any]:
        """Updates of the config: metadata, never metrics."""
        for key in updates:
            self._not_series(key, "metadata")
            if key.startswith("eval/"):
                raise ValueError(f"{key!r} is a metric; record it with log_eval_summary")
        return plain(updates)

    def notice(self, title: str, text: str, level: str) -> dict[str, str]:
        """One alert."""
        lookup(dict.fromkeys(LEVELS), level, "level")
        return {"level": level, "title": title, "text": text}

    def _not_series(self, key: str, what: str) -> None:
        if key in self.schema.keys():
            raise ValueError(f"{key!r} is a series of this run and cannot be {what} as well")


def number(value: Any, key: str) -> int | float | None:
    """A scalar as JSON holds it: NaN and infinities become null."""
    value = value.item() if hasattr(value, "item") else value
    if value is None or isinstance(value, int):
        return value
    if not isinstance(value, float):
        raise ValueError(f"{key}: expected a number, got {value!r}")
    return value if math.isfinite(value) else None


def plain(value: Any) -> Any:
    """A nested value as JSON holds it: lists for tuples, text for paths, null for NaN."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Path):
        return str(value)
    return number(value, "value")


def exit_code_of(error: BaseException | None, chosen: int | None) -> int:
    """Exit code to record: the one chosen, else what `error` stands for."""
    if chosen is not None:
        return chosen
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, KeyboardInterrupt):
        return 130
    return int(error is not None)
