"""Progress lines of a terminal and of a log, with a clock that the test moves."""

import io
from types import SimpleNamespace

import pytest

from ups_jax import progress
from ups_jax.progress import ProgressBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: 1000.0 + now.seconds)
    return now


def show(monkeypatch, clock, stream, bar=None):
    """Train 40 steps at 1 s each after a compilation, then evaluate 8 fields at 5 s each."""
    monkeypatch.setattr("sys.stderr", stream)
    bar = bar or ProgressBar()
    bar.plan({"operator": 300.0, "evaluate": 300.0})
    bar.compiling("operator")
    clock.seconds += 30
    for step in range(4, 44, 4):
        clock.seconds += 4
        bar("operator", step, 40, loss=0.12345)
    bar.compiling("evaluate")
    bar.compiling("evaluate")
    for done in range(2, 10, 2):
        clock.seconds += 10
        bar("evaluate", done, 8)
    bar.close()
    return stream.getvalue()


def test_a_log_gets_a_line_every_ten_seconds_with_the_time_left_of_all_parts(monkeypatch, clock):
    assert show(monkeypatch, clock, io.StringIO()).splitlines() == [
        "operator (1 of 2): compiling ...",
        "operator (1 of 2) 4/40, loss 0.123, ...",
        # 28 steps at 1 s; evaluation costs as much as 40 steps, of which 8 took 8 s.
        "operator (1 of 2) 16/40, loss 0.123, 24 s left, run: 64 s left",
        "operator (1 of 2) 28/40, loss 0.123, 12 s left, run: 52 s left",
        "operator (1 of 2) 40/40, loss 0.123, 0 s left, run: 40 s left",
        "evaluate (2 of 2): compiling ...",
        "evaluate (2 of 2) 2/8, ...",
        "evaluate (2 of 2) 4/8, 20 s left, run: 20 s left",
        "evaluate (2 of 2) 6/8, 10 s left, run: 10 s left",
        "evaluate (2 of 2) 8/8, 0 s left",
    ]


def test_a_terminal_has_one_line_of_the_same_text(monkeypatch, clock):
    text = show(monkeypatch, clock, Terminal())
    assert text.count("\n") == 2 and text.rstrip().endswith("0 s left")
    lines = [line.strip() for line in text.replace("\n", "").split("\r")]
    assert "operator (1 of 2) 12/40, loss 0.123, 28 s left, run: 68 s left" in lines
    assert lines[1] == "operator (1 of 2): compiling ..."


def test_a_resumed_run_counts_the_parts_before_as_done(monkeypatch, clock):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    bar = ProgressBar()
    bar.plan({"operator": 900.0, "ensemble": 100.0, "search": 100.0})
    for step in (50, 60):
        clock.seconds += 10
        bar("ensemble", step, 100)
    assert stream.getvalue().splitlines()[1] == (
        "ensemble (2 of 3) 60/100, 40 s left, run: 2 min left"
    )


def test_the_second_of_two_equal_parts_is_timed_from_its_start(monkeypatch, clock):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    bar = ProgressBar()
    for done in (10, 20, 10, 15):
        clock.seconds += 10
        bar("evaluate", done, 20)
    assert stream.getvalue().splitlines()[2:] == [
        "evaluate 10/20, ...",
        "evaluate 15/20, 10 s left",
    ]


def test_a_bar_that_is_off_is_silent(monkeypatch, clock):
    assert show(monkeypatch, clock, Terminal(), ProgressBar(on=False)) == ""
