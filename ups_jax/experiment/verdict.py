"""The verdict on a run: its gates, its regressions and its place on the leaderboard."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ups_jax import leaderboard
from ups_jax.experiment import record, workdir
from ups_jax.experiment.context import RunContext, RunOptions
from ups_jax.experiment.datasets import Splits
from ups_jax.files import digest, salvage_json, set_aside, write_json
from ups_jax.leaderboard import BoardState, Leaderboard, PromotionDecision, Regression, Row
from ups_jax.leaderboard.gates import check, passed
from ups_jax.leaderboard.page import write_page
from ups_jax.leaderboard.regression import IMPROVED
from ups_jax.leaderboard.tables import ranking_table
from ups_jax.report import Table
from ups_jax.tracking import RunRecord
from ups_jax.types import FAIL, NO_BASELINE, PASS, GateVerdict

GATE_COLUMNS = ["gate", "metric", "verdict", "value", "limit", "margin", "reference", "sentence"]
REGRESSION_COLUMNS = ["metric", "against", "verdict", "value", "reference", "change", "spread"]


@dataclass(frozen=True)
class RunVerdict:
    """Verdicts on a run, its row, and the board before and after the run was added."""

    row: Row
    before: BoardState
    gates: tuple[GateVerdict, ...]
    regressions: tuple[Regression, ...]
    promotion: PromotionDecision
    after: Leaderboard
    notes: Sequence[str] = ()

    @property
    def gates_met(self) -> bool:
        """True if no gate failed."""
        return passed(self.gates)

    @property
    def worse(self) -> dict[str, Regression]:
        """Largest regression of each metric that got worse."""
        return leaderboard.worst_regressions(self.regressions)

    @property
    def champion_id(self) -> str | None:
        """Id of the board's champion after the run was added."""
        return leaderboard.champions(self.after.events).get(self.row["board"])


def board_path(cfg: Any, workdir: Path) -> Path:
    """Return the path of the leaderboard to which a run in `workdir` is added."""
    path = cfg.leaderboard.path
    return Path(path).expanduser() if path else workdir.parent / "leaderboard.jsonl"


def check_board(cfg: Any, workdir: Path) -> None:
    """Raise ValueError unless a run in `workdir` can be added to its leaderboard."""
    path = board_path(cfg, workdir)
    if path.resolve().is_relative_to(workdir.resolve()):
        raise ValueError(
            f"leaderboard.path is {str(path)!r}, in the run's own folder; it must be outside, as "
            "other runs are added to it"
        )
    leaderboard.require_writable(path)


def page_path(cfg: Any, workdir: Path) -> Path:
    """Return the path of the leaderboard's page, next to its lines."""
    return board_path(cfg, workdir).with_suffix(".html")


def baseline(context: RunContext, splits: Splits, run_id: str) -> BoardState:
    """Return the board before the run began; `baseline.json` keeps it for a resumed run."""
    path, board = context.workdir / "baseline.json", record.board_name(context.cfg, splits)
    then = "the board as it is now is the baseline"
    saved = salvage_json(path, None, keys=("board", "champion", "history"), then=then)
    if saved is not None and saved.pop("digest", None) not in (None, digest(saved)):
        set_aside(path, "its values were changed", then)
        saved = None
    if saved is None or saved["board"] != board:
        entries = leaderboard.read(board_path(context.cfg, context.workdir))
        update = record.fingerprint_updater(context.cfg)
        state = leaderboard.board_state(entries, board, without=run_id, update=update)
        recent = state.history[-context.cfg.regression.history :]
        # Older runs of the champion's recipe show how much a metric varies with the seed.
        fingerprint = (state.champion or {}).get("seedless_fingerprint")
        alike = [
            row
            for row in state.history
            if fingerprint and row.get("seedless_fingerprint") == fingerprint and row not in recent
        ]
        saved = {"board": board, "champion": state.champion, "history": [*alike, *recent]}
        write_json(path, {**saved, "digest": digest(saved)})
    champion = saved["champion"] and leaderboard.upgrade_row(saved["champion"])
    return BoardState(champion, tuple(map(leaderboard.upgrade_row, saved["history"])))


def judge(
    context: RunContext,
    splits: Splits,
    run: RunRecord,
    before: BoardState,
    *,
    selected: str,
    curves: Mapping[str, np.ndarray],
    times: np.ndarray,
    spread: float | None,
) -> RunVerdict:
    """Judge the summary of `run`, add its row to the leaderboard, promote it if allowed.

    selected: forecaster selected by validation; curves: those of `evaluate.Report`; times: of the
    truth's frames; spread: of the validation error over the seeds of this run.
    """
    cfg, champion = context.cfg, before.champion
    gates = check(cfg.gates.to_dict(), run.summary, champion and champion["metrics"])
    row = record.row_of(context, splits, run, selected=selected, spread=spread)
    row["curves"] = record.curves_of(context, curves, times, selected=selected)
    row["gates"] = {
        "met": sum(verdict.status == PASS for verdict in gates),
        "total": sum(verdict.status != NO_BASELINE for verdict in gates),
        "failed": [verdict.name for verdict in gates if verdict.status == FAIL],
    }
    regressions = leaderboard.compare(before, row, **cfg.regression.to_dict())
    row["regressions"] = {
        "regressed": list(leaderboard.worst_regressions(regressions)),
        "improved": sorted({r.metric for r in regressions if r.status == IMPROVED}),
        "baseline": champion and champion["id"],
    }
    path, spec = board_path(cfg, context.workdir), cfg.leaderboard
    promotion, after = leaderboard.enter_run(
        path,
        row,
        margin=spec.margin,
        promote=spec.auto_promote,
        by="run",
        update=record.fingerprint_updater(cfg),
    )
    write_page(path)
    ruling = RunVerdict(row, before, gates, regressions, promotion, after, context.notes)
    write_json(context.workdir / "verdict.json", _record(ruling))
    return ruling


