import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from runners import launch as runner
from runs import ROOT
from ups_jax.jobs import cli, commands, launch
from ups_jax.jobs.launch import clouds, job, onstart, pricing, sky, slurm, task

SKY = Path(os.environ.get("UPS_SKY") or ROOT / sky.PYTHON)
needs_sky = pytest.mark.skipif(
    not SKY.is_file(), reason="needs SkyPilot's environment: make sky, or name one by UPS_SKY"
)
needs_submitit = pytest.mark.skipif(
    find_spec("submitit") is None, reason="needs the extra: pip install 'ups_jax[slurm]'"
)
BASE = ["--config=configs/burgers.py:smoke", "--gpus=H100:1"]
REPO = "--repo=https://example.org/me/ups_jax#abc123"
NAME = "ups-burgers-smoke-d41b5f4f"
KEY = "fake0key0fake0key0fake0key0fake0key0fake"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to launch from, with a home without cloud keys and without SkyPilot."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("UPS_SKY", str(tmp_path / "nowhere" / "python"))
    # submitit reconfigures logging; absl then closes the stream of pytest.
    monkeypatch.setenv("SUBMITIT_LOG_LEVEL", "NOCONFIG")
    for name in ("WANDB_MODE", "WANDB_API_KEY", "AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def rich(here, monkeypatch):
    """The same, with a W&B key, a RunPod account and a fake SkyPilot."""
    account = here / "home" / ".runpod" / "config.toml"
    account.parent.mkdir(parents=True)
    account.write_text("[default]\n")
    place = here / "venv"
    fake(place / "python", 'echo \'[{"version": "0.14.1", "read": "RunPod"}]\'')
    fake(place / "sky", FAKE_SKY)
    monkeypatch.setenv("UPS_SKY", str(place / "python"))
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    return here


FAKE_SKY = """printf '%s\\n' "$@" >>sky.log
[ -n "$WANDB_API_KEY" ] && echo has-key >>sky.log
echo '(ups, pid=7) launch: wandb_run.json {"id": "abcd1234", "url": "https://w/abcd1234"}'
echo '(ups, pid=7) launch: ended with code 3'
exit 100"""


def fake(path, body):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)


def job_of(*argv):
    """The job of a command line, not launched."""
    add_flags = commands.COMMANDS["launch"].add_flags
    flags = cli.parse([*BASE, *argv], add_flags, prog="launch.py", description="")
    return job.from_options(launch.LaunchOptions(**flags), os.environ)


# Values and names.

HOSTILE = "a'b\"c { # d\nEND_OF_SCRIPT\nEND\ntouch bad\n$(touch bad)`touch bad`\\"
LINE = HOSTILE.replace("\n", " ")


@pytest.mark.parametrize(
    "form", [onstart.script, onstart.packed_script, lambda new: task.task(new)["run"]],
    ids=["plain", "packed", "sky"],
)  # fmt: skip
def test_every_value_reaches_the_machine_as_it_is_and_none_is_run(here, monkeypatch, form):
    shown = 'printf "%s\\0" "${RUN[@]}" "$WORKDIR" "$REPO" "$REF" "$SYNC" "$SHUTDOWN_CMD"\n'
    monkeypatch.setattr(onstart, "BODY", shown)
    repo = f"u{LINE.replace('#', '')}"
    new = job_of(
        f"--config.log.name={HOSTILE}", f"--workdir={HOSTILE}", f"--repo={repo}#r{LINE}",
        f"--sync=/{LINE}", f"--shutdown_cmd={HOSTILE}", "--cloud=vast",
    )  # fmt: skip
    (here / "home").mkdir()
    argv = ["bash", "-c", form(new)]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=here, check=True)
    expected = [*new.command, HOSTILE, repo, f"r{LINE}", f"/{LINE}", HOSTILE]
    assert done.stdout.split("\0")[:-1] == expected and HOSTILE in new.command[3]
    assert not list(here.rglob("bad"))


