"""A board that many write: malformed lines, no locks, another user's files, a read-only folder."""

import errno
import fcntl
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from runners import leaderboard as runner
from ups_jax import leaderboard
from ups_jax.files import write_json
from ups_jax.leaderboard import page, storage, tables

BOARD, HUGE, NOBODY = "burgers-p1", "9" * 400, 65534
GOOD = {
    "schema": 2, "kind": "run", "id": "good", "board": BOARD, "name": "good",
    "selected": "operator", "metrics": {"eval/val/nrmse": 0.02}, "config": {"fit": {"lr": 1.0}},
    "curves": {"time": [0.1], "nrmse": [0.02]}, "seedless_fingerprint": "r",
    "gates": {"met": 1, "total": 1, "failed": []}, "regressions": {"regressed": []},
}  # fmt: skip
VALUES = ["[1]", '{"a": 1}', "7", "true", '"x"', "NaN", "1e999", HUGE, "null", '"\\ud800"']
"""One value of every type, and those that Python's numbers or encodings do not hold."""
COLUMNS = ["id", "board", "metrics", "config", "curves", "gates", "regressions", "spread", "kind"]
COLUMNS += ["selected", "name", "seedless_fingerprint", "time", "report", "schema"]
INNER = {
    "metrics": '{"eval/val/nrmse": %s}', "curves": '{"time": [%s], "nrmse": [%s]}',
    "gates": '{"failed": %s}', "regressions": '{"regressed": [%s], "improved": %s}',
}  # fmt: skip


def with_column(row: dict, column: str, text: str) -> str:
    marked = json.dumps({**row, column: "@"})
    return marked.replace('"@"', text)


def malformed() -> dict[str, str]:
    """Lines by a name for the test: every column with every value, and broken JSON."""
    event = {"schema": 2, "kind": "promote", "id": "good", "board": BOARD}
    bad = GOOD | {"id": "bad", "seedless_fingerprint": "q"}
    lines = {f"{c}={v[:8]}": with_column(bad, c, v) for c in COLUMNS for v in VALUES}
    lines |= {f"event {c}={v[:8]}": with_column(event, c, v) for c in event for v in VALUES}
    for column, text in INNER.items():
        inner = {f"{column} of {v[:8]}": text.replace("%s", v) for v in VALUES}
        lines |= {name: with_column(bad, column, value) for name, value in inner.items()}
    deep = {n: with_column(bad, "config", '{"a": ' * n + "1" + "}" * n) for n in (20, 200, 100000)}
    lines |= {f"config {n} deep": line for n, line in deep.items()}
    no_board = {k: v for k, v in event.items() if k != "board"}
    old = GOOD | {"schema": 1, "id": "old", "regressions": {"regressed": [1, {}]}, "ship": [1]}
    lines |= {"no board": json.dumps(no_board), "schema 1": json.dumps(old)}
    texts = ("", "{", "[]", "null", "7", '"run"', "{}", "[" * 100000, "\xff\xfe", "\0\0", HUGE)
    return lines | {f"text {text[:8]!r}": text for text in texts}


@pytest.mark.parametrize("name", malformed())
def test_a_malformed_line_stops_no_run_and_is_one_warning(tmp_path, capsys, name):
    path = tmp_path / "leaderboard.jsonl"
    line = malformed()[name].encode("latin-1")
    path.write_bytes(json.dumps(GOOD).encode() + b"\n" + line + b"\n")
    leaderboard.append(path, leaderboard.event("promote", GOOD, by="run", reason="first"))
    entries = leaderboard.read(path)
    before = leaderboard.board_state(entries, BOARD)
    assert entries.runs[0]["id"] == "good" and before.champion is not None
    # Everything that a run does with its board: baseline, regressions, promotion, tables, page.
    write_json(tmp_path / "baseline.json", [before.champion, list(before.history)])
    run = GOOD | {"id": "run", "metrics": {"eval/val/nrmse": 0.001}}
    leaderboard.compare(before, run, metrics=["eval/val/nrmse"])
    decision, after = leaderboard.enter_run(path, run, margin=0.02, promote=True, by="run")
    assert decision.granted and leaderboard.champions(after.events)[BOARD] == "run"
    tables.as_latex(tables.ranking_table(after, BOARD))
    tables.comparison_tables(after.runs)
    page.write_page(path)
    for board in tables.boards(after):
        leaderboard.ranked(after.runs, board)
    assert runner.main(["--path", str(path)]) == 0
    assert capsys.readouterr().err.count("warning") <= 1


def test_what_no_type_fits_is_left_out_in_words(tmp_path):
    path = tmp_path / "board.jsonl"
    lines = [
        with_column(GOOD, "gates", "[1]"),
        with_column(GOOD, "id", "[1]"),
        with_column(GOOD | {"kind": "promote"}, "board", "null"),
        "[" * 100000,
    ]
    path.write_text("\n".join(lines) + "\n")
    entries = leaderboard.read(path)
    (kept,) = entries.runs
    assert entries.problems == [
        "board.jsonl line 1: columns of another type left out: gates",
        "board.jsonl line 2: a run without its id or board; left out",
        "board.jsonl line 3: a promote without its id or board; left out",
        "board.jsonl line 4: no JSON; left out",
    ]
    assert entries.warning is not None and entries.warning.endswith("; and 1 more")
    # Without a verdict on its gates a run does not lead.
    decision = leaderboard.decide_promotion(kept, leaderboard.BoardState(), margin=0.0)
    assert not decision.granted and "no verdict on its gates" in decision.reason


