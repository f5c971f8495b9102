"""The series that a run may record, and the values that JSON can hold."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ups_jax.registry import lookup

SERIES = ("loss", "lr", "grad_norm", "steps_per_s", "unroll", "val_nrmse", "val_crps", "val_loss")
# Deviations over seeds, where there are several.
SERIES += ("loss_std", "grad_norm_std", "val_nrmse_std", "val_crps_std", "val_loss_std")


@dataclass(frozen=True)
class Schema:
    """Series `<stage>/<metric>` of a run, all against `<stage>/step`.

    `stages` are the names that the stages give their series.
    """

    stages: tuple[str, ...]
    metrics: tuple[str, ...] = SERIES

    def __post_init__(self) -> None:
        for name in (*self.stages, *self.metrics):
            if not name or "/" in name or name in ("eval", "step"):
                raise ValueError(
                    f"{name!r} cannot name a stage or a series: 'eval' is for the summary, "
                    "'step' is the x-axis, and '/' separates the two"
                )

    def check(self, stage: str, metric: str) -> None:
        """Raise ValueError unless `stage` may have a series `metric`."""
        if "eval" in (stage.split("/")[0], metric.split("/")[0]):
            raise ValueError(
                f"{stage}/{metric}: evaluation is no series; record it with log_eval_summary"
            )
        lookup(dict.fromkeys(self.stages), stage, "stage")
        lookup(dict.fromkeys(self.metrics), metric, "series")

    def axes(self) -> dict[str, str]:
        """Map every series key to the key of its x-axis."""
        return {f"{s}/{m}": f"{s}/step" for s in self.stages for m in self.metrics}

    def keys(self) -> frozenset[str]:
        """Collect the keys of all series and of their x-axes."""
        return frozenset(self.axes()) | frozenset(self.axes().values())


def number(value: Any, key: str) -> int | float | None:
    """Convert a scalar to a JSON number; NaN and infinities become null."""
    value = value.item() if hasattr(value, "item") else value
    if value is None or isinstance(value, int):
        return value
    if not isinstance(value, float):
        raise ValueError(f"{key}: expected a number, got {value!r}")
    return value if math.isfinite(value) else None


def plain(value: Any) -> Any:
    """Convert a nested value to JSON: lists for tuples, text for paths, null for NaN."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, str | Path):
        return str(value)
    return number(value, "value")
