import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import wandb
from PIL import Image

from ups_jax.files import digest
from ups_jax.tracking import (
    SERIES,
    MemoryRun,
    RunRecord,
    Schema,
    WandBContext,
    check,
    reopen,
    start,
    wandb_sink,
)
from ups_jax.tracking.schema import number, plain
from ups_jax.tracking.sinks import FileSink, Position
from wandb_records import read, segments

SCHEMA = Schema(("operator", "diffusion"))
NAN = float("nan")
CFG = {
    "seed": 3,
    "fit": {"operator": {"lr": 1e-3, "unroll": (1, 2)}},
    "log": {"project": "laws", "entity": None, "name": None, "group": "night", "tags": ("smoke",)},
}


@pytest.fixture(scope="module", autouse=True)
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide the W&B account of the user."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith("WANDB_") or n == "NETRC"]:
            patch.delenv(name)
        patch.setenv("HOME", str(home))
        patch.setenv("WANDB_CONFIG_DIR", str(home / "config"))
        yield


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Record one offline run with every method and read its .wandb file."""
    workdir = tmp_path_factory.mktemp("runs") / "burgers"
    workdir.mkdir()
    Image.new("RGB", (2, 2)).save(workdir / "field.png")
    (workdir / "report.html").write_text("<p>shock</p>")
    with start(CFG, workdir, schema=SCHEMA, mode="offline") as run:
        run.log_training_metrics("operator", {"loss": 0.5, "lr": NAN}, 50)
        run.log_training_metric("operator", "val_nrmse", 0.25, 100)
        run.log_training_metric("diffusion", "loss", 2.0, 50)
        run.commit()
        run.log_training_metric("operator", "loss", 0.125, 150)
        run.log_eval_summary({"nrmse": 0.1 + 0.2, "operator/nrmse@0.5": NAN, "count": 7})
        run.log_eval_summary({"wall/train_s": 1.5, "params/operator": 123}, prefix="")
        run.log_table("Evaluation Summary", ["mode", "nrmse"], [["mean", 0.5], ["operator", NAN]])
        run.log_table("Gates", ["gate", "value"], [["nrmse", 0.5], ["finite", "yes"]])
        run.log_figure("field", workdir / "field.png")
        run.log_html("report", workdir / "report.html")
        run.log_model("night run", {"pages/report.html": workdir / "report.html"})
        run.update_config({"eval_samples": 1000, "git_sha": "abc"})
        run.alert("diverged", "loss is nan", level="ERROR")
        run.add_tags(["golden", "smoke"])
        run.mark_preempting()
        run.write_summary()
    (file,) = segments(workdir)
    return SimpleNamespace(run=run, workdir=workdir, file=file, stored=read(file))


def load(path: Path):
    return json.loads(path.read_text())


def lines(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_run_record_carries_identity_and_whole_config(recorded):
    stored = recorded.stored
    assert stored.ids[0] == recorded.run.id == (recorded.workdir / "run_id.txt").read_text().strip()
    assert (stored.run.project, stored.run.run_group) == ("laws", "night")
    assert stored.run.display_name == "burgers"
    assert list(stored.run.tags) == ["smoke"] and stored.tags == ["smoke", "golden"]
    assert stored.config == {**plain(CFG), "eval_samples": 1000, "git_sha": "abc"}
    assert stored.run.resume and stored.exit_codes == [0] and stored.preempting == 1
    assert load(recorded.workdir / "wandb_run.json") == {
        "id": recorded.run.id,
        "url": None,
        "project": "laws",
        "entity": None,
        "mode": "offline",
    }


def test_committed_rows_are_the_history_and_every_row_is_on_disk(recorded):
    series = [row for row in recorded.stored.history if any("/step" in key for key in row)]
    assert series == [
        {"operator/step": 50, "operator/loss": 0.5, "operator/lr": None},
        {"operator/step": 100, "operator/val_nrmse": 0.25},
        {"diffusion/step": 50, "diffusion/loss": 2.0},
    ]
    rows = lines(recorded.workdir)
    assert rows[0] == {"stage": "operator", "step": 50, **series[0]}
    assert [(row["stage"], row["step"]) for row in rows] == [
        ("operator", 50),
        ("operator", 100),
        ("diffusion", 50),
        ("operator", 150),
    ]


def test_series_are_defined_against_their_stage(recorded):
    definitions = recorded.stored.definitions
    assert set(definitions) == SCHEMA.keys()
    for stage in SCHEMA.stages:
        for metric in SERIES:
            assert definitions[f"{stage}/{metric}"].step_metric == f"{stage}/step"
    assert all(definition.summary.none for definition in definitions.values())


def test_summary_json_is_the_wandb_summary_and_series_leave_no_entry(recorded):
    local = load(recorded.workdir / "summary.json")
    assert local == {
        "eval/count": 7,
        "eval/nrmse": 0.1 + 0.2,
        "eval/operator/nrmse@0.5": None,
        "params/operator": 123,
        "wall/train_s": 1.5,
    }
    assert list(local) == sorted(local)
    # W&B adds an entry for each table and figure, and none for a series.
    shown = {"Evaluation Summary", "Gates", "figures/field", "report"}
    assert set(recorded.stored.summary) == {*local, *shown}
    assert {key: recorded.stored.summary[key] for key in local} == local


def test_tables_and_media_are_logged_once(recorded):
    kinds = {
        key: value["_type"]
        for row in recorded.stored.history
        for key, value in row.items()
        if isinstance(value, dict)
    }
    assert kinds == {
        "Evaluation Summary": "table-file",
        "Gates": "table-file",
        "figures/field": "image-file",
        "report": "html-file",
    }
    files = recorded.file.parent / "files"
    table = load(next(files.glob("media/table/Evaluation*.json")))
    assert table["columns"] == ["mode", "nrmse"]
    assert table["data"] == [["mean", 0.5], ["operator", None]]
    assert next(files.glob("media/html/*.html")).read_text() == "<p>shock</p>"
    assert load(recorded.workdir / "tables/evaluation-summary.json") == {
        "name": "Evaluation Summary",
        "columns": ["mode", "nrmse"],
        "rows": [["mean", 0.5], ["operator", None]],
    }
    assert list((recorded.workdir / "wandb_data").rglob("staging/*"))


def test_the_model_is_an_artifact_whose_files_are_staged_in_the_workdir(recorded):
    (artifact,) = [a for a in recorded.stored.artifacts if a.type == "model"]
    assert artifact.name == "night-run"
    (entry,) = artifact.manifest.contents
    assert entry.path == "pages/report.html"
    staged = Path(entry.local_path)
    assert staged.is_relative_to(recorded.workdir) and staged.read_text() == "<p>shock</p>"
    with pytest.raises(FileNotFoundError, match="model a: no file gone"):
        MemoryRun(SCHEMA).log_model("a", {"x": Path("gone")})


def test_metadata_has_a_local_copy_and_alerts_stand_in_both_records(recorded):
    assert load(recorded.workdir / "metadata.json") == {"eval_samples": 1000, "git_sha": "abc"}
    assert load(recorded.workdir / "alerts.json") == [
        {"level": "ERROR", "title": "diverged", "text": "loss is nan"}
    ]
    (alert,) = recorded.stored.alerts
    assert (alert.title, alert.text, alert.level) == ("diverged", "loss is nan", "ERROR")


@pytest.fixture(params=["disabled", "memory"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunRecord]:
    if request.param == "memory":
        yield MemoryRun(SCHEMA)
        return
    with start(CFG, tmp_path / "run", schema=SCHEMA, mode="disabled") as context:
        yield context


@pytest.mark.parametrize(
    "stage, metric, message",
    [
        ("operatr", "loss", "did you mean 'operator'"),
        ("operator", "los", "did you mean 'loss'"),
        ("operator", "step", "unknown series 'step'"),
        ("eval", "nrmse", "log_eval_summary"),
        ("eval/operator", "loss", "log_eval_summary"),
        ("operator", "eval/nrmse", "log_eval_summary"),
    ],
)
def test_unknown_series_raise_and_leave_no_row(run, stage, metric, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        run.log_training_metric(stage, metric, 1.0, 1)
    assert run.offset() == 0


@pytest.mark.parametrize("name", ["eval", "step", "a/b", ""])
def test_schema_refuses_names_that_would_break_the_keys(name):
    with pytest.raises(ValueError, match="cannot name"):
        Schema((name,))
    with pytest.raises(ValueError, match="cannot name"):
        Schema(("operator",), metrics=(name,))


def test_steps_of_a_stage_increase_strictly(run):
    run.log_training_metric("operator", "loss", 1.0, 0)
    run.log_training_metric("operator", "loss", 1.0, 10)
    for step in (10, 9):
        with pytest.raises(ValueError, match=f"operator: step {step} after step 10"):
            run.log_training_metric("operator", "lr", 1.0, step)
    run.log_training_metric("diffusion", "loss", 1.0, 1)
    run.log_training_metric("operator", "loss", 1.0, 11)


def test_a_name_has_one_meaning(run):
    with pytest.raises(ValueError, match="'operator/loss' is a series"):
        run.log_eval_summary({"operator/loss": 1.0}, prefix="")
    with pytest.raises(ValueError, match="'operator/step' is a series"):
        run.update_config({"operator/step": 1})
    with pytest.raises(ValueError, match="log_eval_summary"):
        run.update_config({"eval/nrmse": 1.0})
    with pytest.raises(ValueError, match="carries its prefix"):
        run.log_eval_summary({"eval/nrmse": 1.0})
    with pytest.raises(ValueError, match="expected a number"):
        run.log_eval_summary({"nrmse": "0.1"})
    assert run.summary == {}
    run.log_table("Gates", ["gate"], [["nrmse"]])
    with pytest.raises(ValueError, match="logged already"):
        run.log_table("Gates", ["gate"], [["nrmse"]])
    with pytest.raises(ValueError, match="does not fit"):
        run.log_table("Leaderboard", ["a", "b"], [[1]])
    with pytest.raises(ValueError, match="unknown level 'WARNING'; did you mean 'WARN'"):
        run.alert("title", "text", level="WARNING")
    with pytest.raises(FileNotFoundError, match="figures/field"):
        run.log_figure("field", "nowhere.png")


def test_numbers_are_json():
    np = pytest.importorskip("numpy")
    assert [number(x, "x") for x in (NAN, float("inf"), None, 2)] == [None, None, None, 2]
    assert number(np.float32(0.5), "x") == 0.5 and type(number(np.int64(3), "x")) is int
    assert plain({"a": (np.float32(NAN), Path("b"))}) == {"a": [None, "b"]}


def test_a_record_in_memory_equals_the_files(recorded):
    assert isinstance(recorded.run, WandBContext) and not MemoryRun(SCHEMA).sinks
    run = MemoryRun(SCHEMA)
    for row in lines(recorded.workdir):
        series = {k.split("/")[1]: v for k, v in row.items() if "/" in k and "/step" not in k}
        run.log_training_metrics(row["stage"], series, row["step"])
    assert run.rows == run.pending == lines(recorded.workdir)
    assert run.offset() == (recorded.workdir / "metrics.jsonl").stat().st_size
    run.commit()
    assert run.pending == [] and run.rows == recorded.run.rows
    assert set(recorded.run.tables) == {"Evaluation Summary", "Gates"}


def test_a_sink_receives_the_events_it_has_methods_for():
    class Sink:
        def __init__(self) -> None:
            self.events: list = []

        def row(self, line: bytes) -> None:
            self.events.append(("row", json.loads(line)["operator/loss"]))

        def commit(self, rows: list) -> None:
            self.events.append(("commit", len(rows)))

        def rewind(self, offset: int) -> None:
            self.events.append(("rewind", offset))

        def summary(self, entries: dict) -> None:
            self.events.append(("summary", list(entries.items())))

        def alert(self, alert: dict) -> None:
            self.events.append(("alert", alert["title"]))

        def finish(self, exit_code: int) -> None:
            self.events.append(("finish", exit_code))

    sink = Sink()
    with RunRecord(SCHEMA, [sink]) as run:
        run.log_training_metric("operator", "loss", 1.0, 1)
        run.commit()
        run.log_eval_summary({"b": NAN, "a": 1.0})
        run.alert("slow", "text")
        run.alert("slow", "text")
        run.write_summary()
        run.exit_code = 3
    assert sink.events == [
        ("row", 1.0),
        ("commit", 1),
        ("alert", "slow"),
        ("summary", [("eval/a", 1.0), ("eval/b", None)]),
        ("finish", 3),
    ]


def test_disabled_imports_no_wandb_and_writes_every_local_file(tmp_path):
    code = f"""
