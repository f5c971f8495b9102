"""Several processes as one run: the batches of one, one record, and a lost one that is told of."""

import json
import os
import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from runners import fast_to_sota, sweep
from runs import QUICK, ROOT, RUNNER, TINY, stored, summary
from ups_jax.experiment import distributed, rendezvous

SHORT = ["--config.fit.operator.steps=100", "--config.fit.operator.val_every=50"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(workdir):
    """The two processes of one run, each with a folder of its own as on a machine of its own."""
    port, started = free_port(), []
    for own in range(2):
        folder = workdir if own == 0 else f"{workdir}-of-{own}"
        argv = [*RUNNER, *TINY, *SHORT, f"--workdir={folder}", f"--coordinator=127.0.0.1:{port}"]
        started.append(
            subprocess.Popen(
                [*argv, "--num_processes=2", f"--process_id={own}"],
                cwd=ROOT,
                env={**os.environ, "XLA_FLAGS": QUICK},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return started


def ended(started):
    """Exit codes and what was said, of all."""
    told = [process.communicate(timeout=120) for process in started]
    return [process.returncode for process in started], told


def await_rows(workdir, started, count):
    file = workdir / "metrics.jsonl"
    while not file.exists() or file.read_text().count("\n") < count:
        assert all(process.poll() is None for process in started), ended(started)
        time.sleep(0.01)


def test_processes_are_stopped_killed_and_started_again_and_end_where_one_does(tmp_path):
    alone, cut = tmp_path / "one" / "w", tmp_path / "two" / "w"
    argv = [*TINY, *SHORT, f"--workdir={alone}", "--wandb_mode=disabled"]
    assert fast_to_sota.main(argv) == 0
    first = start(cut)
    await_rows(cut, first, 3)
    first[1].send_signal(signal.SIGTERM)
    assert ended(first)[0] == [143, 143]
    held = (cut / "metrics.jsonl").read_text().count("\n")
    second = start(cut)
    await_rows(cut, second, held + 2)
    second[1].send_signal(signal.SIGKILL)
    codes, told = ended(second)
    assert codes == [1, -9], told
    assert "lost another" in told[0][1] and "resume from the last checkpoint" in told[0][1]
    third = start(cut)
    codes, told = ended(third)
    assert codes == [0, 0], told
    assert "report: " in told[0][0] and "report: " not in told[1][0]
    rows = [json.loads(line) for line in (cut / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(5, 101, 5))
    assert len({i for one in stored(cut) for i in one.ids}) == 1
    before = [json.loads(line) for line in (alone / "metrics.jsonl").read_text().splitlines()]
    for key in ("operator/loss", "operator/val_nrmse"):
        ours, theirs = ([row[key] for row in found if key in row] for found in (rows, before))
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    ours, theirs = summary(cut), summary(alone)
    assert ours.keys() == theirs.keys()
    assert ours["eval/nrmse"] == pytest.approx(theirs["eval/nrmse"], rel=1e-4)
    metadata = json.loads((cut / "metadata.json").read_text())
    assert (metadata["devices"], metadata["processes"]) == (2, 2)
    assert not (cut.parent / "w-of-1").exists()


def roll(calls, *, count, wait_s=5.0, stranger=b"", secrets=("", "")):
    """Errors of process 0 and of others, each (its index, its count), or None; their secrets."""
    port = free_port()

    def outcome(of, *told):
        try:
            return of(*told)
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(len(calls) + 1) as pool:
        first = pool.submit(outcome, rendezvous.serve, "127.0.0.1", port, count, wait_s, secrets[0])
        if stranger:
            time.sleep(0.2)
            with socket.create_connection(("127.0.0.1", port)) as line:
                line.sendall(stranger)
        others = [
            pool.submit(
                outcome, rendezvous.connect, "127.0.0.1", port, own, counted, wait_s, secrets[1]
            )
            for own, counted in calls
        ]
        return [first.result(), *(other.result() for other in others)]


def test_all_wait_for_the_last_and_a_stranger_is_not_heard():
    assert roll([(2, 3), (1, 3)], count=3) == [None] * 3
    assert roll([(1, 2)], count=2, stranger=b"GET / HTTP/1.1") == [None] * 2


def test_only_processes_with_the_secret_connect():
    assert roll([(1, 2)], count=2, secrets=("s3cret", "s3cret")) == [None] * 2
    for own in ("", "other"):
        first, other = roll([(1, 2)], count=2, wait_s=0.5, secrets=("s3cret", own))
        assert "of 2 processes 1 did not connect" in first and "1 connections lacked" in first
        assert other == f"{rendezvous.REFUSED}; set the same for all processes"


def test_process_0_listens_on_the_interface_of_its_address_only(monkeypatch):
    for name in (distributed.SECRET_VARIABLE, distributed.BIND_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    for address in ("127.0.0.1:80", "[::1]:80", "localhost:80"):
        assert distributed._endpoint(address) == (address, "")
    for address in ("10.0.0.1:80", "node-0:80"):
        with pytest.raises(ValueError, match="other machines can connect to .* set [$]UPS_SECRET"):
            distributed._endpoint(address)
    monkeypatch.setenv(distributed.SECRET_VARIABLE, "s")
    assert distributed._endpoint("10.0.0.1:80") == ("10.0.0.1:80", "s")
    assert distributed._endpoint("node-0:80") == ("[::]:80", "s")
    for host in ("127.0.0.1", "::1", "::"):
        try:
            with rendezvous._listen(host, free_port()) as server:
                assert server.getsockname()[0] == host
        except ValueError as error:
            assert ":" in host and "listen" in str(error)  # no IPv6 here


@pytest.mark.parametrize(
    ("calls", "said"),
    [
        ([(1, 3)], "process 0 has --num_processes 2, process 1 has 3; start all with"),
        ([(0, 2)], "two processes have --process_id 0; start all with"),
    ],
)
def test_processes_that_disagree_are_all_told_of_it(calls, said):
    assert all(said in each for each in roll(calls, count=2))


def test_processes_that_do_not_come_are_named_and_a_silent_address_is():
    first, other = roll([(1, 4)], count=4, wait_s=1.0)
    assert "of 4 processes 2, 3 did not connect within 1 s" in first and other == first
    with pytest.raises(ValueError, match="no coordinator at 127.0.0.1:.* start process 0 there"):
        rendezvous.connect("127.0.0.1", free_port(), 1, 2, 0.3)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        with pytest.raises(ValueError, match="cannot listen on port .* another --coordinator"):
            rendezvous.serve("127.0.0.1", held.getsockname()[1], 2, 0.3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--num_processes=2"], "also need --coordinator HOST:PORT"),
        (["--coordinator=here"], "--coordinator also needs --num_processes"),
        (["--coordinator=here", "--num_processes=2"], "--coordinator also needs --process_id"),
        (["--coordinator=here", "--num_processes=2", "--process_id=0"], "give HOST:PORT"),
        *(
            (
                [f"--coordinator=localhost:{port}", "--num_processes=2", "--process_id=0"],
                "1 to 65535",
            )
            for port in ("0", "99999", "-1", "x", "")
        ),
        (["--coordinator=10.0.0.1:80", "--num_processes=2", "--process_id=0"], "UPS_SECRET"),
        (
            ["--coordinator=a:1", "--num_processes=2", "--process_id=2"],
            "with 2 processes it is at most 1",
        ),
        (["--coordinator=a:1", "--num_processes=0", "--process_id=0"], "from 1 to"),
        (
            ["--coordinator=127.0.0.1:9", "--num_processes=2", "--process_id=1", "--wait_s=1"],
            "no coord",
        ),
    ],
)
def test_mistakes_are_told_before_anything_runs(tmp_path, capsys, words, said):
    with pytest.raises(SystemExit) as stopped:
        raise SystemExit(fast_to_sota.main([*TINY, f"--workdir={tmp_path / 'w'}", *words]))
    assert stopped.value.code == 2
    told = capsys.readouterr().err
    assert said in told and len(told.splitlines()) <= 2 and not (tmp_path / "w").exists()


def test_trials_take_no_coordinator(capsys):
    argv = ["--config=configs/burgers.py:smoke", "--sweep=operator.width=4,8"]
    assert sweep.main([*argv, "--coordinator=a:1"]) == 2
    assert "trials are separate runs of one process each" in capsys.readouterr().err