def test_names_are_stable_and_differ_between_workdirs(here):
    workdirs = ("runs/a/x", "runs/b/x", "runs/a-x", "runs/A/x", "runs/a/X", "runs/a/é", "-x")
    names = [job_of(f"--workdir={workdir}").name for workdir in workdirs]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"ups-([a-z0-9]+-)*[0-9a-f]{8}", name) for name in names)
    assert job_of("--workdir=./runs/a//x/").name == names[0] == "ups-x-cd0df0a2"
    assert job_of().name == NAME


# The task.


def test_the_task_has_three_ways_to_end_its_machine(here):
    made = task.task(job_of("--spot", "--max_hours=2", "--max_hourly_cost=3.5"))
    box = made["resources"]
    assert box["autostop"] == {"idle_minutes": task.IDLE_MINUTES, "down": True}
    assert (box["infra"], box["accelerators"], box["use_spot"]) == ("runpod", "H100:1", True)
    assert box["max_hourly_cost"] == 3.5
    assert "trap leave EXIT" in made["run"] and "LIMIT_S=7200\n" in made["run"]
    assert "setup" not in made, "it would fail outside the trap"
    assert made["workdir"] == "." and task.task(job_of(REPO))["workdir"] is None


def test_the_yaml_equals_the_task(here):
    yaml = pytest.importorskip("yaml")
    made = task.task(job_of("--resource=disk_size=80", "--resource=cpus=8+"))
    assert yaml.safe_load(task.to_yaml(made)) == made
    assert made["resources"]["disk_size"] == 80 and made["resources"]["cpus"] == "8+"


def test_flags_reach_the_runner(here):
    words = job_of("--config.seed=3", "--restart", "--fail_on_gate").command
    assert words == (
        "-m",
        "ups_jax",
        "--config=configs/burgers.py:smoke",
        "--config.seed=3",
        "--workdir=runs/burgers-smoke",
        "--wandb_mode=online",
        "--restart",
        "--fail_on_gate",
    )


@needs_sky
def test_sky_accepts_the_task_of_every_cloud_and_refuses_typos(here, monkeypatch):
    texts = {cloud: task.to_yaml(task.task(job_of(f"--cloud={cloud}", "--max_hourly_cost=3")))
             for cloud in clouds.CLOUDS}  # fmt: skip
    text = texts["runpod"]
    assert "down: true" in text and "secrets:" in text
    wrong = [text.replace("down: true", "dwn: true"), text.replace("secrets:", "secretz:"),
             text.replace("down: true", "down: false"), text.replace("accel", "acel"),
             "name: [unclosed"]  # fmt: skip
    monkeypatch.setenv("UPS_SKY", str(SKY))
    results = sky.read_tasks([*texts.items(), *(("runpod", text) for text in wrong)])
    for cloud, result in zip(texts, results, strict=False):
        assert result["read"].lower().startswith(cloud), result
        assert "'H100': 1" in result["read"] and "max_cost=$3.0" in result["read"]
    errors = [result.get("error", "") for result in results[len(texts) :]]
    assert "autostop" in errors[0] and "'secrets'" in errors[1] and "down is missing" in errors[2]
    assert "did you mean 'accelerators'" in errors[3]
    assert all(errors)


def test_a_typo_is_two_lines_and_code_2(rich, capsys):
    message = "Instead of 'acelerator', did you mean 'accelerator'?"
    answer = json.dumps([{"error": message}]).replace("'", "'\\''")
    fake(rich / "venv" / "python", f"cat >tasks.json; echo '{answer}'")
    assert runner.main([*BASE, "--resource=acelerator=a", "--dry_run"]) == 2
    err = capsys.readouterr().err
    assert message in err and len(err.splitlines()) <= 2
    ((cloud, text),) = json.loads((rich / "tasks.json").read_text())
    assert cloud == "runpod" and "  acelerator: a\n" in text


def test_a_dry_run_without_sky_reports_an_unvalidated_task(here, capsys):
    assert runner.main([*BASE, "--dry_run"]) == 0
    out = capsys.readouterr().out
    assert "not validated" in out and "\nvalidated" not in out
    assert "this prevents a launch: SkyPilot's environment is missing" in out


