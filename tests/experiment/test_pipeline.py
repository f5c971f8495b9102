"""A whole run, its record, and input that is refused."""

import json
import re
import shutil
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import wandb

import ups_jax as ups
from fixtures import write_pdebench
from runners import evaluate, fast_to_sota
from runs import ROOT, TINY, stored, summary
from ups_jax.data import save_npz
from ups_jax.evaluate import validator
from ups_jax.experiment import environment, reevaluate
from ups_jax.experiment.datasets import load_splits
from ups_jax.experiment.evaluation import one_standard_error
from ups_jax.experiment.signals import StopFlag
from ups_jax.report import FIGURES

STAGES = ("operator", "control", "diffusion", "student", "ensemble")
SERIES = {stage: "distill" if stage == "student" else stage for stage in STAGES}


def test_stdout_ends_with_the_table_and_the_report(smoke):
    workdir, stdout, stderr, _ = smoke
    lines = stdout.splitlines()
    assert lines[-1] == f"report: {workdir / 'report.html'}"
    assert lines[0].split()[:3] == ["forecaster", "protocol", "nRMSE"]
    assert any(line.startswith("members: 8, on the first 16") for line in lines)
    assert any(line.startswith("search ") and "rank correlation" in line for line in lines)
    assert "\r" not in stderr


def test_the_summary_holds_what_the_contract_names(smoke):
    found = summary(smoke[0])
    names = ["eval/nrmse", "eval/mse", "eval/mae", "eval/physics/conservation_gap"]
    names += [f"eval/{m}/nrmse" for m in ("persistence", "mean", "operator", "solver")]
    names += ["eval/operator/p10/nrmse", "eval/truth/physics/conservation_gap", "eval/val/nrmse"]
    parts = "data", "compile", "train", "validation", "prepare", "eval", "report"
    names += [f"wall/{part}_s" for part in (*parts, "total")]
    names += ["memory/peak_mib"] + [f"params/{stage}" for stage in STAGES]
    drawn = ("diffusion", "student", "ensemble")
    names += [f"eval/{m}/{k}" for m in drawn for k in ("nrmse", "crps", "coverage_90", "samples")]
    names += ["eval/ttc/nrmse", "eval/ttc/analysis/rank_correlation", "eval/val/ensemble/crps"]
    for name in names:
        assert np.isfinite(found[name]), name
    selected = json.loads((smoke[0] / "metadata.json").read_text())["selected"]
    candidates = ("operator", "student", "ensemble")
    errors = {m: found[f"eval/selection/{m}/nrmse"] for m in candidates}
    assert errors[selected] <= errors["operator"]
    assert found["eval/nrmse"] == found[f"eval/{selected}/nrmse"]
    assert found["eval/nrmse"] < 0.8 * found["eval/mean/nrmse"]
    seconds = sum(found[f"wall/{part}_s"] for part in parts)
    assert seconds == pytest.approx(found["wall/total_s"], rel=0.02, abs=0.5)


@pytest.mark.parametrize(
    ("errors", "selected"),
    [
        ({"operator": [2.0, 4.0, 3.0], "ensemble": [1.9, 4.2, 2.8]}, "operator"),
        ({"operator": [2.0, 4.0, 3.0], "ensemble": [1.9, 3.9, 2.9]}, "ensemble"),
        ({"operator": [2.0, 4.0, 3.0], "ensemble": [2.1, 4.1, 3.1]}, "operator"),
        # A forecaster of middle cost, within the noise of the best, must beat the cheapest.
        ({"a": [3.0, 3.0], "b": [2.0, 6.0], "c": [2.9, 2.9]}, "c"),
        ({"a": [np.inf, 1.0], "b": [2.0, 2.0]}, "b"),
        ({"a": [2.0], "b": [1.0]}, "b"),
    ],
)
def test_the_cheapest_forecaster_within_one_standard_error_is_selected(errors, selected):
    assert one_standard_error({mode: np.array(e) for mode, e in errors.items()}) == selected


