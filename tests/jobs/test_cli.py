"""The edge of every command: errors of each phase, closed streams, signals while importing."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runs import ROOT, RUNNER
from ups_jax.experiment import context, signals
from ups_jax.jobs import cli, commands
from ups_jax.jobs.streams import Stream, lasting_streams
from ups_jax.registry import lookup


def fails(error):
    def act(*_):
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/runs/w/x"),
         "error: /runs/w/x: No space left on device"),
        (MemoryError(), "error: out of memory, or a failed device: "),
    ],
)  # fmt: skip
def test_an_error_of_the_run_is_two_lines_with_the_command_that_resumes(capsys, error, line):
    def prepare(options, stop):
        stop.resume = "resume with: python x"

    assert cli.run_main(None, prepare, fails(error)) == cli.FAILED
    assert capsys.readouterr().err == f"{line.strip()}\nresume with: python x\n"


def test_a_check_of_the_package_is_no_traceback_in_the_run(capsys):
    execute = lambda plan: lookup({"a": 1}, "b", "letter")  # noqa: E731
    assert cli.run_main(None, lambda *_: None, execute) == cli.FAILED
    assert capsys.readouterr().err == "error: unknown letter 'b'; known: a\n"


def test_resume_command_is_quoted_for_a_shell(monkeypatch):
    argv = ["my runs/fast_to_sota.py", "--config=a b:c", "--restart", "--config.log.name=$x'"]
    monkeypatch.setattr(sys, "argv", argv)
    quoted = """python 'my runs/fast_to_sota.py' '--config=a b:c' '--config.log.name=$x'"'"''"""
    assert context.resume_command() == quoted


def test_paths_of_flags_may_start_at_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    add_flags = commands.COMMANDS["evaluate"].add_flags
    argv = ["--workdir=~/w", "--data", "~/x.npz"]
    flags = cli.parse(argv, add_flags, prog="", description="", subject="workdir")
    assert flags == {"workdir": Path("/home/me/w"), "data": Path("/home/me/x.npz")}


def test_what_is_printed_into_a_closed_pipe_is_dropped():
    source, sink = os.pipe()
    os.close(source)
    with os.fdopen(sink, "w") as inner:
        stream = Stream(inner)
        for _ in range(2):
            print("a line", file=stream, flush=True)
        assert stream.fileno() == sink and not stream.isatty()


def test_closed_streams_are_opened(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stderr", None)
    with lasting_streams():
        print("dropped", file=sys.stderr, flush=True)
        assert isinstance(sys.stderr, Stream) and sys.stderr.fileno() > 0
    sys.stderr.close()


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGHUP, 143), (signal.SIGINT, 130)])
def test_a_closed_terminal_stops_a_run_as_sigterm_does(signum, code):
    # A suite under nohup ignores SIGHUP.
    before = signal.signal(signum, signal.default_int_handler)
    try:
        with signals.stop_on_signal() as stop:
            os.kill(os.getpid(), signum)
            while not stop():
                time.sleep(0.01)
            assert stop.code == code
    finally:
        signal.signal(signum, before)


def test_nohup_is_respected():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.stop_on_signal():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_ctrl_c_while_importing_has_no_traceback():
    process = subprocess.Popen(RUNNER, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    maps = Path(f"/proc/{process.pid}/maps")
    while "jaxlib" not in maps.read_text():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.communicate()[1] == "" and process.returncode == -signal.SIGINT


def test_help_may_be_cut_by_head_and_stderr_be_closed():
    line = f"{' '.join(RUNNER)} --help 2>&- | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[1] == "0" and done.stdout.startswith("usage: fast_to_sota.py")