# Errors before anything is billed.


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--cloud=runpot"], "did you mean 'runpod'"),
        (["--cloud=lambda", "--spot"], "lambda has no spot machines"),
        (["--workdir=/elsewhere"], "outside the checkout"),
        (["--workdir=~/runs"], "outside the checkout"),
        (["--workdir=."], "outside the checkout"),
        (["--config=../configs/burgers.py"], "no config file"),
        (["--sync=bucket"], "s3://BUCKET/PATH"),
        (["--wandb_mode=offline"], "no result would leave the machine"),
        (["--slurm", "--spot"], "remove --spot"),
        (["--sync=/"], "s3://BUCKET/PATH"),
        (["--sync=-e sh:x"], "s3://BUCKET/PATH"),
        (["--gpus=H100:-1"], "NAME:COUNT, such as H100:1"),
        (["--gpus=H100:0"], "NAME:COUNT, such as H100:1"),
        (["--repo=--upload-pack=sh"], "write URL[#REF]"),
        (["--repo=https://example.org/me#-x"], "write URL[#REF]"),
        (["--repo=https://example.org\nme"], "write URL[#REF]"),
        (["--repo=https://me:token@example.org/me"], "--repo holds a password or a token"),
        (["--repo=https://token@example.org/me"], "--repo holds a password or a token"),
        (["--repo=https://example.org/me?private_token=token"], "holds a password or a token"),
        (["--shutdown_cmd= "], "the command that ends the machine"),
        (["--resource=disk_size"], "write KEY=VALUE"),
        (["--resource==x"], "write KEY=VALUE"),
        (["--resource=a=x\ny"], "write KEY=VALUE"),
        (["--resource=autostop=0"], "--resource autostop is set by the launcher"),
        (["--config.sed=1"], "did you mean 'seed'"),
        (["--config.operator.patch=3"], "patch is 3; it must divide"),
        (["--measured=none.json"], "does not exist"),
        (["--print_onstart"], "--repo URL"),
        (["--print_onstart", "--cloud=azure", REPO], "--shutdown_cmd"),
        *(([f"--max_hours={value}"], "a number from 0.02 to 1000")
          for value in ("0", "-1", "1e-9", "inf", "nan", "1e4", "4h", "")),
        *(([f"--max_hourly_cost={value}"], "a number from 0.01 to 10000")
          for value in ("0", "-1", "inf", "nan")),
        *(([f"--price={value}"], "a number from 0 to 10000") for value in ("-1", "inf", "nan")),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)  # fmt: skip
def test_bad_input_is_two_lines_and_code_2(here, capsys, argv, message):
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(runner.main([*BASE, *argv, "--dry_run"]))
    out, err = capsys.readouterr()
    assert ended.value.code == 2 and message in err and len(err.splitlines()) <= 2 and not out


@pytest.mark.parametrize("missing", ["WANDB_API_KEY", "account", "sky"])
def test_a_missing_key_bills_nothing(rich, monkeypatch, capsys, missing):
    if missing == "account":
        (rich / "home" / ".runpod" / "config.toml").unlink()
    elif missing == "sky":
        (rich / "venv" / "python").unlink()
    else:
        monkeypatch.delenv(missing)
    assert runner.main(BASE) == 2
    err = capsys.readouterr().err
    assert {"account": ".runpod/config.toml", "sky": "make sky"}.get(missing, missing) in err
    assert len(err.splitlines()) == 2
    assert not (rich / "sky.log").exists() and not (rich / "runs").exists()


# A launch.


def test_a_launch_records_the_run_and_the_exit_code(rich, capsys):
    assert runner.main([*BASE, "--spot"]) == 3
    words = (rich / "sky.log").read_text().split("\n")
    name = job_of().name
    assert words[:6] == ["launch", "--yes", "--cluster", name, "--retry-until-up", "--secret"]
    assert words[6:8] == ["WANDB_API_KEY", f"runs/launches/{name}.yaml"] and "has-key" in words
    record = json.loads((rich / "runs" / "launches" / f"{name}.json").read_text())
    assert record["run"] == {"id": "abcd1234", "url": "https://w/abcd1234"} and record["code"] == 3
    assert "W&B run abcd1234: https://w/abcd1234" in capsys.readouterr().out


