"""Faults that a run survives: kills, full disks, races on a board, damaged state files.

A tiny run of `configs/burgers.py:smoke` with all stages is disturbed and run again. It survives if
its parameters, metrics and series are those of an undisturbed run to the bit, or if it ends with
the right exit code and at most two lines on stderr. Full disks are a small tmpfs, which needs the
right to mount; without it they are not tried. Rows of other `--parts` in the results file are kept;
each row has the commit that it is of. Bar: all survive.
"""

import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.faults.damage import WAYS, damage, file_of, fill, small_disk
from benchmarks.faults.runs import STAGES, Ending, Runner, copy, end, kill, result, wait_for
from benchmarks.record import ROOT, choose_rows, provenance, write

UNFINISHED = (
    "config.json", "metadata.json", "splits.json", "baseline.json", "alerts.json", "run_id.txt",
    "wandb_run.json", "metrics.jsonl", "ckpt/diffusion", "../leaderboard.jsonl",
)  # fmt: skip
FINISHED = (
    "config.json", "metadata.json", "verdict.json", "summary.json", "table.txt", "run_id.txt",
    "wandb_run.json", "ckpt/selected",
)  # fmt: skip
WRITER = """
import sys
from pathlib import Path
from ups_jax import leaderboard
for i in range(int(sys.argv[3])):
    leaderboard.append(Path(sys.argv[1]), {"kind": "run", "id": f"{sys.argv[2]}-{i}",
                       "board": "b", "metrics": {"eval/val/nrmse": 0.1}})
"""
WRITERS, LINES = 8, 50
PARTS = ("kills", "full_disks", "races", "writers", "finished", "unfinished")


def add_flags(parser):
    parser.add_argument("--kills", type=int, default=20, help="runs ended by SIGKILL; 20")
    parser.add_argument("--seed", type=int, default=0, help="of moments and damaged bytes; 0")
    parser.add_argument("--parts", help=f"some of {','.join(PARTS)}; default: all")
    parser.add_argument("--file", help="the one file that is damaged, such as summary.json")


def run(options):
    parts, sha = choose_rows(options.parts, PARTS), provenance()["git_sha"]
    saved = {"rows": [], "notes": []}
    if options.out and options.out.exists():
        saved = json.loads(options.out.read_text())
    rows = {row["kind"]: row for row in saved["rows"]}

    def result():
        met = all(row["tried"] == row["survived"] for row in rows.values())
        notes = [note for note in saved["notes"] if not note.startswith(tuple(drill.kinds))]
        values = dict(notes=notes + drill.notes, seconds=drill.seconds, met=met)
        return {"rows": [*rows.values()], **values}

    with tempfile.TemporaryDirectory() as folder:
        drill = Drill(
            Path(folder), random.Random(options.seed), quick=options.quick, file=options.file
        )
        for row in (row for part in parts for row in drill.rows(part, options.kills)):
            rows[row["kind"]] = {**row, "git_sha": sha}
            if options.out:
                write(options.out, result())
    print(f"bar, all survive: {result()['met']}")
    return result()