import sys
from ups_jax.tracking import Schema, start, reopen
schema = Schema(("operator",))
with start({CFG!r}, {str(tmp_path / "run")!r}, schema=schema, mode="disabled") as run:
    run.log_training_metric("operator", "loss", 1.0, 1)
    run.commit()
    run.log_eval_summary({{"nrmse": 1.0}})
    run.log_table("Gates", ["gate"], [["nrmse"]])
    run.log_html("report", {__file__!r})
    run.log_figure("field", {__file__!r})
    run.update_config({{"eval_samples": 1}})
    run.alert("title", "text")
    run.add_tags(["a"])
    run.mark_preempting()
    run.write_summary()
with reopen({str(tmp_path / "run")!r}, schema=schema) as run:
    run.log_eval_summary({{"nrmse": 1.0}})
print([name for name in sys.modules if name.split(".")[0] == "wandb"])
"""
    env = {**os.environ, "WANDB_API_KEY": "a" * 40}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True
    )
    assert done.stdout == "[]\n" and done.stderr == "WARN: title: text\n"
    names = {str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").rglob("*.*")}
    assert names == {
        "alerts.json",
        "metadata.json",
        "metrics.jsonl",
        "run_id.txt",
        "summary.json",
        "tables/gates.json",
        "wandb_run.json",
    }
    about = load(tmp_path / "run/wandb_run.json")
    assert about["mode"] == "disabled"
    assert about["id"] == (tmp_path / "run/run_id.txt").read_text().strip()


@pytest.mark.parametrize(
    "error, chosen, code",
    [
        (FloatingPointError("nan"), 4, 4),
        (FloatingPointError("nan"), None, 1),
        (SystemExit(143), None, 143),
        (KeyboardInterrupt(), None, 130),
        (None, None, 0),
    ],
)
def test_one_init_one_finish_and_the_exit_code(tmp_path, monkeypatch, error, chosen, code):
    calls = []
    init, finish = wandb.init, wandb.Run.finish
    monkeypatch.setattr(wandb, "init", lambda **kw: calls.append("init") or init(**kw))
    monkeypatch.setattr(
        wandb.Run, "finish", lambda *a, **kw: calls.append("finish") or finish(*a, **kw)
    )
    try:
        with start(CFG, tmp_path, schema=SCHEMA, mode="offline") as run:
            run.exit_code = chosen
            if error is not None:
                raise error
    except BaseException as raised:
        assert raised is error
    run.finish()
    assert calls == ["init", "finish"]
    (file,) = segments(tmp_path)
    assert read(file).exit_codes == [code] and run.exit_code == code


def test_a_run_that_fails_to_begin_is_finished(tmp_path, monkeypatch):
    def full(path: Path, value: object) -> None:
        raise OSError(f"no space left for {path.name}")

    (tmp_path / "alerts.json").write_text("[]")
    monkeypatch.setattr("ups_jax.tracking.write_json", full)
    with pytest.raises(OSError, match="wandb_run.json"):
        start(CFG, tmp_path, schema=SCHEMA, mode="offline")
    assert wandb.run is None and read(segments(tmp_path)[0]).exit_codes == [1]


def test_a_killed_run_resumes_under_its_id(tmp_path):
    with start(CFG, tmp_path, schema=SCHEMA, mode="offline") as run:
        run.log_training_metric("operator", "loss", 3.0, 1)
        run.update_config({"data_hash": "d1"})
        run.alert("first", "text")
        saved = Position(run.offset(), run.digest(), {"operator": 1})
        run.commit()
        run.log_training_metric("operator", "loss", 2.0, 2)  # never committed: as if killed
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "oper')
    cfg = {**CFG, "seed": 4}
    with start(cfg, tmp_path, schema=SCHEMA, mode="offline", resume=saved) as run:
        assert run.offset() == saved.offset
        with pytest.raises(ValueError, match="after step 1"):
            run.log_training_metric("operator", "loss", 9.0, 1)
        run.log_training_metric("operator", "loss", 2.5, 2)
        run.commit()
        run.commit()
        run.commit()  # nothing twice
        run.update_config({"git_sha": "abc"})
        run.alert("second", "text")
        run.log_eval_summary({"nrmse": 0.5})
        run.write_summary()
    assert load(tmp_path / "metadata.json") == {"data_hash": "d1", "git_sha": "abc"}
    assert [alert["title"] for alert in load(tmp_path / "alerts.json")] == ["first", "second"]
    series = (tmp_path / "metrics.jsonl").read_bytes()
    about = (tmp_path / "wandb_run.json").read_bytes()
    for value in (0.25, 0.125):
        with reopen(tmp_path, schema=SCHEMA, mode="offline") as run:
            run.log_eval_summary({"nrmse@1024": value})
            run.log_table("Evaluation Summary", ["mode"], [["operator"]])
    assert [row["operator/loss"] for row in lines(tmp_path)] == [3.0, 2.5]
    assert (tmp_path / "metrics.jsonl").read_bytes() == series
    assert (tmp_path / "wandb_run.json").read_bytes() == about
    assert load(tmp_path / "summary.json") == {"eval/nrmse": 0.5}
    stored = [read(file) for file in segments(tmp_path)]
    assert len(stored) == 4
    assert {i for s in stored for i in s.ids} == {(tmp_path / "run_id.txt").read_text().strip()}
    assert [row for s in stored for row in s.history if "operator/step" in row] == [
        {"operator/step": 1, "operator/loss": 3.0},
        {"operator/step": 2, "operator/loss": 2.5},
    ]
    assert stored[1].config["seed"] == 4 and "seed" not in stored[2].config
    # A config given to init would replace the stored one, metadata included.
    assert "seed" not in {item.key for item in stored[1].run.config.update}
    assert stored[3].summary["eval/nrmse@1024"] == 0.125


ROWS = [b'{"stage": "operator", "step": %d, "operator/step": %d}\n' % (i, i) for i in (1, 2, 3)]
DAMAGE = {
    "short": (b"".join(ROWS[:1]), [1]),
    "missing": (None, []),
    "one row unreadable": (ROWS[0] + b"\x00\xff\n" + ROWS[2], [1, 3]),
    "another type": (ROWS[0] + b"[]\n" + ROWS[2], [1, 3]),
    "a digit": (ROWS[0] + ROWS[1].replace(b'p": 2', b'p": 7', 1) + ROWS[2], [1, 3]),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_series_is_set_aside_and_its_rows_are_kept(case, tmp_path, capsys):
    content, kept = DAMAGE[case]
    saved = Position(sum(map(len, ROWS)), digest(b"".join(ROWS)), {"operator": 3})
    file = tmp_path / "metrics.jsonl"
    if content is not None:
        file.write_bytes(content)
    with start(CFG, tmp_path, schema=SCHEMA, mode="disabled", resume=saved) as run:
        run.log_training_metric("operator", "loss", 1.0, 4)
    assert [row["step"] for row in lines(tmp_path)] == [*kept, 4]
    (told,) = capsys.readouterr().err.splitlines()
    assert str(file) in told and f"{len(kept)} of its rows" in told
    aside = tmp_path / "metrics.jsonl.damaged"
    assert content is None or aside.read_bytes() == content


def test_a_stage_that_resumes_earlier_drops_its_later_rows_alone(tmp_path, capsys):
    other = b'{"stage": "diffusion", "step": 5}\n'
    content = b"".join([*ROWS, other])
    (tmp_path / "metrics.jsonl").write_bytes(content)
    saved = Position(len(content), digest(content), {"operator": 2, "diffusion": 5})
    with start(CFG, tmp_path, schema=SCHEMA, mode="disabled", resume=saved):
        assert (tmp_path / "metrics.jsonl").read_bytes() == b"".join([*ROWS[:2], other])
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "known"),
    [
        ("run_id.txt", b"", True),
        ("run_id.txt", b"\xff\xfe", True),
        ("run_id.txt", b"a/../b", True),
        ("run_id.txt", b"abcd1235", False),
        ("wandb_run.json", b"[1]", True),
        ("wandb_run.json", b'{"id": 7}', True),
    ],
)
def test_the_id_of_a_run_stands_in_two_files(name, content, known, tmp_path):
    (tmp_path / "run_id.txt").write_text("abcd1234\n")
    (tmp_path / "wandb_run.json").write_text('{"id": "abcd1234"}')
    (tmp_path / name).write_bytes(content)
    if known:
        with start(CFG, tmp_path, schema=SCHEMA, mode="disabled") as run:
            assert run.id == "abcd1234"
        assert (tmp_path / "run_id.txt").read_text() == "abcd1234\n"
        return
    with pytest.raises(ValueError, match="name two runs"):
        start(CFG, tmp_path, schema=SCHEMA, mode="disabled")


def test_reopen_needs_a_run(tmp_path):
    with pytest.raises(ValueError, match="run_id.txt is missing"):
        reopen(tmp_path, schema=SCHEMA)


def test_a_torn_line_is_cut_before_the_next_row(tmp_path):
    whole = b'{"stage": "operator", "step": 1}\n'
    (tmp_path / "metrics.jsonl").write_bytes(whole + b'{"a": ')
    files = FileSink(tmp_path)
    assert files.lines() == [whole]
    files.row(whole.replace(b"1", b"2"))
    # Read before closing: a row is on disk at once.
    assert (tmp_path / "metrics.jsonl").read_bytes() == whole + whole.replace(b"1", b"2")
    files.finish(0)


def test_sent_rows_reach_the_disk_before_the_run_ends_and_stdout_stays_clean(tmp_path, capfd):
    with start(CFG, tmp_path, schema=SCHEMA, mode="offline") as run:
        assert os.environ["WANDB_DATA_DIR"] == str(tmp_path / "wandb_data")
        run.log_training_metric("operator", "loss", 3.0, 1)
        run.commit()
        (file,) = segments(tmp_path)
        deadline = time.monotonic() + 5
        while not read(file).history and time.monotonic() < deadline:
            time.sleep(0.2)
        assert read(file).history == [{"operator/step": 1, "operator/loss": 3.0}]
        run.log_table("Gates", ["gate"], [["nrmse"]])
    assert "WANDB_DATA_DIR" not in os.environ
    assert capfd.readouterr() == ("", "")


def test_one_process_holds_one_run(tmp_path):
    with start(CFG, tmp_path / "a", schema=SCHEMA, mode="offline"):
        with pytest.raises(RuntimeError, match="is open in this process"):
            start(CFG, tmp_path / "b", schema=SCHEMA, mode="offline")
    assert len(segments(tmp_path / "a")) == 1 and segments(tmp_path / "b") == []


KEY = f"machine api.wandb.ai login user password {'a' * 5}"


@pytest.mark.parametrize(
    "flag, env, mode, message",
    [
        (None, {}, "offline", "W&B: no API key"),
        ("online", {}, "offline", "W&B: no API key"),
        ("offline", {"WANDB_API_KEY": "short"}, "offline", ""),
        (None, {"WANDB_MODE": "offline"}, "offline", ""),
        (None, {"WANDB_MODE": "dryrun"}, "offline", ""),
        (None, {"WANDB_MODE": "disabled"}, "disabled", ""),
        ("disabled", {"WANDB_MODE": "online"}, "disabled", ""),
        # W&B refuses a short key without a network call.
        (None, {"WANDB_API_KEY": "short"}, "offline", "W&B: WANDB_API_KEY invalid"),
        (None, {"NETRC": KEY}, "offline", "W&B: API key must have"),
    ],
)
def test_mode_is_the_flag_then_the_environment_then_the_key(
    tmp_path, monkeypatch, capfd, flag, env, mode, message
):
    if "NETRC" in env:
        (tmp_path / "netrc").write_text(env["NETRC"])
        env = {"NETRC": str(tmp_path / "netrc")}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    workdir = tmp_path / "run"
    with start(CFG, workdir, schema=SCHEMA, mode=flag) as run:
        pass
    assert run.mode == load(workdir / "wandb_run.json")["mode"] == mode
    assert [i for f in segments(workdir) for i in read(f).ids] == [run.id] * (mode == "offline")
    out, err = capfd.readouterr()
    assert out == "" and err.startswith(message)
    assert len(err.splitlines()) == bool(message) and ("wandb sync" in err) == bool(message)


def test_a_server_that_cannot_be_reached_costs_one_line_and_keeps_the_id(
    tmp_path, monkeypatch, capfd
):
    attempts, init = [], wandb.init

    def refuse_online(**kw):
        attempts.append((kw["settings"].mode, kw["id"]))
        if kw["settings"].mode == "online":
            raise wandb.errors.CommError("connection\nrefused")
        return init(**kw)

    monkeypatch.setattr(wandb, "init", refuse_online)
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    with start(CFG, tmp_path, schema=SCHEMA) as run:
        pass
    assert attempts == [("online", run.id), ("offline", run.id)]
    assert run.mode == load(tmp_path / "wandb_run.json")["mode"] == "offline"
    out, err = capfd.readouterr()
    assert out == "" and err.startswith("W&B: connection refused; this run is offline")
    assert len(err.splitlines()) == 1


def test_unknown_mode_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="did you mean 'online'"):
        start(CFG, tmp_path / "run", schema=SCHEMA, mode="onlin")
    monkeypatch.setenv("WANDB_MODE", "shared")
    with pytest.raises(ValueError, match="unknown wandb mode 'shared'"):
        start(CFG, tmp_path / "run", schema=SCHEMA)
    assert not (tmp_path / "run").exists()


def test_a_service_that_does_not_start_leaves_the_local_files(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("wandb.sdk.lib.service.service_process.get_core_path", lambda: "/nowhere")
    with start(CFG, tmp_path, schema=SCHEMA, mode="offline") as run:
        record_all(run, tmp_path)
    assert run.mode == load(tmp_path / "wandb_run.json")["mode"] == "disabled"
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("W&B: ") and line.endswith("; this run has local files only")


REMEDY = "this run continues with its local files, upload the rest later with `wandb sync "


def service() -> subprocess.Popen:
    """Return this process's W&B service."""
    return wandb.setup()._connection._proc._process