def test_no_file_and_no_output_holds_a_key(rich, monkeypatch, capsys):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", f"aws{KEY}")
    argv = [*BASE, "--sync=s3://bucket/path"]
    for more in ([], ["--dry_run"], ["--print_onstart", REPO]):
        assert runner.main([*argv, *more]) in (0, 3)
    captured = capsys.readouterr()
    assert KEY not in captured.out + captured.err
    files = [path for path in rich.rglob("*") if path.is_file() and path.parent.name != "configs"]
    assert any(path.suffix == ".yaml" for path in files)
    assert not [path for path in files if KEY in path.read_text()]
    task_file = next(path for path in files if path.suffix == ".yaml")
    assert task_file.stat().st_mode & 0o777 == 0o600, "--shutdown_cmd may hold a key"
    yaml = task_file.read_text()
    assert "WANDB_API_KEY: null" in yaml and "AWS_SECRET_ACCESS_KEY: null" in yaml


def test_the_launcher_never_starts_a_wandb_run(rich):
    code = f"""
import sys; sys.path[:0] = [{str(ROOT)!r}]
from runners import launch
for more in ([], ["--dry_run"], ["--print_onstart", {REPO!r}], ["--slurm", "--dry_run"]):
    assert launch.main({BASE!r} + more) in (0, 3)
assert "wandb" not in sys.modules
import wandb
calls = []
wandb.init = lambda *args, **kw: calls.append(args)
assert launch.main({BASE!r}) == 3 and not calls
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# The cost estimate.


def test_the_estimate_equals_time_times_price(here, capsys):
    (here / "summary.json").write_text('{"wall/total_s": 3180}')
    (here / "metadata.json").write_text('{"device": "cpu", "threads": 2, "gpu_name": "none (cpu)"}')
    argv = [*BASE, "--measured=summary.json", "--price=2", "--max_hours=3", "--dry_run"]
    assert runner.main(argv) == 0
    out = capsys.readouterr().out
    assert "3180 s measured on 2 CPU cores (summary.json)" in out
    assert "cost: 1.00 h x $2.00 = $2.00; at most 3 h (--max_hours): $6.00" in out


def test_the_estimate_states_what_is_unknown(here):
    assert "cost: unknown" in pricing.estimate(job_of("--cloud=aws"))
    text = pricing.estimate(job_of("--max_hourly_cost=3"))
    assert "list price" in text and "time: unknown" in text
    assert "no machine may be available" in pricing.estimate(job_of("--max_hourly_cost=1"))


def test_the_estimate_reads_the_results_of_the_repository(here):
    (here / "benchmarks").symlink_to(ROOT / "benchmarks")
    text = pricing.estimate(job_of("--config=configs/burgers.py", "--max_hours=0.2", "--price=1"))
    assert "benchmarks/results/burgers.json" in text and "over --max_hours" in text


# The script, executed with fake commands.

MAKE = """echo "make $*" >>"$LOG"; [ "$CASE" != set-up ] || exit 7
mkdir -p .venv/bin && cp "$FAKES/runner" .venv/bin/python"""
RUNNER = """echo "runner $*" >>"$LOG"
dir=$(printf '%s\\n' "$@" | sed -n 's/^--workdir=//p'); mkdir -p -- "$dir"; cd -- "./$dir"
echo step >>metrics.jsonl; printf '{\\n "id": "abcd1234",\\n "url": null\\n}\\n' >wandb_run.json
trap 'echo checkpoint >>"$LOG"; exit 143' TERM
case $CASE in
  crash) exit 1 ;;
  wait) touch "$LOG.waits"; while :; do sleep 0.05; done ;;
