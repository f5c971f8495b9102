"""Fine-tuning starts from a trained emulator, says what it could not take over, and records it."""

import json
import re
import signal
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

import ups_jax as ups
from runs import ROOT
from ups_jax import config
from ups_jax.data import content_hash
from ups_jax.emulator.transfer import copied, require_same_kind, transfer, transfer_notes
from ups_jax.experiment.checkpoint import newest_intact
from ups_jax.experiment.signals import StopFlag
from ups_jax.experiment.trained import read_origin
from ups_jax.jobs import commands

STILL = ups.Recipe(
    steps=10, batch=4, warmup=2, lr=1e-12, unroll=(1,), steps_per_call=5, val_every=5
)
"""A recipe whose learning rate leaves the parameters where they started."""


SIZES = dict(width=4, blocks=1, dilations=(1,))


def close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), a, b)


def make(**options):
    pde = ups.PDES["advection"](points=16, cells=16)
    return ups.Emulator(pde, ups.OPERATORS["resnet"], **{**SIZES, **options})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of an emulator, its parameters, and splits of its task."""
    emulator = make()
    splits = ups.simulate_splits(emulator.pde, train=8, val=2, test=2, steps=4)
    params = ups.init(emulator, jax.random.key(7), {"mean": np.full(1, 0.5, np.float32)})
    folder = ups.save(tmp_path_factory.mktemp("trained") / "a", emulator, params)
    return folder, params, splits


@pytest.fixture
def no_figures(monkeypatch):
    """Runs whose reports draw nothing."""
    for name in list(ups.FIGURES):
        monkeypatch.delitem(ups.FIGURES, name)


def test_new_channels_are_zero_in_networks_and_kept_in_statistics():
    ones = np.ones
    source = {
        "stats": {"std": 3 * ones(1)},
        "operator": {
            "lift": {"kernel": ones((3, 1, 4))}, "head": {"kernel": ones((3, 4, 1))},
            "gone": ones(2), "less": ones(5),
        },
    }  # fmt: skip
    own = {
        "stats": {"std": 2 * ones(2)},
        "operator": {
            "lift": {"kernel": 5 * ones((3, 2, 4))}, "head": {"kernel": 5 * ones((3, 4, 2))},
            "fresh": ones(3), "less": 6 * ones(2),
        },
    }  # fmt: skip
    new = transfer(own, source)
    np.testing.assert_array_equal(new["stats"]["std"], [3, 2])
    lift, head = (new["operator"][name]["kernel"] for name in ("lift", "head"))
    np.testing.assert_array_equal(lift[:, 0], ones((3, 4)))
    np.testing.assert_array_equal(lift[:, 1], 0 * ones((3, 4)))
    np.testing.assert_array_equal(head[..., 0], ones((3, 4)))
    np.testing.assert_array_equal(head[..., 1], 0 * ones((3, 4)))
    np.testing.assert_array_equal(new["operator"]["less"], 6 * ones(2))
    assert copied(own, source) == 24
    assert sorted(transfer_notes(own, source)) == [
        "operator/fresh (3,) is new",
        "operator/gone (2,) is left out",
        "operator/head/kernel (3, 4, 1) fills a part of (3, 4, 2); the rest is zero",
        "operator/less (5,) is left out; (2,) is new",
        "operator/lift/kernel (3, 1, 4) fills a part of (3, 2, 4); the rest is zero",
        "stats/std (1,) fills a part of (2,); the rest is of the new data",
    ]


@pytest.mark.parametrize(
    ("name", "was", "now"),
    [
        ("operator/blocks/0/kernel", (3, 12, 12), (9, 12, 12)),  # a line and a square of taps
        ("operator/lift/kernel", (5, 1, 12), (25, 1, 12)),
        ("operator/blocks/0/kernel", (3, 12, 12), (3, 16, 16)),  # hidden channels
        ("operator/lift/bias", (12,), (16,)),
        ("operator/head/kernel", (5, 12, 1), (5, 16, 1)),
        ("operator/spectral/0/kernel", (2, 8, 12, 12), (2, 12, 12, 12)),  # wavenumbers
        ("diffusion/lift/kernel", (5, 3, 12), (5, 6, 12)),  # noise, state and forecast
    ],
)
def test_only_channels_at_the_end_of_inputs_and_outputs_may_be_new(name, was, now):
    def nested(shape, value):
        tree = np.full(shape, value)
        for part in reversed(name.split("/")):
            tree = {part: tree}
        return tree

    source, own = nested(was, 1.0), nested(now, 2.0)
    jax.tree.map(np.testing.assert_array_equal, transfer(own, source), own)
    assert copied(own, source) == 0
    assert transfer_notes(own, source) == [f"{name} {was} is left out; {now} is new"]


def test_an_emulator_with_another_channel_forecasts_the_first_one_as_before():
    def network(channels):
        shape = (1, 3, 16, channels)
        data = ups.Trajectories(np.ones(shape, np.float32), dt=1.0)
        return ups.Emulator(data, ups.OPERATORS["resnet"], **SIZES)

    small, large = network(1), network(2)
    scales = {"std": np.ones(2, np.float32), "mean": np.zeros(2, np.float32)}
    params = ups.init(small, jax.random.key(3), {name: x[:1] for name, x in scales.items()})
    moved = transfer(ups.init(large, jax.random.key(4), scales), params)
    u = np.random.default_rng(5).normal(size=(2, 16, 2)).astype(np.float32)
    cond = np.zeros((2, 0), np.float32)

    def step(emulator, params, u):
        return np.asarray(jax.jit(partial(ups.step, emulator))(params, u, cond))

    both = step(large, moved, u)
    np.testing.assert_allclose(both[..., :1], step(small, params, u[..., :1]), atol=1e-6)
    np.testing.assert_allclose(both[..., 1], u[..., 1], atol=1e-6)


@pytest.mark.parametrize(
    ("other", "options", "message"),
    [
        (
            "fno",
            dict(modes=4, width=4, layers=1),
            "operator.name of a run is 'resnet', here it is 'fno'",
        ),
        ("resnet", dict(patch=2, **SIZES), "operator.patch of a run is 1, here it is 2"),
    ],
)
def test_a_network_of_another_kind_takes_no_parameters(other, options, message):
    trained = make(patch=1)
    emulator = ups.Emulator(trained.pde, ups.OPERATORS[other], **options)
    with pytest.raises(ValueError, match=message):
        require_same_kind(emulator, trained, "a run")


def test_a_network_of_another_dimension_takes_no_parameters(tmp_path):
    plane = ups.PDES["advection"](points=(8, 8), cells=(8, 8), velocity=(1.0, 1.0))
    square = ups.Emulator(plane, ups.OPERATORS["resnet"], **SIZES)
    with pytest.raises(ValueError, match="a run is trained in 1D, pde 'advection' has 2D"):
        require_same_kind(square, make(), "a run")


def test_channels_on_patches_must_be_the_same():
    networks = [make(patch=2, history=k) for k in (1, 2)]
    with pytest.raises(ValueError, match="must be the same on patches"):
        require_same_kind(networks[1], networks[0], "a run")
    require_same_kind(make(history=2), make(), "a run")


def test_finetuning_starts_from_the_source_and_is_saved_with_it(trained, tmp_path, capsys):
    folder, params, splits = trained
    emulator, found = ups.finetune(
        folder, splits.train, splits.val, STILL, key=jax.random.key(0), progress=False
    )
    close(found, params)
    assert "note" not in capsys.readouterr().err
    saved = ups.save(tmp_path / "b", emulator, found)
    again, _, cfg = ups.load(saved)
    sizes = (cfg.data.path, cfg.data.train, cfg.data.val, cfg.data.steps)
    assert cfg.init_from == str(folder) and sizes == (None, 8, 2, 4)
    record = json.loads((saved / "provenance.json").read_text())
    hashes = [content_hash(part) for part in splits[:2]]
    assert [record["data"][name]["hash"] for name in ("train", "val")] == hashes
    card = (ups.export(tmp_path / "card", saved, steps=2) / "README.md").read_text()
    row = f"| train | {splits.train.origin} | 8 | 5 | {hashes[0]} |"
    assert f"Fine-tuned from {folder} on:" in card and row in card
    # A further copy keeps the record.
    ups.save(tmp_path / "c", again, found)
    assert json.loads((tmp_path / "c" / "provenance.json").read_text()) == record


def test_finetuning_says_what_is_new_and_refuses_a_network_without_any(trained, capsys):
    folder, params, splits = trained
    source, options = ups.load(folder)[:2], dict(key=jax.random.key(0), progress=False)
    other, found = ups.finetune(
        source, splits.train, splits.val, STILL, emulator=make(blocks=2), **options
    )
    close(found["stats"], params["stats"])
    assert other.spec["provenance"]["source"] is None
    assert re.search(r"note: operator/blocks/1/\S+ \(.*\) is new", capsys.readouterr().err)
    scaled = ups.Network(lambda key: {"w": jax.numpy.zeros(())}, lambda w, u, cond: w["w"] * u)
    other = ups.Emulator(source[0].pde, scaled)
    with pytest.raises(ValueError, match="no parameter of source fits the networks"):
        ups.finetune(source, splits.train, splits.val, STILL, emulator=other, **options)


def flags(**changed):
    """Flags of a tiny run on the data of the source; `changed` are keys of fit.operator."""
    fit = {"steps": 10, "batch": 4, "warmup": 2, "lr": 1e-12, "steps_per_call": 5, "val_every": 5}
    keys = {f"fit.operator.{key}": value for key, value in {**fit, **changed}.items()}
    keys |= {"data.train": 8, "data.val": 2, "data.test": 2, "pde.points": 16, "data.cells": 16}
    keys |= {"fit.operator.unroll": 1, "fit.operator.phase_fractions": 1}
    keys |= {"eval.num_figures": 0, "report.dpi": 40}
    keys |= {"stages": "operator", "eval.forecasters": "mean,operator"}
    words = [f"--config.{key}={value}" for key, value in keys.items()]
    return ["--config=advection:smoke", "--wandb_mode=disabled", *words]


def test_a_run_starts_from_a_folder_and_records_it(trained, tmp_path, capsys, no_figures):
    folder, params, _ = trained
    keys = ("name=resnet", "width=4", "blocks=1", "dilations=1")
    network = [f"--config.operator.{key}" for key in keys]
    argv = [*flags(), *network, f"--config.init_from={folder}", "--workdir", str(tmp_path / "run")]
    assert commands.main(argv) == 0
    close(ups.load(tmp_path / "run")[1]["operator"], params["operator"])
    record = json.loads((tmp_path / "run" / "metadata.json").read_text())["init_from"]
    assert record["folder"] == str(folder) and record["copied"] > 0
    capsys.readouterr()
    argv[-1] = str(tmp_path / "other")
    assert commands.main([*argv, f"--config.init_from={tmp_path / 'none'}"]) == 2
    assert "none holds no run: config.json is missing" in capsys.readouterr().err


def test_the_command_takes_the_operator_of_the_source(trained, tmp_path, capsys, no_figures):
    folder, params, _ = trained
    argv = ["finetune", "--from", str(folder), *flags(), "--workdir", str(tmp_path / "run")]
    assert commands.main(argv) == 0
    close(ups.load(tmp_path / "run")[1]["operator"], params["operator"])
    # Keys of the user's own take the place of the source's; a network of another kind fits none.
    capsys.readouterr()
    own, last = ["--config.operator.zero_mean=true"], ["--dry_run"]
    assert commands.main([*argv[:-1], str(tmp_path / "other"), *own, *last]) == 0
    assert '"zero_mean": true' in capsys.readouterr().out
    own = ["--config.operator.name=dilated", "--config.operator.width=4"]
    assert commands.main([*argv[:-1], str(tmp_path / "other"), *own, *last]) == 2
    error = capsys.readouterr().err
    assert "is 'resnet', here it is 'dilated'; use operator.name=resnet" in error
    assert error.count("\n") <= 2
    assert commands.main(["finetune", "--from", str(tmp_path / "none"), *flags()]) == 2
    assert "none holds no run: config.json is missing" in capsys.readouterr().err


def test_the_command_starts_from_a_pretrained_network_by_its_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = ["--config=semilinear:smoke", "--config.pde.points=160", "--config.data.cells=160"]
    argv = ["finetune", *data, "--wandb_mode=disabled", "--workdir=run", "--dry_run", "--from"]
    assert commands.main([*argv, "universal-1d"]) == 0
    printed = capsys.readouterr()
    operator = json.loads(printed.out[: printed.out.rindex("}") + 1])["operator"]
    assert operator == config.to_dict(ups.pretrained("universal-1d")[2])["operator"]
    assert "is new" not in printed.err and "left out" not in printed.err
    assert commands.main([*argv, "universal1d"]) == 2
    error = capsys.readouterr().err
    assert "unknown folder or pretrained emulator 'universal1d'; did you mean 'univ" in error
    assert error.count("\n") <= 2 and list(tmp_path.iterdir()) == []
    (tmp_path / "universal-1d").mkdir()
    assert commands.main([*argv, "universal-1d"]) == 2
    assert "universal-1d holds no run" in capsys.readouterr().err


def test_a_pretrained_network_is_fine_tuned_by_its_name():
    emulator, params, _ = ups.pretrained("universal-1d")
    record = read_origin("universal-1d", emulator).record
    assert record["folder"] == "universal-1d" and record["notes"] == []
    assert record["copied"] == ups.num_params(params["operator"])
    pde, rng = emulator.pde, np.random.default_rng(0)
    cond = np.tile(pde.parts[0].sample_cond(jax.random.key(0)), (4, 1))
    u = rng.normal(size=(4, 3, *pde.points, 1)).astype(np.float32)
    data = ups.Trajectories(u, cond, pde.dt)
    tuned, found = ups.finetune(
        "universal-1d", data, data, STILL, key=jax.random.key(0), progress=False
    )
    close(found, params)
    assert tuned.spec["provenance"]["source"] == "universal-1d"
    with pytest.raises(ValueError, match="unknown folder or pretrained emulator 'none'"):
        ups.finetune("none", data, data, STILL, key=jax.random.key(0))


def test_an_interrupted_fine_tuning_resumes_to_the_same_bits(
    trained, tmp_path, monkeypatch, capsys, no_figures
):
    argv = ["finetune", "--from", str(trained[0]), *flags(steps=20, lr=1e-2), "--workdir"]
    whole, cut = str(tmp_path / "one" / "w"), str(tmp_path / "two" / "w")
    assert commands.main([*argv, whole]) == 0

    def after_the_first_chunk(stop):
        rows = tmp_path / "two" / "w" / "metrics.jsonl"
        stop.signum = signal.SIGINT if rows.exists() and rows.stat().st_size else 0
        return stop.signum != 0

    with monkeypatch.context() as patched:
        patched.setattr(StopFlag, "__call__", after_the_first_chunk)
        assert commands.main([*argv, cut]) == 130
    assert "resume with: " in capsys.readouterr().err
    assert newest_intact(Path(cut) / "ckpt" / "operator")[0] is not None
    assert commands.main([*argv, cut]) == 0
    ours, theirs = (ups.load(folder)[1] for folder in (cut, whole))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_the_blocks_of_the_page_run_in_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    mixture = ups.PDES["mixture"](equations=("adv_diff", "kdv"), points=32, cells=32)
    emulator = ups.Emulator(mixture, ups.OPERATORS["resnet"], **SIZES)
    ups.save("joint", emulator, ups.init(emulator, jax.random.key(0)))
    monkeypatch.setattr(ups, "pretrained", lambda name: ups.load("joint"))
    page = (ROOT / "docs" / "pretrained.md").read_text()
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.S):
        exec(block, names)
    printed = capsys.readouterr()
    assert printed.out.count("persistence") == 4 and "note" not in printed.err
    tuned, params, _ = ups.load("my_equation")
    assert tuned.pde.name == "semilinear"
    assert not np.array_equal(
        params["operator"]["head"]["kernel"], names["weights"]["operator"]["head"]["kernel"]
    )