def test_a_run_that_was_killed_at_its_end_has_one_line_and_one_promotion(tmp_path):
    path = tmp_path / "board.jsonl"
    for attempt in range(2):
        run = GOOD | {"time": str(attempt), "metrics": {"eval/val/nrmse": 0.02 - attempt / 1000}}
        decision, after = leaderboard.enter_run(path, run, margin=0.02, promote=True, by="run")
        assert decision.granted and "had no champion" in decision.reason
        assert [len(after.runs), len(after.events)] == [1, 1]
    assert path.read_bytes().count(b"\n") == 2
    # A process that was killed between its two lines is promoted when it is resumed.
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    _, after = leaderboard.enter_run(path, GOOD, margin=0.02, promote=True, by="run")
    assert [len(after.runs), len(after.events)] == [1, 1]


def test_a_disk_without_locks_is_one_warning(tmp_path, capsys, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    path = tmp_path / "board.jsonl"
    storage.require_writable(path)
    leaderboard.enter_run(path, GOOD, margin=0.02, promote=True, by="run")
    assert len(leaderboard.read(path).runs) == 1
    assert capsys.readouterr().err == f"warning: {path} cannot be locked (No locks available)\n"


@pytest.fixture
def shared():
    """A folder that all users can enter, with a board; afterwards the user is the first again."""
    folder, user = Path(tempfile.mkdtemp()), os.geteuid()
    leaderboard.append(folder / "leaderboard.jsonl", GOOD)
    yield folder
    os.seteuid(user)
    folder.chmod(0o755)
    shutil.rmtree(folder)


def become_a_second_user() -> None:
    """Without root the same user stays, and meets the same modes."""
    if os.geteuid() == 0:
        os.seteuid(NOBODY)


def test_a_second_user_can_add_to_a_board_whose_lock_is_not_theirs(shared):
    path, lock = shared / "leaderboard.jsonl", shared / ".leaderboard.jsonl.lock"
    shared.chmod(0o777)
    path.chmod(0o666)
    lock.chmod(0o444)
    become_a_second_user()
    storage.require_writable(path)
    leaderboard.append(path, GOOD | {"id": "second"})
    assert [run["id"] for run in leaderboard.read(path).runs] == ["good", "second"]


def test_a_board_in_a_read_only_folder_is_shown_and_not_changed(shared, capsys):
    path = shared / "leaderboard.jsonl"
    (shared / ".leaderboard.jsonl.lock").unlink()
    path.chmod(0o444)
    shared.chmod(0o555)
    become_a_second_user()
    call = ["--path", str(path)]
    assert runner.main(call) == 0 and "good" in capsys.readouterr().out
    for action in (["promote", "good"], ["page"]):
        assert runner.main([*action, *call]) == 2
        err = capsys.readouterr().err
        assert "cannot write the leaderboard" in err and len(err.splitlines()) <= 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.mkdir(), "is no plain file"),
        (lambda path: path.with_suffix(".html").mkdir(), "is no plain file"),
        (lambda path: os.mkfifo(path), "is no plain file"),
        (lambda path: path.symlink_to("/dev/null"), "is no plain file"),
        (lambda path: path.symlink_to(path), "cannot write the leaderboard"),
        (lambda path: path.write_bytes(b"PK\3\4\0\0"), "holds binary data"),
        (lambda path: path.parent.rename(path.parent.with_name("x")), None),
        (lambda path: (path.parent.rmdir(), path.parent.touch()), "cannot write the leaderboard"),
    ],
)
def test_a_board_that_cannot_be_written_is_refused_before_any_work(tmp_path, make, message):
    path = tmp_path / "boards" / "leaderboard.jsonl"
    path.parent.mkdir()
    make(path)
    if message is None:
        storage.require_writable(path)
        assert list(path.parent.iterdir()) == [path.with_name(".leaderboard.jsonl.lock")]
        return
    with pytest.raises(ValueError, match=message):
        storage.require_writable(path)


def test_an_export_to_a_folder_is_refused_before_it_is_written(tmp_path, capsys):
    path = tmp_path / "board.jsonl"
    leaderboard.append(path, GOOD)
    before = sorted(tmp_path.rglob("*"))
    assert runner.main(["export", "--out", str(tmp_path), "--path", str(path)]) == 2
    out, err = capsys.readouterr()
    assert not out and f"--out {tmp_path} is a folder" in err and len(err.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_champion_is_not_promoted_again(tmp_path, capsys):
    path = tmp_path / "board.jsonl"
    leaderboard.enter_run(path, GOOD, margin=0.02, promote=True, by="run")
    for force in ([], ["--force"]):
        assert runner.main(["promote", "good", "--path", str(path), *force]) == 2
        assert "is the champion of its board already" in capsys.readouterr().err
    assert len(leaderboard.read(path).events) == 1