esac"""
LOGGED = 'echo "$(basename "$0") $*" >>"$LOG"'


@pytest.fixture
def box(here, monkeypatch):
    """A rented box of Vast: its PATH has fakes and the system's tools only."""
    fakes = here / "fakes"
    fake(fakes / "make", MAKE)
    fake(fakes / "runner", RUNNER)
    fake(fakes / "git", f'{LOGGED}; mkdir -p "${{@: -1}}"')
    fake(fakes / "vastai", f'{LOGGED}; [ "$CASE" != stuck ]')
    for name in ("python3.13", "shutdown", "curl"):
        fake(fakes / name, LOGGED + ("; exit 1" if name == "curl" else ""))
    script, begun = here / "launch.sh", []

    def start(case, *argv, form=onstart.script, limit_s=14400, **more):
        new = job_of("--cloud=vast", REPO, f"--sync={here}/kept", *argv)
        script.write_text(form(new).replace("LIMIT_S=14400\n", f"LIMIT_S={limit_s}\n"))
        environ = {
            "PATH": f"{fakes}:/usr/bin:/bin",
            "HOME": str(here / "home"),
            "TMPDIR": str(here),
            "LOG": str(here / "log"),
            "FAKES": str(fakes),
            "CASE": case,
            "CONTAINER_ID": "42",
            "CONTAINER_API_KEY": "boxkey",
            **{"LINGER_S": "0", "WATCH_S": "0.05", "RETRY_S": "0"},
            **more,
        }
        (here / "home").mkdir(exist_ok=True)
        begun.append(subprocess.Popen(
            ["bash", str(script)],
            cwd=here, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        ))  # fmt: skip
        return begun[-1]

    def calls(*names):
        lines = (here / "log").read_text().splitlines()
        return [line for line in lines if not names or line.split()[0] in names]

    yield SimpleNamespace(here=here, start=start, calls=calls, fakes=fakes)
    stop_orphans(here)
    for process in begun:
        process.communicate(timeout=10)


