"""Every Python block of README and docs runs, every command exists, every public name is listed."""

import re
import shlex
import tomllib
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest
from wandb.cli.cli import cli as wandb

import ups_jax as ups
from benchmarks.__main__ import parse as parse_benchmark
from runs import ROOT
from ups_jax.jobs import cli
from ups_jax.jobs.commands import COMMANDS

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"`((?:python|make|pip|srun) [^`]+)`")
ELSEWHERE = {
    "docs/data.md": "science/test_own_data.py",
    "docs/equations.md": "science/test_mixture.py",
    "docs/extending.md": "experiment/test_plug_points.py",
    "docs/pretrained.md": "learning/test_finetune.py",
    "docs/wandb.md": "experiment/test_pipeline.py",
}
"""Pages whose blocks are run by a test of their subject."""
SPLITS = "train=256, val=32, test=64"
SMALLER = {
    "README.md": {
        SPLITS: "train=8, val=4, test=4",
        "cells=512": "cells=128",
        "width=32, blocks=2": "width=8, blocks=1",
        "steps=500": "steps=50",
        "warmup=50, unroll=(1, 2)": "warmup=5, unroll=(1,)",
    },
    "docs/python.md": {
        SPLITS: "train=8, val=4, test=4",
        "train=128, val=32, test=32": "train=8, val=4, test=4",
        "cells=512": "cells=128",
        "width=32, blocks=2": "width=8, blocks=1",
        "steps=500": "steps=50",
        "warmup=50, unroll=(1, 2)": "warmup=5, unroll=(1,)",
        '"burgers:smoke"': '"burgers:smoke", SHORT',
        "n=64": "n=2",
    },
}
"""Numbers of a page, and those of its test. Equal programs of two pages are compiled once."""
PRESETS = {
    "docs/judging.md": """
from ml_collections import ConfigDict
from ups_jax.config import base
cfg = base.get_config()
"""
}
"""Names that a fragment of a page takes from its surroundings."""
SHORT = {
    "stages": "operator,ensemble", "operator.dilations": "1", "operator.blocks": 1,
    "fit.operator.unroll": "1",
    "fit.operator.phase_fractions": "1", "fit.operator.steps": 50, "fit.operator.val_every": 50,
    "fit.ensemble.steps": 50, "fit.ensemble.val_every": 50, "fit.ensemble.unroll": "1",
    "fit.ensemble.phase_fractions": "1", "fit.operator.warmup": 5, "fit.ensemble.warmup": 5,
}  # fmt: skip


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: str, language: str = "python") -> list[str]:
    return [text for name, text in BLOCK.findall((ROOT / page).read_text()) if name == language]


@pytest.fixture(scope="module")
def execute(tmp_path_factory):
    """Run the blocks of a page in order -> their names; a block that ran before is skipped."""
    folder = tmp_path_factory.mktemp("docs")
    done: dict[str, dict] = {}

    def run(page: str) -> dict:
        names: dict = {"SHORT": SHORT}
        exec(PRESETS.get(page, ""), names)
        smaller = SMALLER.get(page, {})
        assert all(old in "".join(blocks(page)) for old in smaller)
        for block in blocks(page):
            if block in done:
                names |= done[block]
                continue
            code = block
            for old, new in smaller.items():
                code = code.replace(old, new)
            exec(compile(code, page, "exec"), names)
            done[block] = dict(names)
        return names

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield run


def test_the_ten_lines_of_the_readme(execute):
    (code,) = blocks("README.md")
    assert len([line for line in code.splitlines() if line]) <= 10
    names = execute("README.md")
    emulator, params, _ = ups.load("my_emulator")
    jax.tree.map(np.testing.assert_array_equal, params, names["params"])
    assert emulator.galilean and emulator.pde.points == (128,)
    assert blocks("docs/start.md")[0] == code
    execute("docs/start.md")
    assert Path("forecast.png").stat().st_size > 1000
    assert execute("docs/pytorch.md")["u"].shape == (4, 10, 128, 1)


def test_the_library_in_python(execute, smoke):
    Path("runs").symlink_to(smoke[0].parent)
    names = execute("docs/python.md")
    # The last block but one reads the folder of a run.
    assert names["out"].u.shape == (2, 40, 64, 1)
    assert names["report"].forecasters == ("persistence", "solver", "operator")
    assert Path("burgers_export/README.md").exists()


def test_the_config_file_of_the_manual(execute):
    execute("docs/configuration.md")
    Path("mine.py").write_text(blocks("docs/configuration.md")[0])
    assert ups.load_config("mine.py:smoke").fit.operator.steps == 200
    assert "champion" in execute("docs/judging.md")["cfg"].gates


