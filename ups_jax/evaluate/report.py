"""Result of an evaluation: scalars by summary key, arrays for figures, derived tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from ups_jax.arrays import FLOOR
from ups_jax.evaluate.batches import Stats
from ups_jax.forecast import FORECASTERS
from ups_jax.metrics import BUILT_IN, METRICS, OBSERVED_METRICS, Metric
from ups_jax.tables import format_table, select_columns

COUNTS = ("samples", "calls")
TERMINAL_COLUMNS = {
    "forecaster": "forecaster",
    "protocol": "protocol",
    "nrmse": "nRMSE",
    "nrmse_median": "median",
    "nrmse_p90": "p90",
    "mae": "MAE",
    "rel_l2": "relL2",
    "correlation_time": "corr. time",
    "samples": "samples",
    "parameters": "parameters",
    "calls": "calls",
    "ms": "ms/rollout",
}
"""Columns of the table in a terminal, with their titles."""
EXAMPLES = (("median", 0.5), ("90th percentile", 0.9), ("worst", 1.0), ("best", 0.0))
"""Quantiles of the error at which example trajectories are shown, in order."""


@dataclass(frozen=True)
class Report:
    """Scalars of the forecasters by summary key, and arrays for the figures.

    `curves` holds "<mode>[/p10]/nrmse" (n, t), "<mode>/spectrum" (k,) at the last frame and
    "<mode>/law/<law>" (3, t + 1), the 10th, 50th and 90th percentile of a law's drift;
    `examples` "truth" (m, t + 1, *s, c), "<mode>" (m, t, *s, c) and, if there are static channels,
    "static" (m, *s, k) of the samples `chosen`, from the last frame given under `protocol`;
    `predictions` every P1 forecast (n, t, *s, c), if kept. `knows_equation`: the networks correct a
    base step that is derived from the equation. `held_out`: equations of the test split that
    training does not contain. `missing`: share of the truth's values that are missing and masked.
    Reports of one split combine with `|`.
    """

    scalars: dict[str, float]
    forecasters: tuple[str, ...]
    parameters: Mapping[str, int]
    protocols: tuple[str, ...]
    horizons: tuple[float, ...]
    times: np.ndarray
    protocol: str = "p1"
    metrics: Mapping[str, Metric] = field(default_factory=lambda: METRICS)
    curves: Stats = field(default_factory=dict)
    predictions: Stats = field(default_factory=dict)
    examples: Stats = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    chosen: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    num_seeds: int = 1
    knows_equation: bool = False
    held_out: tuple[str, ...] = ()
    missing: float | None = None

    def __or__(self, other: Self) -> Self:
        """Return the union; where both have a value, the other's counts."""
        return replace(
            self,
            scalars=self.scalars | other.scalars,
            forecasters=tuple(dict.fromkeys((*self.forecasters, *other.forecasters))),
            parameters={**self.parameters, **other.parameters},
            curves=self.curves | other.curves,
            metrics={**self.metrics, **other.metrics},
            predictions=self.predictions | other.predictions,
            examples=self.examples | other.examples,
            labels=other.labels or self.labels,
            chosen=other.chosen if other.labels else self.chosen,
        )

    def __repr__(self) -> str:
        return self.table()

    @property
    def example_times(self) -> np.ndarray:
        """Times (t,) of the forecasts in `examples`."""
        return np.asarray(self.times, float)[1 - self.examples["truth"].shape[1] :]

    def to_pandas(self) -> Any:
        """Return "Evaluation Summary" as a pandas.DataFrame. Raises ImportError without pandas."""
        try:
            from pandas import DataFrame
        except ImportError as error:
            raise ImportError("to_pandas needs pandas: pip install pandas") from error
        return DataFrame(self.rows, columns=self.columns)

    @property
    def columns(self) -> list[str]:
        """Columns of "Evaluation Summary"."""
        return [
            "forecaster",
            "protocol",
            *self._metrics(),
            "parameters",
            *COUNTS,
            *self._timed(),
            "what it is",
        ]

    @property
    def rows(self) -> list[list[Any]]:
        """Rows of "Evaluation Summary": each protocol, each forecaster, then seeds."""
        rows, seeds = [], []
        for protocol in self.protocols:
            for mode in self.forecasters:
                prefix = prefix_of(mode, protocol)
                first = next((n for n in self.metrics if f"{prefix}{n}" in self.scalars), None)
                if first is None:
                    continue
                learned = bool(FORECASTERS[mode].stages)
                note = FORECASTERS[mode].note
                note += "; knows the equation" * (learned and self.knows_equation)
                rows.append([mode, protocol, *self._row(mode, prefix), note])
                seeds += [
                    [title, protocol, *self._row(mode, prefix, suffix), note]
                    for title, suffix in self._seed_rows(f"{prefix}{first}", mode)
                ]
        return rows + seeds

    @property
    def physics_columns(self) -> list[str]:
        """Columns of "Physics Diagnostics"."""
        return ["forecaster", *self._diagnostics()]

    @property
    def physics_rows(self) -> list[list[Any]]:
        """Rows of "Physics Diagnostics": the truth, each forecaster, then seeds."""
        names, rows, seeds = self._diagnostics(), [], []
        for mode in ("truth", *self.forecasters):
            keys = [f"eval/{mode}/physics/{name}" for name in names]
            if not keys or keys[0] not in self.scalars:
                continue
            rows.append([mode, *(self.scalars[key] for key in keys)])
            seeds += [
                [title, *(self.scalars.get(key + suffix) for key in keys)]
                for title, suffix in self._seed_rows(keys[0], mode)
            ]
        return rows + seeds

    def table(self) -> str:
        """Return the evaluation as aligned text, and the share of floored trajectories if any."""
        low = max((v for k, v in self.scalars.items() if k.endswith("/floored")), default=0.0)
        note = (
            f"\n{100 * low:.2g} % of the trajectories have frames whose RMS is below {FLOOR:g} "
            "standard deviations of the split; relative errors there are divided by that floor"
        )
        gaps = (
            f"\n{100 * (self.missing or 0):.2g} % of the truth's values are missing: errors are "
            "those of observed values; physics, spectra and metrics of whole fields are left out"
        )
        notes = (note if low > 0 else "") + (gaps if self.missing is not None else "")
        return format_table(*self.short_table()) + notes

    def short_table(self) -> tuple[list[str], list[list[Any]]]:
        """Return columns and rows that fit a terminal or a page."""
        added = {n: self.metrics[n].label or n for n in self._named() if n not in TERMINAL_COLUMNS}
        return select_columns(self.columns, self.rows, TERMINAL_COLUMNS | added)

    def _metrics(self) -> list[str]:
        horizons = [f"nrmse@{h:g}" for h in self.horizons]
        names = ["nrmse", "nrmse_median", "nrmse_p90", *horizons, "rmse", "mae", "rel_l2", "crmse"]
        names += ["max_error", "correlation_time", "correlation_censored", "floored"]
        names = [n for n in names if n in self.metrics or n.startswith("nrmse")]
        names = names if "nrmse" in self.metrics else [n for n in names if "nrmse" not in n]
        return [*names, *(n for n in self._named() if n not in names)]

    def _named(self) -> list[str]:
        """Return the metrics that a table must show: all of a few, else those of the user."""
        whole = METRICS if self.missing is None else OBSERVED_METRICS
        chosen = BUILT_IN if self.metrics.keys() >= whole.keys() & BUILT_IN else ()
        return [name for name in self.metrics if name not in chosen]

    def _timed(self) -> list[str]:
        return ["ms"] if any(f"eval/{m}/ms" in self.scalars for m in self.forecasters) else []

    def _diagnostics(self) -> list[str]:
        start = "eval/truth/physics/"
        return [key.removeprefix(start) for key in self.scalars if key.startswith(start)]

    def _row(self, mode: str, prefix: str, suffix: str = "") -> list[Any]:
        values = [self.scalars.get(f"{prefix}{name}{suffix}") for name in self._metrics()]
        if suffix:
            return [*values, *[None] * (len(COUNTS) + 1 + len(self._timed()))]
        counts = [int(self.scalars[f"eval/{mode}/{name}"]) for name in COUNTS]
        ms = [self.scalars.get(f"eval/{mode}/{name}") for name in self._timed()]
        return [*values, self.parameters.get(mode, 0), *counts, *ms]

    def _seed_rows(self, key: str, mode: str) -> list[tuple[str, str]]:
        if f"{key}_seeds_mean" not in self.scalars:
            return []
        kinds = (("mean", "_seeds_mean"), ("spread", "_seeds_std"))
        return [(f"{mode}, {kind} of {self.num_seeds} seeds", suffix) for kind, suffix in kinds]