def wait_for(process: subprocess.Popen) -> None:
    """Wait for a service, and for the calls that were given up."""
    process.wait(60)
    for thread in threading.enumerate():
        if thread.name == "W&B call":
            thread.join(60)


def record_all(run: RunRecord, workdir: Path) -> None:
    run.log_training_metric("operator", "loss", 1.0, 1)
    run.commit()
    run.log_table("Gates", ["gate"], [["nrmse"]])
    run.log_eval_summary({"nrmse": 1.0})
    run.add_tags(["late"])
    run.finish(0)
    run.write_summary()
    assert load(workdir / "summary.json") == {"eval/nrmse": 1.0} and len(lines(workdir)) == 1
    assert run.exit_code == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stuck"])
def test_a_lost_service_costs_one_line_and_no_file(tmp_path, monkeypatch, capfd, number):
    workdir = tmp_path / "a run"
    with start(CFG, workdir, schema=SCHEMA, mode="offline") as run:
        process = service()
        process.send_signal(number)
        if number == signal.SIGSTOP:
            os.waitpid(process.pid, os.WUNTRACED)  # until it has stopped
        for name in ("CALL_S", "FINISH_S", "CLOSE_S"):
            monkeypatch.setattr(wandb_sink, name, 1.0)
        record_all(run, workdir)
    out, err = capfd.readouterr()
    process.send_signal(signal.SIGCONT)
    wait_for(process)
    (line,) = err.splitlines()
    assert out == "" and line.startswith("W&B has failed (")
    assert REMEDY in line and line.endswith(f"'{workdir}/wandb'/*run-*`")
    assert wandb.run is None