def exit_code(folder: Path, options: RunOptions) -> int:
    """Return 3 if an option makes a failed gate or a regression fatal, else 0.

    Without a verdict, or with one that was changed, gates and regressions count as failed.
    """
    then = "gates and regressions count as failed"
    saved = salvage_json(folder / "verdict.json", {}, then=then)
    if "verdict.json" in workdir.changed_results(folder):
        saved = {}
    failed = options.fail_on_gate and not saved.get("gates_met")
    return 3 if failed or (options.fail_on_regression and saved.get("worse", True)) else 0


def log_verdict(ruling: RunVerdict, run: RunRecord) -> None:
    """Add verdicts to the summary, and alert for every failed gate and every worse metric."""
    count = [verdict.status for verdict in ruling.gates].count
    gates = {"met": count(PASS), "failed": count(FAIL), "no_baseline": count(NO_BASELINE)}
    run.log_eval_summary({f"gates/{name}": value for name, value in gates.items()})
    known = {r.metric for r in ruling.regressions if r.reference is not None}
    scalars: dict[str, Any] = {
        "worse": len(ruling.worse),
        "better": len(ruling.row["regressions"]["improved"]),
        "no_baseline": len({r.metric for r in ruling.regressions} - known),
    }
    for regression in ruling.regressions:
        if regression.against == "champion" and regression.change is not None:
            scalars[regression.metric.removeprefix("eval/")] = regression.change
    run.log_eval_summary({f"regression/{name}": value for name, value in scalars.items()})
    ranks = [row["id"] for row in leaderboard.ranked(ruling.after.runs, ruling.row["board"])]
    place = {"rank": ranks.index(ruling.row["id"]) + 1, "runs": len(ranks)}
    place["champion"] = int(ruling.champion_id == ruling.row["id"])
    run.log_eval_summary({f"leaderboard/{name}": value for name, value in place.items()})
    for verdict in ruling.gates:
        if verdict.status == FAIL:
            run.alert(f"gate {verdict.name}", verdict.sentence, "ERROR")
    for metric, regression in ruling.worse.items():
        run.alert(f"regression {metric}", regression.sentence, "WARN")
    if warning := ruling.after.warning:
        run.alert("leaderboard", warning, "INFO")
    champion = ruling.before.champion
    if champion and champion["id"] not in {row["id"] for row in ruling.after.runs}:
        text = f"{champion['id']}, the champion that this run was compared with, is no longer on it"
        run.alert("leaderboard", f"{text}: the file was damaged or replaced", "WARN")


def sentence(ruling: RunVerdict) -> str:
    """Return the verdict in words: gates, regressions, promotion."""
    gates = ruling.row["gates"]
    parts = []
    if ruling.gates:
        met = f"{gates['met']} of {gates['total']} gates met"
        parts.append(f"{met}; missed: {', '.join(gates['failed'])}" if gates["failed"] else met)
    else:
        parts.append("no gates")
    if without := sum(verdict.status == NO_BASELINE for verdict in ruling.gates):
        parts.append(f"{without} without a champion to compare with")
    if ruling.worse:
        parts.append(f"worse: {', '.join(ruling.worse)}")
    leads = ruling.champion_id == ruling.row["id"]
    parts.append(f"{'champion' if leads else 'not champion'} ({ruling.promotion.reason})")
    if ruling.before.champion is not None and not ruling.worse:
        parts.append("no metric got worse")
    text = "; ".join(parts)
    return " ".join(f"{part[0].upper()}{part[1:]}." for part in (text, *ruling.notes))


def tables(ruling: RunVerdict) -> list[Table]:
    """Return the tables "Gates", "Regressions" and "Leaderboard"."""
    gates = [
        [v.name, v.metric, v.status, v.value, v.limit, v.margin, v.reference, v.sentence]
        for v in ruling.gates
    ]
    return [
        Table("Gates", GATE_COLUMNS, gates),
        Table("Regressions", REGRESSION_COLUMNS, [list(r[:-1]) for r in ruling.regressions]),
        Table("Leaderboard", *ranking_table(ruling.after, ruling.row["board"])),
    ]


def _record(ruling: RunVerdict) -> dict[str, Any]:
    """Return the contents of `verdict.json`."""
    return {
        "gates_met": ruling.gates_met,
        "worse": {metric: regression.sentence for metric, regression in ruling.worse.items()},
        "sentence": sentence(ruling),
        "notes": list(ruling.notes),
        "promotion": asdict(ruling.promotion),
        "gates": [verdict._asdict() for verdict in ruling.gates],
        "regressions": [
            {**regression._asdict(), "change": leaderboard.finite(regression.change)}
            for regression in ruling.regressions
        ],
    }