def test_one_wandb_run_holds_the_same_numbers(smoke):
    workdir = smoke[0]
    (run,) = stored(workdir)
    assert set(run.ids) == {(workdir / "run_id.txt").read_text().strip()}
    numbers = {k: v for k, v in run.summary.items() if not isinstance(v, dict)}
    assert numbers == summary(workdir)
    series = {key for row in run.history for key in row}
    scalar = {key for row in run.history for key, v in row.items() if not isinstance(v, dict)}
    assert not any(key.startswith(("eval/", "wall/")) for key in series)
    names = ("loss", "step", "lr", "grad_norm")
    assert {f"{name}/{key}" for name in SERIES.values() for key in names} <= scalar
    assert {"operator/val_nrmse", "diffusion/val_loss", "ensemble/val_crps"} <= scalar
    assert {"Evaluation Summary", "Physics Diagnostics", "Stage Summary", "report"} <= series
    assert {"Ensemble Summary", "TTC Analysis"} <= series
    assert {"eval_samples", "gpu_name", "git_sha", "data_hash", "pde", "schema"} <= set(run.config)
    assert run.exit_codes == [0]
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    for stage in SERIES.values():
        logged = [row for row in run.history if f"{stage}/step" in row]
        local = [row for row in rows if row["stage"] == stage]
        assert [row[f"{stage}/loss"] for row in logged] == [row[f"{stage}/loss"] for row in local]


def test_values_beyond_the_summary_stand_in_one_table(smoke):
    found = summary(smoke[0])
    table = json.loads((smoke[0] / "tables" / "all-metrics.json").read_text())
    forecasters, rows = table["columns"][1:], {row[0]: row[1:] for row in table["rows"]}
    assert {"truth", "operator", "ttc", "student"} <= set(forecasters)
    values = {
        f"eval/{forecaster}/{metric}": value
        for metric, row in rows.items()
        for forecaster, value in zip(forecasters, row, strict=True)
    }
    shared = values.keys() & found.keys()
    assert {key: values[key] for key in shared} == {key: found[key] for key in shared}
    assert {"eval/operator/p10/nrmse_p90", "eval/student/paired/crps", "eval/mean/crmse"} <= shared
    only = {key for key, value in values.items() if value is not None} - shared
    assert {"eval/mean/mae_p90", "eval/operator/paired/crmse", "eval/solver/brmse"} <= only
    assert "eval/brmse" in found and len(only) > 200


def test_the_model_of_the_wandb_run_loads_by_the_lines_of_the_page(smoke, tmp_path, monkeypatch):
    (run,) = stored(smoke[0])
    (model,) = [artifact for artifact in run.artifacts if artifact.type == "model"]
    assert model.name == "burgers"
    for entry in model.manifest.contents:
        target = tmp_path / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(entry.local_path, target)
    page, names = (ROOT / "docs" / "wandb.md").read_text(), {}
    download = SimpleNamespace(download=lambda: str(tmp_path))
    api = SimpleNamespace(artifact=lambda name: download)
    monkeypatch.setattr(wandb, "Api", lambda: api)
    (block,) = re.findall(r"```python\n(.*?)```", page, re.S)
    exec(block, names)
    jax.tree.map(np.testing.assert_array_equal, names["params"], ups.load(smoke[0])[1])


def test_the_report_is_one_file_with_its_figures(smoke):
    page = (smoke[0] / "report.html").read_text()
    assert page.count("data:image/png") >= 6
    assert not re.search("https?:", re.sub(r"data:[^\"]*", "", page))
    assert "regenerated" in page
    names = ["error_over_time", "spectra", "conserved", "forecast_0", "reliability", "fan_ensemble"]
    names += ["rank_histogram", "spread_error", "search_analysis", "training"]
    for name in names:
        assert (smoke[0] / "figures" / f"{name}.png").stat().st_size > 5000


def test_the_same_command_again_prints_the_table(smoke, capsys):
    _, stdout, _, argv = smoke
    assert fast_to_sota.main(argv) == 0
    assert capsys.readouterr().out == stdout


def test_another_report_key_redraws_a_finished_run(smoke, tmp_path, capsys, monkeypatch):
    """From its folder alone: no data, no network."""
    for name in FIGURES.keys() - {"error_over_time", "fan"}:
        monkeypatch.delitem(FIGURES, name)
    folder = shutil.copytree(smoke[0], tmp_path / "run")
    argv = ["--config", "configs/burgers.py:smoke", "--workdir", str(folder)]
    before = {file: (folder / file).read_bytes() for file in ("summary.json", "report.html")}
    assert fast_to_sota.main(argv) == 0
    assert (folder / "report.html").read_bytes() == before["report.html"]
    changed = [*argv, "--config.report.format=svg", "--config.report.dpi=40"]
    assert fast_to_sota.main(changed) == 0
    assert (folder / "summary.json").read_bytes() == before["summary.json"]
    page = (folder / "report.html").read_text()
    assert "data:image/svg+xml" in page and "data:image/png" not in page
    assert (folder / "figures" / "fan_ensemble.svg").exists()
    saved = json.loads((folder / "config.json").read_text())
    assert saved["report"] == {"dpi": 40, "format": "svg"}
    (folder / "report.npz").unlink()
    assert fast_to_sota.main(argv) == 0
    assert "report.npz: the values of the report cannot be read" in capsys.readouterr().err
    assert (folder / "report.html").read_text() == page


