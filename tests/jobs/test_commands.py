"""Commands: flags match options, mistakes name the remedy, scripts need the library."""

import argparse
import dataclasses
import subprocess
import sys

import pytest

from runs import ROOT
from ups_jax.jobs import cli, commands


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_every_flag_is_an_option_of_its_command(name):
    entry = commands.COMMANDS[name]
    parser = argparse.ArgumentParser(add_help=False)
    entry.add_flags(parser)
    options = {field.name for field in dataclasses.fields(entry.load()[0])}
    flags = {action.dest for action in parser._actions}
    common = {"config": {"config", "overrides", "workdir", "wandb_mode", "restart", "dry_run"},
              "workdir": {"workdir", "wandb_mode"}, "project": set()}[entry.subject]  # fmt: skip
    assert flags | common <= options


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["evalute"], "unknown command 'evalute'; did you mean 'evaluate'? known: dashboard,"),
        (["evaluate", "--workdir=w", "--modes=operator"], "did you mean '--forecasters'?"),
        (["--config=x", "--processes=2"], "did you mean '--num_processes'?"),
        (["evaluate"], "--workdir is missing"),
        ([], "--config is missing; for example --config burgers:smoke"),
        (["--config=burgers:smoek", "--dry_run"], "did you mean 'smoke'?"),
    ],
)
def test_a_mistake_exits_2_and_names_the_remedy(capsys, argv, message):
    with pytest.raises(SystemExit) as exited:
        sys.exit(commands.main(argv))
    out, err = capsys.readouterr()
    assert exited.value.code == cli.BAD_INPUT
    assert message in err and len(err.splitlines()) <= 2 and not out


@pytest.mark.parametrize("path", sorted((ROOT / "runners").glob("*.py")), ids=lambda p: p.stem)
def test_a_script_without_the_library_says_how_to_get_it(path, tmp_path):
    # -S leaves out site-packages, as a Python outside the environment does.
    argv = [sys.executable, "-S", str(path)]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "source .venv/bin/activate" in done.stderr
