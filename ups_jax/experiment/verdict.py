"""What a run says of itself: its gates, what has got worse, and its place on the leaderboard."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ups_jax import leaderboard
from ups_jax.experiment import record
from ups_jax.experiment.context import RunContext, RunOptions
from ups_jax.experiment.datasets import Splits
from ups_jax.files import read_json, write_json, write_text
from ups_jax.leaderboard import BoardState, Leaderboard, PromotionDecision, Regression, Row
from ups_jax.leaderboard.gates import FAIL, NO_BASELINE, PASS, GateVerdict, check, passed
from ups_jax.leaderboard.page import page
from ups_jax.leaderboard.tables import ranking_table
from ups_jax.report import Table
from ups_jax.tracking import RunRecord

GATE_COLUMNS = ["gate", "metric", "verdict", "value", "limit", "margin", "reference", "sentence"]
REGRESSION_COLUMNS = ["metric", "against", "verdict", "value", "reference", "change", "spread"]


@dataclass(frozen=True)
class RunVerdict:
    """The verdicts on a run, its row, and the board as it stood before and stands after."""

    row: Row
    before: BoardState
    gates: tuple[GateVerdict, ...]
    regressions: tuple[Regression, ...]
    claim: PromotionDecision
    after: Leaderboard

    @property
    def gates_met(self) -> bool:
        """Whether no gate failed."""
        return passed(self.gates)

    @property
    def worse(self) -> dict[str, Regression]:
        """What has got worse, a metric each."""
        return leaderboard.worst_regressions(self.regressions)


def board_path(cfg: Any, workdir: Path) -> Path:
    """The leaderboard that a run in `workdir` is entered in."""
    own = cfg.leaderboard.path
    return Path(own).expanduser() if own else workdir.parent / "leaderboard.jsonl"


def page_path(cfg: Any, workdir: Path) -> Path:
    """The leaderboard as a page, beside its lines."""
    return board_path(cfg, workdir).with_suffix(".html")


def baseline(plan: RunContext, splits: Splits, run_id: str) -> BoardState:
    """The board before the run began: read once, kept in `baseline.json` for when it goes on."""
    path, own = plan.workdir / "baseline.json", record.board_name(plan.cfg, splits)
    held = read_json(path, None)
    if held is None or held["board"] != own:
        lines = leaderboard.read(board_path(plan.cfg, plan.workdir))
        now = leaderboard.board_state(lines, own, without=run_id)
        history = now.history[-plan.cfg.regression.history :]
        held = {"board": own, "champion": now.champion, "history": list(history)}
        # Runs of the champion's recipe tell how much a seed changes.
        recipe = None if now.champion is None else now.champion.get("recipe")
        alike = [r for r in now.history if recipe and r.get("recipe") == recipe]
        held["history"] = [*(r for r in alike if r not in history), *history]
        write_json(path, held)
    return BoardState(held["champion"], tuple(held["history"]))


def judge(
    plan: RunContext,
    splits: Splits,
    run: RunRecord,
    before: BoardState,
    *,
    ship: str,
    curves: Mapping[str, np.ndarray],
    times: np.ndarray,
    spread: float | None,
) -> RunVerdict:
    """Judge what `run` has in its summary, enter it in the leaderboard, promote it if it leads.

    curves: as `evaluate.Report` holds them; times: of the truth's frames; spread: of the validation
    error over the seeds of this run.
    """
    cfg, scalars = plan.cfg, run.summary
    held = None if before.champion is None else before.champion["metrics"]
    gates = check(cfg.gates.to_dict(), scalars, held)
    row = record.row_of(plan, splits, run, ship=ship, spread=spread)
    row["curves"] = record.curves_of(plan, curves, times, ship=ship)
    row["gates"] = {
        "met": sum(v.status == PASS for v in gates),
        "of": sum(v.status != NO_BASELINE for v in gates),
        "failed": [v.name for v in gates if v.status == FAIL],
    }
    spec = cfg.regression
    found = leaderboard.compare(
        before,
        row,
        metrics=spec.metrics,
        worse=spec.tolerance,
        better=spec.improvement,
        last=spec.history,
    )
    champion = None if before.champion is None else before.champion["id"]
    row["regressions"] = {
        "regressed": list(leaderboard.worst_regressions(found)),
        "improved": _improved(found),
        "baseline": champion,
    }
    claim = leaderboard.decide_promotion(row, before, margin=cfg.leaderboard.margin)
    path = board_path(cfg, plan.workdir)
    leaderboard.append(path, row)
    if claim.granted and cfg.leaderboard.auto_promote:
        leaderboard.append(path, leaderboard.event("promote", row, by="run", reason=claim.reason))
    lines = leaderboard.read(path)
    leads = leaderboard.champions(lines.events)
    write_text(page_path(cfg, plan.workdir), page(lines.runs, leads, lines.events))
    ruling = RunVerdict(row, before, gates, found, claim, lines)
    write_json(plan.workdir / "verdict.json", _record(ruling))
    return ruling


def exit_code(workdir: Path, options: RunOptions) -> int:
    """Return 3 if an option makes a failed gate or a regression fatal, else 0."""
    held = read_json(workdir / "verdict.json", {})
    lost = options.fail_on_gate and not held.get("gates_met", True)
    return 3 if lost or (options.fail_on_regression and held.get("worse")) else 0


def log_verdict(ruling: RunVerdict, run: RunRecord) -> None:
    """Verdicts to the summary, and an alert for every gate not met and every metric worse."""
    count = [verdict.status for verdict in ruling.gates].count
    met = {"met": count(PASS), "failed": count(FAIL), "no_baseline": count(NO_BASELINE)}
    run.log_eval_summary({f"gates/{name}": value for name, value in met.items()})
    metrics = {each.metric for each in ruling.regressions}
    known = {each.metric for each in ruling.regressions if each.reference is not None}
    told: dict[str, Any] = {
        "worse": len(ruling.worse),
        "better": len(ruling.row["regressions"]["improved"]),
        "no_baseline": len(metrics - known),
    }
    for each in ruling.regressions:
        if each.against == "champion" and each.change is not None:
            told[each.metric.removeprefix("eval/")] = each.change
    run.log_eval_summary({f"regression/{name}": value for name, value in told.items()})
    ranks = [row["id"] for row in leaderboard.ranked(ruling.after.runs, ruling.row["board"])]
    place = {"rank": ranks.index(ruling.row["id"]) + 1, "runs": len(ranks)}
    place["champion"] = int(_champion_id(ruling) == ruling.row["id"])
    run.log_eval_summary({f"leaderboard/{name}": value for name, value in place.items()})
    for verdict in ruling.gates:
        if verdict.status == FAIL:
            run.alert(f"gate {verdict.name}", verdict.sentence, "ERROR")
    for metric, each in ruling.worse.items():
        run.alert(f"regression {metric}", each.sentence, "WARN")
    for problem in ruling.after.problems:
        run.alert("leaderboard", problem, "INFO")


def sentence(ruling: RunVerdict) -> str:
    """The verdict in words: gates, the champion, what has got worse."""
    failed = ruling.row["gates"]["failed"]
    held = [v for v in ruling.gates if v.status == NO_BASELINE]
    met = f"{ruling.row['gates']['met']} of {ruling.row['gates']['of']} gates met"
    parts = [f"{met}; missed: {', '.join(failed)}" if failed else met] if ruling.gates else []
    parts += [f"{len(held)} without a champion to compare with"] if held else []
    parts += [f"worse: {', '.join(ruling.worse)}"] if ruling.worse else []
    champion = ruling.before.champion
    leads = _champion_id(ruling) == ruling.row["id"]
    reason = ruling.claim.reason
    parts.append(f"it leads its board ({reason})" if leads else f"it does not lead ({reason})")
    if champion is not None and not ruling.worse:
        parts.append("nothing it is compared by has got worse")
    said = "; ".join(parts)
    return f"{said[0].upper()}{said[1:]}."


def tables(ruling: RunVerdict) -> list[Table]:
    """Tables "Gates", "Regressions" and "Leaderboard"."""
    gates = [
        [v.name, v.metric, v.status, v.value, v.limit, v.margin, v.reference, v.sentence]
        for v in ruling.gates
    ]
    worse = [list(each[:-1]) for each in ruling.regressions]
    return [
        Table("Gates", GATE_COLUMNS, gates),
        Table("Regressions", REGRESSION_COLUMNS, worse),
        Table("Leaderboard", *ranking_table(ruling.after, ruling.row["board"])),
    ]


def _champion_id(ruling: RunVerdict) -> str | None:
    return leaderboard.champions(ruling.after.events).get(ruling.row["board"])


def _improved(found: Sequence[Regression]) -> list[str]:
    return sorted({each.metric for each in found if each.status == "improvement"})


def _record(ruling: RunVerdict) -> dict[str, Any]:
    """The verdict as `verdict.json` holds it."""
    finite = leaderboard.finite
    return {
        "gates_met": ruling.gates_met,
        "worse": {metric: each.sentence for metric, each in ruling.worse.items()},
        "sentence": sentence(ruling),
        "claim": asdict(ruling.claim),
        "gates": [verdict._asdict() for verdict in ruling.gates],
        "regressions": [
            {**each._asdict(), "change": finite(each.change)} for each in ruling.regressions
        ],
    }