REEVALUATE = {
    "--horizon 1e4": "of them for its forecasts; this machine has 16.0 GiB",
    "--horizon 1e8": "at most 1,000,000 times dt",
    "--points 33": "it must divide data.cells",
}


@pytest.mark.parametrize("flags", REEVALUATE)
def test_an_evaluation_that_cannot_be_is_refused_before_it_starts(
    smoke, flags, capsys, monkeypatch
):
    monkeypatch.setattr(environment, "memory", lambda: 16 * 2**30)
    assert evaluate.main(["--workdir", str(smoke[0]), *flags.split()]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) <= 2 and REEVALUATE[flags] in " ".join(lines)


def test_other_points_warn_where_the_network_is_tied_to_its_grid(smoke, capsys):
    few = dict(workdir=smoke[0], horizon=0.05, points=32)
    for names in ("persistence", "persistence,operator"):
        reevaluate.prepare(reevaluate.EvaluateOptions(forecasters=names, **few), StopFlag())
        warned = "warning: operator 'resnet' was trained on 64 points" in capsys.readouterr().err
        assert warned == ("operator" in names)


def test_another_config_is_refused_by_its_keys(smoke, capsys):
    *_, argv = smoke
    assert fast_to_sota.main([*argv, "--config.fit.operator.lr=1e-3"]) == 2
    message = capsys.readouterr().err
    assert "fit.operator.lr: 0.003 -> 0.001" in message and "--restart" in message
    assert len(message.splitlines()) <= 2
    assert fast_to_sota.main([*argv, "--config.log.name=other"]) == 0


@pytest.mark.parametrize("mode, name", [("dry", "--dry_run"), ("help", "--help")])
def test_nothing_is_run_for_a_question(tmp_path, mode, name, capsys):
    workdir = tmp_path / "w"
    argv = ["--config=configs/burgers.py:smoke", "--workdir", str(workdir), name]
    with pytest.raises(SystemExit) as done:
        raise SystemExit(fast_to_sota.main(argv))
    assert done.value.code == 0 and not workdir.exists()
    wanted = "estimated minutes" if mode == "dry" else "fit.<stage>.val_every"
    assert wanted in capsys.readouterr().out