class Server(BaseHTTPRequestHandler):
    """A W&B server that opens runs, and answers every other question in a way unknown to W&B."""

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["content-length"]))
        question = json.loads(content) if self.path == "/graphql" else {}
        values, data = question.get("variables") or {}, {}
        if question.get("operationName") == "UpsertBucket":
            project = {"name": values["project"], "entity": {"name": "me"}}
            bucket = {"id": "b", "name": values["name"], "historyLineCount": 0, "project": project}
            data = {"upsertBucket": {"bucket": bucket, "inserted": True}}
        elif question.get("operationName") == "CreateRunFiles":
            files = [{"name": n, "uploadUrl": f"{self.server.url}/file"} for n in values["files"]]
            data = {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
        elif self.path == "/graphql":
            data = {"viewer": {"id": "u", "entity": "me", "username": "me", "flags": "{}"}}
        self.answer(json.dumps({"data": data}).encode())

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.answer(b"{}")

    def answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""


def test_an_unexpected_answer_of_the_server_costs_one_line(tmp_path, monkeypatch, capfd):
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        server.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        key = "0123456789" * 4
        monkeypatch.setenv("WANDB_API_KEY", key)
        with start(CFG, tmp_path, schema=SCHEMA) as run:
            process = service()
            record_all(run, tmp_path)
        wait_for(process)
        server.shutdown()
    url = f"{server.url}/me/laws/runs/{run.id}"
    about = {"id": run.id, "url": url, "project": "laws", "entity": "me", "mode": "online"}
    assert load(tmp_path / "wandb_run.json") == about
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files and not [path for path in files if key.encode() in path.read_bytes()]
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("W&B has failed (") and REMEDY in line


@pytest.mark.parametrize("sweep", [{}, {"WANDB_SWEEP_ID": "sweep1", "WANDB_PROJECT": "theirs"}])
def test_an_agent_of_wandb_gives_the_run_its_id(tmp_path, monkeypatch, sweep):
    for name, value in {"WANDB_RUN_ID": "agent1", **sweep}.items():
        monkeypatch.setenv(name, value)
    check(tmp_path, CFG["log"])
    with start(CFG, tmp_path, schema=SCHEMA, mode="offline") as run:
        pass
    assert run.id == load(tmp_path / "wandb_run.json")["id"] == "agent1"
    (stored,) = (read(file) for file in segments(tmp_path))
    assert stored.ids == ["agent1"] and stored.run.project == sweep.get("WANDB_PROJECT", "laws")
    check(tmp_path, CFG["log"])
    with pytest.raises(ValueError, match="agent1, which --restart replaces"):
        check(tmp_path, CFG["log"], restart=True)
    monkeypatch.setenv("WANDB_RUN_ID", "agent2")
    for log in (CFG["log"], None):
        with pytest.raises(ValueError, match=f"is agent2, and {tmp_path} holds run agent1"):
            check(tmp_path, log)
    check(tmp_path, CFG["log"], mode="disabled")
    if sweep:
        monkeypatch.delenv("WANDB_RUN_ID")
        with pytest.raises(ValueError, match="WANDB_SWEEP_ID is set without"):
            check(tmp_path, CFG["log"])


@pytest.mark.parametrize(
    "log, env, message",
    [
        ({"project": "a/b"}, {}, "log.project: Invalid project name 'a/b'"),
        ({"project": "a" * 200}, {}, "exceeded 128 characters"),
        ({"tags": ("a" * 70,)}, {}, "log.tags: .*70 characters"),
        ({"tags": ("",)}, {}, "log.tags: .*is empty"),
        ({}, {"WANDB_MODE": "foo"}, "unknown wandb mode 'foo'"),
        ({}, {"WANDB_MODE": ""}, r"\$WANDB_MODE: "),
        ({}, {"WANDB_BASE_URL": "nonsense"}, r"\$WANDB_BASE_URL: Input should be a valid URL"),
        ({}, {"WANDB_BASE_URL": "https://wandb.ai"}, "not a valid server address"),
        ({}, {"WANDB_API_KEY": " "}, r"\$WANDB_API_KEY: API key cannot start or end with"),
        ({}, {"WANDB_RUN_ID": "a/b"}, r"\$WANDB_RUN_ID: Run ID cannot contain"),
        ({}, {"WANDB_RUN_ID": "a.b"}, "use letters, digits"),
        ({}, {"WANDB_RESUME_FROM": "a?_step=1"}, r"\$WANDB_FORK_FROM|\$WANDB_RESUME_FROM"),
        ({}, {"WANDB_INIT_TIMEOUT": "soon"}, r"\$WANDB_INIT_TIMEOUT: "),
        ({}, {"WANDB_SILENT": "perhaps"}, r"\$WANDB_SILENT: "),
    ],
)
def test_what_wandb_refuses_is_refused_before_anything_is_spent(
    tmp_path, monkeypatch, log, env, message
):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message) as refusal:
        check(tmp_path / "run", {**CFG["log"], **log})
    assert len(str(refusal.value).splitlines()) == 1 and not (tmp_path / "run").exists()


def test_a_missing_wandb_is_refused_unless_it_is_disabled(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match="use --wandb_mode disabled"):
        check(tmp_path, CFG["log"])
    check(tmp_path, CFG["log"], mode="disabled")