def stop_orphans(here):
    """End what a killed script leaves running; a real box ends with it."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environ = (entry / "environ").read_bytes()
        except OSError:
            continue
        if f"LOG={here / 'log'}\0".encode() in environ:
            os.kill(int(entry.name), signal.SIGKILL)


def ended(box, process, timeout=60):
    """Output and code of a script, after a pause in which its guard could act wrongly."""
    process.wait(timeout)
    time.sleep(0.15)
    stop_orphans(box.here)
    out, _ = process.communicate(timeout=timeout)
    return out, process.returncode


def until(box, what):
    for _ in range(200):
        if (box.here / what).exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{what} did not appear")


END = ["vastai destroy instance 42 --api-key boxkey"]


@pytest.mark.parametrize(
    "form", [onstart.script, onstart.packed_script, lambda new: task.task(new)["run"]],
    ids=["plain", "packed", "sky"],
)  # fmt: skip
def test_a_run_that_succeeds_ends_the_box_once(box, form):
    out, code = ended(box, box.start("success", form=form))
    assert code == 0, out
    assert box.calls("vastai", "shutdown") == END
    assert box.calls("runner") == [
        "runner -m ups_jax --config=configs/burgers.py:smoke"
        " --workdir=runs/burgers-smoke --wandb_mode=online"
    ]
    assert [line.split()[1] for line in box.calls("git")] == ["clone", "-C"]
    assert 'launch: wandb_run.json { "id": "abcd1234", "url": null}' in out
    assert "launch: ended with code 0" in out
    assert sky.STATUS_LINE.search(out), "the launcher must match it"
    kept = {path.name for path in (box.here / "kept").iterdir()}
    assert kept == {f"{NAME}.started", f"{NAME}.tgz"}


def test_a_workdir_that_looks_like_an_option_is_saved(box):
    out, code = ended(box, box.start("success", "--workdir=-x"))
    assert code == 0 and "could not be saved" not in out
    (saved,) = (box.here / "kept").glob("*.tgz")
    listed = subprocess.run(["tar", "-tzf", saved], capture_output=True, text=True, check=True)
    assert "-x/metrics.jsonl" in listed.stdout.split()


@pytest.mark.parametrize("case, code", [("crash", 1), ("set-up", 2)])
def test_a_job_that_fails_ends_the_box_once(box, case, code):
    out, got = ended(box, box.start(case))
    assert got == (7 if case == "set-up" else code), out
    assert box.calls("vastai", "shutdown") == END
    assert (box.here / "kept" / f"{NAME}.tgz").exists() == (case == "crash")


def test_the_hard_limit_ends_the_box_once_after_a_checkpoint(box):
    out, code = ended(box, box.start("wait", limit_s=1))
    assert code == 124 and "stopped by the hard limit of 1 s" in out
    assert box.calls("checkpoint", "vastai", "shutdown") == ["checkpoint", *END]


@pytest.mark.parametrize("sent, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_reaches_the_runner_and_ends_the_box_once(box, sent, code):
    process = box.start("wait")
    until(box, "log.waits")
    process.send_signal(sent)
    out, got = ended(box, process)
    assert got == code, out
    assert box.calls("checkpoint", "vastai", "shutdown") == ["checkpoint", *END]
    assert (box.here / "kept" / f"{NAME}.tgz").exists()


def test_a_script_killed_outright_ends_the_box_once(box):
    process = box.start("wait")
    until(box, "log.waits")
    process.kill()
    time.sleep(0.5)
    assert box.calls("vastai", "shutdown") == END


def test_an_unwritable_target_ends_the_box_before_the_run(box):
    (box.here / "kept").write_text("a file where a folder should be")
    out, code = ended(box, box.start("success"))
    assert code == 1 and "cannot write to" in out
    assert box.calls("make", "runner", "vastai", "shutdown") == END


def test_a_sync_that_fails_at_the_end_still_ends_the_box(box):
    fake(box.fakes / "tar", "exit 2")
    out, code = ended(box, box.start("success"))
    assert code == 0 and "the results could not be saved" in out
    assert box.calls("vastai", "shutdown") == END


def test_a_sync_that_hangs_still_ends_the_box(box):
    fake(box.fakes / "tar", "sleep 30")
    _, code = ended(box, box.start("crash", limit_s=1, AFTER_S="0"))
    assert code == -signal.SIGKILL
    assert box.calls("vastai", "shutdown") == END


def test_a_failed_end_is_repeated_then_the_box_halts(box):
    _, code = ended(box, box.start("stuck"))
    assert code == 0
    assert box.calls("vastai", "shutdown") == [*END, *END, "shutdown -h now"]


def test_the_next_box_resumes_from_the_saved_results(box):
    ended(box, box.start("crash"))
    (box.here / "home" / "ups_launch").rename(box.here / "gone")
    out, code = ended(box, box.start("success", UPS_DATA=str(box.here / "data")))
    assert code == 0 and "resumes from" in out
    (lines,) = (box.here / "home").rglob("metrics.jsonl")
    assert lines.read_text() == "step\nstep\n"


def test_the_data_cache_outlives_the_box(box):
    (box.here / "data").mkdir()
    (box.here / "data" / "shard").write_text("simulated")
    ended(box, box.start("success", UPS_DATA=str(box.here / "data")))
    assert (box.here / "kept" / f"{NAME}-data.tgz").exists()
    ended(box, box.start("success", UPS_DATA=str(box.here / "other")))
    assert (box.here / "other" / "shard").read_text() == "simulated"


def test_results_are_saved_during_the_run(box):
    process = box.start("wait", SAVE_EVERY_S="0")
    until(box, f"kept/{NAME}.tgz")
    process.terminate()
    ended(box, process)


def test_vast_takes_the_script_of_a_long_command(here):
    many = [f"--config.fit.{stage}.lr=1e-3" for stage in ("operator", "diffusion", "ensemble")]
    text = onstart.packed_script(
        job_of("--cloud=vast", REPO, "--sync=s3://bucket/a/long/path", *many)
    )
    assert len(text) <= onstart.VAST_LIMIT and text.startswith("#!/usr/bin/env bash\n")


@pytest.mark.parametrize("sync", ["s3://b/p", "gs://b/p", "host:dir", "/mount"])
@pytest.mark.parametrize("cloud", [name for name in clouds.CLOUDS if name != "azure"])
def test_every_script_is_bash(here, cloud, sync):
    new = job_of(f"--cloud={cloud}", f"--sync={sync}", REPO)
    for text in (onstart.script(new), task.task(new)["run"]):
        done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


# Slurm.

SLURM_RUNNER = """import pathlib, signal, sys, time
def end(*_):
    pathlib.Path("checkpoint").touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, end)