BAD = {
    "key": (["--config.fit.operator.lrr=1"], "did you mean 'fit.operator.lr'"),
    "type": (["--config.data.train=1.5"], "1.5"),
    "operator": (["--config.operator.name=resnett"], "did you mean 'resnet'"),
    "file": (["--config.data.path=missing.hdf5"], "missing.hdf5"),
    "patch": (["--config.operator.patch=3"], "must divide the grid"),
    "modes": (["--config.operator.name=fno", "--config.operator.modes=99"], "modes is 99"),
    "limiter": (["--config.pde.limiter=minmd"], "did you mean 'minmod'"),
    "small": (["--config.data.path={small}"], "space_stride"),
    "nan": (["--config.data.path={nan}"], "NaN or infinity"),
    "torn": (["--config.data.path={torn}"], "torn.hdf5"),
    "overlap": (["--config.data.path={overlap}"], "same initial condition"),
    "nowhere": (["--workdir=/proc/nowhere"], "--workdir"),
    "page": (["--config.leaderboard.path=board.html"], "no .html file"),
    "members": (
        ["--config.eval.forecasters=ensemble", "--config.eval.select=ensemble"],
        "needs one without members",
    ),
    "matched": (
        ["--config.fit.control.steps=1000", "--config.fit.control.warmup=500"],
        "with the FLOPs of 'ensemble'",
    ),
    "project": (["--config.log.project=a/b"], "W&B refuses log.project"),
    "tags": (["--config.log.tags=" + "a" * 70], "W&B refuses log.tags"),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hdf5")
    rng = np.random.default_rng(0)
    u = rng.normal(size=(250, 201, 256)).astype("f4")
    write_pdebench(folder / "small.hdf5", u[..., :30])
    twice = u.copy()
    twice[100:] = twice[3]
    write_pdebench(folder / "overlap.hdf5", twice)
    u[7, 5, 4] = np.nan
    write_pdebench(folder / "nan.hdf5", u)
    (folder / "torn.hdf5").write_bytes((folder / "overlap.hdf5").read_bytes()[:9000])
    return {name: str(folder / f"{name}.hdf5") for name in ("small", "nan", "torn", "overlap")}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_two_lines_and_code_2_before_any_run(case, files, tmp_path, capsys):
    extra, words = BAD[case]
    extra = [word.format(**files) for word in extra]
    argv = ["--config=configs/burgers.py:smoke", f"--workdir={tmp_path / 'w'}", *extra]
    assert fast_to_sota.main(argv) == 2
    told = capsys.readouterr().err
    assert words in told and "Traceback" not in told and 1 <= len(told.splitlines()) <= 2
    assert not (tmp_path / "w" / "run_id.txt").exists()


def test_a_restart_of_a_folder_that_holds_no_run_is_refused(tmp_path, capsys):
    (tmp_path / "metrics.jsonl").write_text("mine\n")
    argv = ["--config=configs/burgers.py:smoke", f"--workdir={tmp_path}", "--restart"]
    assert fast_to_sota.main(argv) == 2
    assert "is not empty and holds no run" in capsys.readouterr().err
    assert (tmp_path / "metrics.jsonl").read_text() == "mine\n"


def test_a_finished_run_with_damaged_files_fails_closed_in_one_line(smoke, tmp_path, capsys):
    workdir = tmp_path / "burgers"
    shutil.copytree(smoke[0], workdir)
    argv = ["--config=configs/burgers.py:smoke", f"--workdir={workdir}"]
    for content in (None, b"", b'{"gates_', b"[]", b"{}", b"\xff"):
        (workdir / "verdict.json").unlink()
        if content is not None:
            (workdir / "verdict.json").write_bytes(content)
        for flags, code in (([], 0), (["--fail_on_gate"], 3), (["--fail_on_regression"], 3)):
            assert fast_to_sota.main([*argv, *flags]) == code
        told = capsys.readouterr().err
        if content == b"{}":
            assert told.count("verdict.json differ from what the run wrote") == 3
        else:
            assert content is None or "verdict.json is damaged" in told
            assert len(told.splitlines()) <= 1
        (workdir / "verdict.json").touch()
    (workdir / "table.txt").write_bytes(b"")
    shutil.copy(smoke[0] / "verdict.json", workdir)
    assert fast_to_sota.main([*argv, "--fail_on_gate"]) == 0
    told = capsys.readouterr()
    assert "table.txt is damaged (it is empty)" in told.err and "report: " in told.out


def test_damaged_parameters_of_a_finished_run_are_refused_with_a_remedy(smoke, tmp_path):
    shutil.copytree(smoke[0] / "ckpt" / "selected", tmp_path / "ckpt" / "selected")
    shutil.copy(smoke[0] / "config.json", tmp_path)
    file = next(
        f for f in (tmp_path / "ckpt").rglob("*") if f.is_file() and f.stat().st_size > 9999
    )
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged; restore it.*\n.*rerun the training command"):
        ups.load(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ValueError, match="config.json is damaged .*training command writes it"):
        ups.load(tmp_path)


@pytest.mark.parametrize("calls", [1, 2])
def test_the_student_keeps_its_teachers_correction(smoke, calls):
    """Collapsed to nothing, as the predecessor's was, it would leave the operator's rollout."""
    emulator, params, _ = ups.load(smoke[0])
    data = ups.simulate(emulator.pde, jax.random.key(3), n=16, steps=20)
    given = (emulator, params, data.u[:, 0], data.cond, jax.random.key(0))
    plain = ups.forecast(*given, steps=20, forecaster="operator").u[:, None]

    def size(**options):
        found = ups.forecast(*given, steps=20, members=4, **options)
        return float(np.sqrt(np.mean((found.members - plain) ** 2)))

    teacher, student = size(forecaster="diffusion"), size(forecaster="student", calls=calls)
    assert 0.5 < student / teacher < 1.5
    assert teacher > 0.2 * float(np.sqrt(np.mean((plain[:, 0] - data.u[:, 1:]) ** 2)))


def test_a_checkpoint_of_another_architecture_is_refused(smoke, tmp_path):
    copy = tmp_path / "w"
    copy.mkdir()
    record = json.loads((smoke[0] / "config.json").read_text())
    record["operator"]["width"] = 8
    (copy / "config.json").write_text(json.dumps(record))
    (copy / "ckpt").symlink_to(smoke[0] / "ckpt")
    with pytest.raises(ValueError, match="does not fit"):
        ups.load(copy)


def test_a_diverging_loss_ends_with_code_4_saved_and_named(tmp_path, capsys):
    rate = ("--config.fit.operator.lr=1e3", "--config.fit.operator.weight_decay=1e3")
    argv = [*TINY, f"--workdir={tmp_path / 'w'}", *rate]
    assert fast_to_sota.main([*argv, "--wandb_mode=disabled"]) == 4
    told = capsys.readouterr().err
    assert re.search(r"operator: loss is (nan|inf) within steps \[\d+, \d+\]", told)
    assert not (tmp_path / "w" / "summary.json").exists()
    assert any((tmp_path / "w" / "ckpt" / "operator").iterdir())
    assert json.loads((tmp_path / "w" / "alerts.json").read_text())[0]["title"] == "diverged"


def test_own_arrays_train_two_seeds_and_evaluate_without_wandb(tmp_path, capsys):
    pde = ups.build(ups.load_config("configs/advection.py:smoke")).pde
    data = ups.simulate(pde, jax.random.key(5), n=60, steps=20)
    save_npz(tmp_path / "own.npz", data)
    argv = ["--config=configs/data.py:smoke", f"--workdir={tmp_path / 'w'}"]
    argv += ["--config.pde.conserved=u", "--config.fit.operator.steps=50"]
    argv += ["--config.fit.operator.val_every=50", "--config.fit.operator.batch=8"]
    argv += [f"--config.data.path={tmp_path / 'own.npz'}", "--wandb_mode=disabled"]
    argv += [
        "--config.eval.forecasters=operator",
        "--config.report.dpi=40",
        "--config.eval.num_figures=0",
    ]
    argv += ["--config.fit.operator.unroll=1", "--config.fit.operator.phase_fractions=1"]
    argv += ["--config.operator.width=8"]
    argv += ["--config.operator.blocks=1", "--config.operator.dilations=1"]
    argv += ["--config.num_seeds=2", "--config.eval.save_predictions=true"]
    argv += ["--config.eval.protocol=p10", "--config.eval.context_frames=5"]
    assert fast_to_sota.main(argv) == 0
    assert "own.npz" in json.loads((tmp_path / "w/metadata.json").read_text())["data_origin"]
    ids = json.loads((tmp_path / "w/splits.json").read_text())["ids"]
    assert len(ids["test"]) == 6 and len({*ids["train"], *ids["val"], *ids["test"]}) == 60
    assert (tmp_path / "w" / "predictions.npz").exists()
    assert json.loads((tmp_path / "w/wandb_run.json").read_text())["mode"] == "disabled"
    shown = capsys.readouterr().out
    assert "operator, mean of 2 seeds" in shown and "operator, spread of 2 seeds" in shown
    found = summary(tmp_path / "w")
    assert "eval/physics/conservation_gap" in found
    assert not [key for key in found if "pde_residual" in key or "solver" in key]
    assert found["eval/operator/nrmse_seeds_std"] > 0
    # Parameters are selected by forecasts that begin where those of the protocol do.
    emulator, params, cfg = ups.load(tmp_path / "w")
    val = load_splits(cfg, emulator.pde).val
    errors = [validator(emulator, val, batch=6, start=start)(params) for start in (4, 0)]
    assert found["eval/val/nrmse"] == pytest.approx(errors[0], rel=1e-4) != errors[1]
    rows = [json.loads(line) for line in (tmp_path / "w/metrics.jsonl").read_text().splitlines()]
    better = rows[-1]["operator/val_nrmse"] - rows[-1]["operator/val_nrmse_std"] / 2**0.5
    assert better == pytest.approx(errors[0], rel=1e-4)
    # Shipped is one of two: as far from their mean as the other, s / sqrt(2).
    distance = abs(found["eval/operator/nrmse"] - found["eval/operator/nrmse_seeds_mean"])
    assert distance == pytest.approx(found["eval/operator/nrmse_seeds_std"] / 2**0.5, rel=1e-3)
    # As if stopped before its summary: stacked checkpoints are gone on with, to the same numbers.
    (tmp_path / "w" / "summary.json").unlink()
    assert fast_to_sota.main(argv) == 0
    again = summary(tmp_path / "w")
    for key, value in found.items():
        if not key.startswith(("wall/", "memory/")) and not key.endswith("ms"):
            assert again[key] == value, key