def test_every_page_with_python_is_run():
    here = Path(__file__).read_text()
    for page in map(name_of, PAGES):
        if not blocks(page):
            continue
        if page in ELSEWHERE:
            source, call = (ROOT / "tests" / ELSEWHERE[page]).read_text(), f'"{Path(page).name}"'
        else:
            source, call = here, f'execute("{page}")'
        assert call in source, f"no test runs the blocks of {page}"


def test_blocks_have_a_known_language():
    for page in PAGES:
        languages = {name for name, _ in BLOCK.findall(page.read_text())}
        directives = {"{code-cell}", "{toctree}", "{eval-rst}", "{include}"}
        assert languages <= {"python", "bash", *directives}, name_of(page)


def commands(page: Path) -> list[str]:
    text = page.read_text()
    lines = [
        line
        for block in blocks(name_of(page), "bash")
        for line in block.replace("\\\n", " ").splitlines()
    ]
    return lines + COMMAND.findall(BLOCK.sub("", text))


@pytest.mark.parametrize("page", [*PAGES, ROOT / "benchmarks" / "README.md"], ids=name_of)
def test_commands_exist_and_their_networks_can_be_built(page, tmp_path, monkeypatch):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    data = ups.Trajectories(np.ones((20, 3, 8, 1), np.float32))
    ups.save_npz("own.npz", data)
    for line in commands(page):
        check(shlex.split(line.partition(">")[0], comments=True))


def check(words: list[str]) -> None:
    """Raise where a command names a target, extra, flag, config, key or file that does not exist.

    The network of a training command must fit its equation.
    """
    folders = ("configs/", "runners/", "benchmarks/", "docs/", "tests/")
    for word in words:
        file = word.rpartition("=")[2].partition(":")[0]
        assert not file.startswith(folders) or (ROOT / file).exists(), word
    match words:
        case ["make", *targets]:
            listed = re.search(r"\.PHONY: (.*)", (ROOT / "Makefile").read_text())
            rules = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert listed and set(targets) <= set(listed[1].split()) & set(rules)
        case ["pip", "install", what]:
            extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
            named = re.fullmatch(r"\.(?:\[([\w,]+)\])?", what)
            assert named and set((named[1] or "").split(",")) <= {
                "", *extras["optional-dependencies"]
            }  # fmt: skip
        case ["python", "-m", "benchmarks", name, *argv]:
            parse_benchmark(name, argv)
        case ["python", "-m", "ups_jax", command, *argv] if not command.startswith("-"):
            parse(command, argv)
        case ["python", "-m", "ups_jax", *argv]:
            parse("train", argv)
        case ["python", script, *argv]:
            name = Path(script).stem
            assert (ROOT / script).exists()
            parse("train" if name == "fast_to_sota" else name, argv)
        case ["wandb", command, *_]:
            assert command in wandb.commands
        case ["srun", *argv]:
            check(argv[argv.index("python") :])
        case _:
            assert not words or words[0] in (".", "vastai", ".venv-peers/bin/python"), words


def parse(command: str, argv: list[str]) -> None:
    entry = COMMANDS[command]
    argv = [word for word in argv if word != "--help"]
    if not argv and entry.subject != "project":
        return
    found = cli.parse(argv, entry.add_flags, prog="", description="", subject=entry.subject)
    entry.load()[0](**found)
    if "config" in found and found["config"] != "my_config.py":
        swept = [spec.partition("=") for spec in found.get("sweep", ())]
        first = {key: re.split("[,:|]", values)[0] for key, _, values in swept}
        name = found["config"].removeprefix("configs/").replace(".py", "")
        build(name, tuple({**found["overrides"], **first}.items()))


@cache
def build(config: str, overrides: tuple[tuple[str, str], ...]) -> None:
    """Build a config's networks, once for all commands that name it."""
    ups.build(ups.load_config(config, dict(overrides)))


def test_the_reference_lists_every_public_name():
    page = (ROOT / "docs" / "api.md").read_text()
    listed = set(re.findall(r"auto(?:class|function):: (\w+)", page)) | set(
        re.findall(r"`([A-Z_]+)`", page)
    )
    assert listed == set(ups.__all__) - {"__version__"}


def test_every_guide_is_in_the_contents():
    index = (ROOT / "docs" / "index.md").read_text()
    entries = set(re.search(r"(?s)```\{toctree.*", index)[0].split())
    pages = {p.relative_to(ROOT / "docs").with_suffix("").as_posix() for p in PAGES[2:]}
    assert pages - {"index"} <= entries


def test_benchmarks_install_no_test_packages():
    rules = (ROOT / "Makefile").read_text()
    for target in ("apebench", "bench", "bench-full", "bench-peers"):
        needs = re.findall(rf"^{target}: (.*)$", rules, re.MULTILINE)
        assert needs and not any("$(TEST)" in line for line in needs)