class Drill:
    """An undisturbed run, and faults whose outcomes are compared with it."""

    def __init__(
        self, base: Path, chance: random.Random, *, quick: bool, file: str | None = None
    ) -> None:
        self.base, self.chance, self.quick, self.file = base, chance, quick, file
        self.runner, self.notes, self.count = Runner(base / "home"), [], 0
        self.kinds: list[str] = []
        self.finished = base / "reference" / "run"
        for _ in range(2):  # the second with warm caches, as all that follow
            shutil.rmtree(self.finished.parent, ignore_errors=True)
            began = time.monotonic()
            ending = self.runner.run(self.finished)
            self.seconds = time.monotonic() - began
            if ending.code:
                sys.exit(ending.err)
        self.expected = result(self.finished)
        self.alerts = json.loads((self.finished / "alerts.json").read_text())

    def rows(self, part: str, kills: int) -> Iterator[dict[str, Any]]:
        """Yield the rows of one of PARTS."""
        if part == "kills":
            yield self.kills(1 if self.quick else kills)
        elif part == "full_disks":
            yield from self.full_disks()
        elif part == "races":
            yield self.races()
        elif part == "writers":
            yield self.writers()
        elif part == "finished":
            yield from self.damages(part, FINISHED[2:3] if self.quick else FINISHED)
        else:
            yield from self.damages(part, UNFINISHED[-2:-1] if self.quick else UNFINISHED)

    def folder(self) -> Path:
        """Return a new folder for a run, with a board of its own."""
        self.count += 1
        return self.base / f"case{self.count}" / "run"

    def row(self, kind: str, outcomes: dict[str, str]) -> dict[str, Any]:
        """Return a row of the results; an outcome is empty if the run survived."""
        self.kinds.append(kind)
        failed = {case: problem for case, problem in outcomes.items() if problem}
        self.notes += [f"{kind}, {case}: {problem}" for case, problem in failed.items()]
        survived = len(outcomes) - len(failed)
        print(f"{kind:40} tried {len(outcomes):3}  survived {survived:3}", flush=True)
        for note in self.notes[len(self.notes) - len(failed) :]:
            print(f"  {note}", flush=True)
        return {"kind": kind, "tried": len(outcomes), "survived": survived}

    def problem(self, ending: Ending, workdir: Path, *codes: int, finished: bool = False) -> str:
        """Return how an ending differs from the undisturbed run's, empty if it survived.

        `codes`: exit codes that are right for a refusal. `finished`: the run was so before.
        """
        if ending.code != 0:
            return "" if ending.is_clear(*codes) else _describe(ending)
        if len(ending.err.splitlines()) > 2 + len(self.alerts):
            return _describe(ending)
        try:
            got = result(workdir)
        except ValueError as error:
            # A finished run prints its table; damaged parameters are refused where they are read.
            refused = "damaged" in str(error) and str(error).count("\n") <= 1
            return "" if refused and finished else f"exit code 0, then: {error}"
        changed = {name for name, value in self.expected.items() if got[name] != value}
        if finished and "differ from what the run wrote" in ending.err:
            return ""
        # Lost rows of the series or of the board are reported; all else must be the same.
        if changed <= {"series", "verdict"} and "damaged" in ending.err + alerts(workdir):
            return ""
        return f"other {', '.join(changed)}" if changed else ""

    def kills(self, count: int) -> dict[str, Any]:
        """End runs at random moments by SIGKILL, and run them again."""
        outcomes = {}
        for i in range(count):
            workdir, moment = self.folder(), self.chance.uniform(0, self.seconds)
            process = self.runner.start(workdir)
            time.sleep(moment)
            kill(process)
            ending = self.runner.run(workdir)
            outcomes[f"{i}, after {moment:.1f} s"] = self.problem(ending, workdir)
        return self.row("kill -9 at a random moment", outcomes)

    def full_disks(self) -> Iterator[dict[str, Any]]:
        """Fill the disk once a stage has begun; free it after the run has ended."""
        stages = ("diffusion",) if self.quick else (*STAGES, "evaluation")
        for stage in stages:
            with small_disk(self.base / "disk") as disk:
                if disk is None:
                    self.notes.append("full disks: not tried, no right to mount")
                    return
                workdir = disk / "runs" / "run"
                process = self.runner.start(workdir)
                wait_for(process, workdir, stage)
                fill(disk / "ballast")
                ending = end(process)
                (disk / "ballast").unlink()
                outcome = "" if ending.is_clear(1) else _describe(ending)
                again = self.problem(self.runner.run(workdir), workdir)
            yield self.row(f"disk full in {stage}", {"": outcome or again})

    def races(self) -> dict[str, Any]:
        """Start two runs on one board, equal ones, others, and two in one folder."""
        outcomes = {"equal runs on one board": self._race("", "")}
        if not self.quick:
            seeds = ("--config.seed=0", "--config.seed=1")
            outcomes["other seeds on one board"] = self._race(*seeds)
            outcomes["one folder"] = self._same_folder()
        return self.row("two runs at once", outcomes)

    def _race(self, *words: str) -> str:
        from ups_jax import leaderboard

        folder = self.folder().parent
        processes = [
            self.runner.start(folder / f"run{i}", *filter(None, [word]))
            for i, word in enumerate(words)
        ]
        endings = [end(process) for process in processes]
        for ending in endings:
            if ending.code:
                return _describe(ending)
        board = leaderboard.read(folder / "leaderboard.jsonl")
        if board.problems or len(board.runs) != 2:
            return f"{len(board.runs)} runs on the board; {'; '.join(board.problems)}"
        promoted = [event["id"] for event in board.events if event["kind"] == "promote"]
        if len(promoted) > len(set(words)):
            return "equal runs were both promoted"
        passed = [row for row in board.runs if not row["gates"]["failed"]]
        best = min((row["metrics"]["eval/val/nrmse"] for row in passed), default=None)
        champion = {row["id"]: row["metrics"]["eval/val/nrmse"] for row in passed}
        if passed and (not promoted or champion[promoted[-1]] > 1.05 * best):
            return "the better run is not the champion"
        return ""

    def _same_folder(self) -> str:
        workdir = self.folder()
        process = self.runner.start(workdir)
        wait_for(process, workdir, "operator")
        second = self.runner.run(workdir)
        first = end(process)
        if not second.is_clear(2):
            return _describe(second)
        return self.problem(first, workdir)

    def writers(self) -> dict[str, Any]:
        """Append lines to one board from several processes at once."""
        from ups_jax import leaderboard

        path = self.folder().parent / "leaderboard.jsonl"
        processes = [
            subprocess.Popen([sys.executable, "-c", WRITER, path, str(i), str(LINES)], cwd=ROOT)
            for i in range(WRITERS)
        ]
        codes = [process.wait() for process in processes]
        ids = [row["id"] for row in leaderboard.read(path).runs]
        missing = {
            f"writer {i}": LINES - sum(name.startswith(f"{i}-") for name in ids)
            for i in range(WRITERS)
        }
        outcomes = {
            name: f"{lost} lines lost, exit code {code}" if lost or code else ""
            for (name, lost), code in zip(missing.items(), codes, strict=True)
        }
        return self.row("concurrent writers of one board", outcomes)

    def damages(self, state: str, names: tuple[str, ...]) -> Iterator[dict[str, Any]]:
        """Damage one file of a folder in every way, and run the folder again."""
        template, reference = self.finished, self.expected
        if state == "unfinished":
            template = self.folder()
            # A board that is not empty, so that it can be damaged.
            template.parent.mkdir()
            shutil.copy(self.finished.parent / "leaderboard.jsonl", template.parent)
            process = self.runner.start(template)
            wait_for(process, template, "student")
            kill(process)
            undamaged = copy(template, self.folder().parent)
            self.runner.run(undamaged)
            self.expected = result(undamaged)
        for name in names:
            if self.file not in (None, name.removeprefix("../")):
                continue
            ways = WAYS[1:2] if self.quick else WAYS
            outcomes = {way: self._damaged(template, name, way) for way in ways}
            yield self.row(f"{state} run, {name.removeprefix('../')}", outcomes)
        self.expected = reference

    def _damaged(self, template: Path, name: str, way: str) -> str:
        workdir = copy(template, self.folder().parent)
        damage(file_of(workdir / name), way, self.chance)
        if template is not self.finished:
            return self.problem(self.runner.run(workdir), workdir, 2)
        again = self.runner.run(workdir)
        table = (self.finished / "table.txt").read_text()
        if again.code == 0 and not again.err and table not in again.out:
            return "the table that is printed has changed without a line"
        if problem := self.problem(again, workdir, 2, finished=True):
            return problem
        words = ["evaluate", f"--workdir={workdir}", "--forecasters=operator"]
        ending = end(self.runner.command(*words))
        return "" if ending.code == 0 or ending.is_clear(1, 2) else _describe(ending)


def alerts(workdir: Path) -> str:
    """Return the alerts of a run, among them the lines of its board that were left out."""
    path = workdir / "alerts.json"
    text = path.read_text() if path.is_file() else ""
    return "damaged" if any(word in text for word in ("damaged", "left out", "set aside")) else ""


def _describe(ending: Ending) -> str:
    last = (ending.err.splitlines() or ["no line"])[-1]
    return f"exit code {ending.code}, {len(ending.err.splitlines())} lines: {last[:200]}"