with open("argv", "a") as file:
    print(*sys.argv[1:], file=file)
if pathlib.Path("checkpoint").exists():
    sys.exit(0)
pathlib.Path("begun").touch()
time.sleep(60)
"""


@pytest.fixture
def cluster(here, monkeypatch):
    """A login node: fake commands of Slurm, and a run that waits for a signal."""
    fake(here / "bin" / "sbatch", 'cp "${@: -1}" batch.sh; echo "Submitted batch job 12"')
    fake(here / "bin" / "srun", "exit 0")
    fake(here / "bin" / "scontrol", 'echo "$*" >>scontrol.log')
    monkeypatch.setenv("PATH", f"{here / 'bin'}{os.pathsep}{os.environ['PATH']}")
    (here / "runner.py").write_text(SLURM_RUNNER)
    monkeypatch.setattr(job, "PROGRAM", ("runner.py",))
    return here


@needs_submitit
def test_a_slurm_job_is_requeued_at_its_limit_and_resumes(cluster, capsys):
    argv = ["--slurm", "--restart", "--max_hours=2", "--resource=partition=gpu"]
    assert runner.main([*BASE, *argv]) == 0
    assert "job 12" in capsys.readouterr().out
    batch = (cluster / "batch.sh").read_text()
    for flag in ("requeue", "time=120", "signal=USR2@120", "gpus-per-node=H100:1", "partition=gpu"):
        assert f"#SBATCH --{flag}\n" in batch
    command = re.search(r"srun .*? (\S*python\S* -u -m submitit\.\S+ \S+)", batch)
    assert command is not None
    environ = dict(
        os.environ,
        SUBMITIT_EXECUTOR="slurm", SLURM_JOB_ID="12", SLURM_PROCID="0", SLURM_LOCALID="0",
        SLURM_NODEID="0", SLURM_JOB_NUM_NODES="1", SLURM_NTASKS="1", PYTHONPATH=str(ROOT),
    )  # fmt: skip
    first = subprocess.Popen(command[1].split(), env=environ, start_new_session=True)
    until(SimpleNamespace(here=cluster), "begun")
    # Slurm signals every process of a step.
    os.killpg(first.pid, signal.SIGUSR2)
    first.wait(timeout=60)
    assert (cluster / "checkpoint").exists()
    assert (cluster / "scontrol.log").read_text() == "requeue 12\n"
    assert subprocess.run(command[1].split(), env=environ, timeout=60).returncode == 0
    one, two = (cluster / "argv").read_text().splitlines()
    assert one == f"{two} --restart", "--restart only at the first start"


@needs_submitit
def test_a_slurm_job_reports_a_failure(cluster):
    failing = slurm.Training(("-c", "raise SystemExit(4)"), str(cluster))
    with pytest.raises(subprocess.CalledProcessError, match="4"):
        failing()
    assert slurm.Training(("-c", "raise SystemExit(3)"), str(cluster))() == 3


@needs_submitit
def test_without_slurm_nothing_is_submitted(here, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "/nowhere")
    assert runner.main([*BASE, "--slurm"]) == 2
    err = capsys.readouterr().err
    assert "has no Slurm" in err and len(err.splitlines()) <= 2


def test_slurm_without_submitit_names_the_extra(here, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert runner.main([*BASE, "--slurm"]) == 2
    assert "ups_jax[slurm]" in capsys.readouterr().err