def example_indices(errors: np.ndarray, count: int) -> tuple[np.ndarray, list[str]]:
    """Return up to `count` samples at quantiles of the errors (n,), and their labels."""
    order = np.argsort(np.nan_to_num(errors, nan=np.inf))
    wanted = EXAMPLES[:count]
    chosen = np.array([order[round(q * (len(order) - 1))] for _, q in wanted], int)
    return chosen, [f"{name} sample ({i})" for (name, _), i in zip(wanted, chosen, strict=True)]


def prefix_of(mode: str, protocol: str) -> str:
    """Return the start of a forecaster's summary keys under a protocol."""
    return f"eval/{mode}/" if protocol == "p1" else f"eval/{mode}/{protocol}/"


def merge_seeds(report: Report, networks: Sequence[Report]) -> Report:
    """Add the mean and the sample deviation over networks, of each of their scalars.

    `<key>_seeds_mean` and `<key>_seeds_std`; medians, percentiles, calls and milliseconds are the
    selected network's alone. Raises ValueError below two networks.
    """
    if len(networks) < 2:
        raise ValueError(f"got {len(networks)} network; a spread over seeds needs at least two")
    scalars = dict(report.scalars)
    for key in networks[0].scalars:
        if key.startswith("eval/truth/") or key.endswith(("/ms", "/calls", "_median", "_p90")):
            continue
        values = [network.scalars[key] for network in networks]
        scalars[f"{key}_seeds_mean"] = float(np.mean(values))
        scalars[f"{key}_seeds_std"] = float(np.std(values, ddof=1))
    return replace(report, scalars=scalars, num_seeds=len(networks))
