import base64
import json
import os
import re
import sys
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest

from runners import dashboard as runner
from runs import ROOT, sh
from ups_jax import config, leaderboard
from ups_jax.experiment import artifacts, verdict
from ups_jax.jobs import dashboard
from ups_jax.report.figures import FIGURES
from ups_jax.stages import STAGES
from ups_jax.tracking import MemoryRun, Schema

PACKAGE = "wandb_workspaces"
VALIDATED = {
    "operator": "val_nrmse",
    "control": "val_nrmse",
    "diffusion": "val_loss",
    "student": "val_loss",
    "ensemble": "val_crps",
}
needs_package = pytest.mark.skipif(
    find_spec(PACKAGE) is None, reason="needs the extra: pip install 'ups_jax[dashboard]'"
)


@pytest.fixture(scope="module", autouse=True)
def imported():
    """The package declares validators as pydantic 1 did, which warns once, when it is imported."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Pydantic V1 style", DeprecationWarning)
        if find_spec(PACKAGE) is not None:
            dashboard._import_package()


@pytest.fixture(scope="module")
def made(tmp_path_factory, imported):
    """Spec of every stage, with a baseline."""
    out = tmp_path_factory.mktemp("spec") / "spec.json"
    argv = ["--project=P", "--entity=E", "--name=N", "--baseline=abc", f"--out={out}"]
    assert runner.main(argv) == 0
    return json.loads(out.read_text())


@pytest.fixture
def workdir(tmp_path):
    """The files of a folder whose run has started."""
    cfg = config.to_dict(config.load(str(ROOT / "configs" / "kuramoto.py")))
    cfg["stages"], cfg["log"]["project"] = ["operator", "control"], "configured"
    (tmp_path / "config.json").write_text(json.dumps(cfg))
    about = {"id": "abcd1234", "project": "storms", "entity": "team", "mode": "online"}
    (tmp_path / "wandb_run.json").write_text(json.dumps(about))
    return tmp_path


def sections(spec):
    found = spec["spec"]["section"]["panelBankConfig"]["sections"]
    return {section["name"]: section["panels"] for section in found}


def runset(spec):
    (found,) = spec["spec"]["section"]["runSets"]
    return found


def keys(panels):
    return [key for panel in panels for key in panel["config"].get("metrics", [])]


@pytest.fixture(scope="module")
def summary():
    """Summary keys of a finished run, of its gates and of its leaderboard."""
    recorded = json.loads((ROOT / "benchmarks" / "results" / "burgers.json").read_text())
    return set(recorded["summary"]) | set(ruled()[0].summary)


def ruled():
    """A run with a verdict, and the titles of its verdict tables."""
    row = {"id": "a", "board": "b", "metrics": {}, "gates": {"met": 0, "total": 0, "failed": []}}
    row["regressions"] = {"regressed": [], "improved": [], "baseline": None}
    before, claim = leaderboard.BoardState(None, ()), leaderboard.PromotionDecision(True, "first")
    found = verdict.RunVerdict(row, before, (), (), claim, leaderboard.Leaderboard([row]))
    run = MemoryRun(Schema(("operator",)))
    verdict.log_verdict(found, run)
    return run, {table.title for table in verdict.tables(found)}


@needs_package
def test_every_stage_has_its_curves_each_against_its_own_steps(made):
    assert set(VALIDATED) == set(STAGES)
    lines = sections(made)["Training"]
    assert {panel["viewType"] for panel in lines} == {"Run History Line Plot"}
    shown = {key: panel["config"]["xAxis"] for panel in lines for key in panel["config"]["metrics"]}
    expected = [
        f"{STAGES[stage].series}/{metric}"
        for stage, validated in VALIDATED.items()
        for metric in ("loss", validated, "lr", "grad_norm")
    ]
    assert list(shown) == expected
    assert shown == {key: f"{key.split('/')[0]}/step" for key in expected}


@needs_package
def test_losses_and_validation_are_on_logarithmic_axes(made):
    for panel in sections(made)["Training"]:
        (key,) = panel["config"]["metrics"]
        assert panel["config"]["yLogScale"] == (key.split("/")[1] in ("loss", *VALIDATED.values()))


@needs_package
def test_every_metric_is_one_that_runs_log(made, summary):
    series = set(Schema(tuple(stage.series for stage in STAGES.values())).axes())
    shown = sections(made)
    assert set(keys(shown["Training"])) <= series
    assert set(keys(shown["Verdict"]) + keys(shown["Physics"])) <= summary
    # Curves show only series, and the summary holds no series.
    assert not series & summary
    columns = runset(made)["runFeed"]["columnOrder"]
    assert {c.removeprefix("summary:") for c in columns if c.startswith("summary:")} <= summary


@needs_package
def test_the_verdict_is_shown_and_all_of_the_physics(made, summary):
    shown = sections(made)
    assert {
        "eval/nrmse",
        "eval/val/nrmse",
        "eval/physics/conservation_gap",
        "wall/total_s",
        "eval/gates/met",
        "eval/gates/failed",
        "eval/regression/worse",
    } == set(keys(shown["Verdict"]))
    physics = {key for key in summary if re.fullmatch(r"eval/physics/\w+", key)}
    # The share of samples with a floored scale is no property of a forecast.
    assert set(keys(shown["Physics"])) == physics - {"eval/physics/floored"}


@needs_package
def test_tables_pages_and_figures_have_the_names_that_runs_log(made):
    panels = sections(made)["Tables and media"]
    tables = {
        panel["config"]["panel2Config"]["exp"]["fromOp"]["inputs"]["key"]["val"]
        for panel in panels
        if panel["viewType"] == "Weave"
    }
    source = Path(artifacts.__file__).read_text()
    logged = set(re.findall(r'[tT]able\("([^"]+)"', source))
    assert tables == {"Evaluation Summary", "Stage Summary", "Gates", "Regressions", "Leaderboard"}
    assert tables <= logged | ruled()[1]
    media = {
        key
        for panel in panels
        if panel["viewType"] == "Media Browser"
        for key in panel["config"]["mediaKeys"]
    }
    pages = set(re.findall(r'log_html\("([^"]+)"', source))
    assert {key for key in media if "/" not in key} == pages
    assert {key for key in media if "/" in key} <= {f"figures/{name}" for name in FIGURES}


@needs_package
def test_runs_are_ordered_pinned_and_compared_with_the_baseline(made):
    found = runset(made)
    order = {"key": {"section": "summary", "name": "eval/nrmse"}, "ascending": True}
    assert found["sort"]["keys"] == [order]
    pinned = [column for column, on in found["runFeed"]["columnPinned"].items() if on]
    assert pinned[:3] == ["run:displayName", "summary:eval/nrmse", "summary:eval/val/nrmse"]
    own = [column for column in pinned if column.startswith("config:")]
    assert own == [f"config:{key}" for key in ("selected.value", "seed.value")] + [
        f"config:pde.value.{key}" for key in ("name", "nu")
    ]
    assert base64.b64decode(found["baselineRunId"]).decode() == "Run:v1:abc:P:E"
    assert found["pinnedRunIds"] == [found["baselineRunId"]]
    assert (made["entity"], made["project"], made["displayName"]) == ("E", "P", "N")


@needs_package
def test_a_workdir_gives_project_entity_and_stages(workdir, capsys):
    assert runner.main([f"--workdir={workdir}"]) == 0
    out, err = capsys.readouterr()
    spec = json.loads(out)
    assert (spec["entity"], spec["project"]) == ("team", "storms")
    assert len(err.splitlines()) == 1 and err.endswith("stages operator, control\n")
    shown = sections(spec)
    assert {key.split("/")[0] for key in keys(shown["Training"])} == {"operator", "control"}
    # Metrics of laws that the PDE lacks are absent.
    assert len(keys(shown["Physics"])) == 3
    assert "config:pde.value.nu" not in runset(spec)["runFeed"]["columnOrder"]
    assert "baselineRunId" not in runset(spec)


@needs_package
def test_flags_override_the_workdir(workdir, capsys):
    argv = [f"--workdir={workdir}", "--project=P", "--entity=E", "--stages=diffusion,operator"]
    assert runner.main(argv) == 0
    spec = json.loads(capsys.readouterr().out)
    assert (spec["entity"], spec["project"]) == ("E", "P")
    assert keys(sections(spec)["Training"])[::4] == ["diffusion/loss", "operator/loss"]


@needs_package
def test_the_project_comes_from_the_config(capsys):
    assert runner.main(["--stages=operator"]) == 0
    assert json.loads(capsys.readouterr().out)["project"] == "ups_jax"


@needs_package
def test_no_run_is_made(tmp_path, monkeypatch):
    import wandb

    def init(*args, **kwargs):
        raise AssertionError("a dashboard made a run")

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.chdir(tmp_path)
    assert runner.main(["--project=P", "--stages=operator", "--out=spec.json"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["spec.json"]


@needs_package
@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--stages=oprator"], "unknown stage 'oprator'; did you mean 'operator'?"),
        (["--stages=operator,"], "unknown stage ''"),
        (["--stagez=operator"], "unknown flag '--stagez'; did you mean '--stages'?"),
        (["--workdir=nowhere"], "nowhere holds no run: config.json is missing"),
        (["--baseline=abc"], "--baseline abc needs an entity; add --entity"),
        (["--baseline=a/b", "--entity=E"], "'entity/project/slug'"),
        ([f"--out={ROOT / 'README.md' / 'spec.json'}", "--stages=operator"], "README.md"),
    ],
)
def test_bad_input_is_an_error_in_two_lines(argv, message, capsys):
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(runner.main(argv))
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert message in err and len(err.splitlines()) <= 2 and not out


@needs_package
def test_saving_needs_a_key(tmp_path, monkeypatch, capsys):
    import wandb

    monkeypatch.chdir(tmp_path)
    try:
        assert runner.main(["--save", "--project=P", "--entity=E", "--out=spec.json"]) == 2
    finally:
        wandb.teardown()
    out, err = capsys.readouterr()
    assert err.startswith("error: --save needs a W&B key") and len(err.splitlines()) == 2
    assert not out and not any(tmp_path.iterdir())


def test_without_the_package_the_error_names_the_extra(monkeypatch, capsys):
    for name in (PACKAGE, f"{PACKAGE}.reports.v2", f"{PACKAGE}.workspaces"):
        monkeypatch.setitem(sys.modules, name, None)
    assert runner.main(["--project=P"]) == 2
    err = capsys.readouterr().err
    assert "pip install 'ups_jax[dashboard]'" in err and len(err.splitlines()) <= 2


@needs_package
def test_a_save_sends_the_spec_and_prints_its_page(server, tmp_path):
    url, queries = server
    env = os.environ | {"WANDB_BASE_URL": url, "WANDB_API_KEY": "0" * 40}
    argv = [sys.executable, str(ROOT / "runners" / "dashboard.py"), "--save"]
    done = sh([*argv, "--stages=operator", f"--out={tmp_path / 'spec.json'}"], env=env)
    assert done.returncode == 0, done.stderr
    (sent,) = [body["variables"] for body in queries if "upsertView" in body["query"]]
    # The entity is that of the account.
    assert (sent["entityName"], sent["projectName"]) == ("me", "ups_jax")
    page = sent["name"].removeprefix("nw-").removesuffix("-v")
    assert done.stdout == f"{url}/me/ups_jax?nw={page}\n"
    written = json.loads((tmp_path / "spec.json").read_text())
    assert json.loads(sent["spec"]) == written["spec"]
    assert not any("upsertBucket" in body["query"] for body in queries)


@pytest.fixture
def server():
    """The part of W&B's API that a save uses -> its URL, and every query that it receives."""
    queries = []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self):
            text = self.rfile.read(int(self.headers["Content-Length"]))
            data = {"viewer": {"id": "1", "entity": "me", "username": "me"}}
            if self.path == "/graphql":
                queries.append(json.loads(text))
                view = {"id": "2", "name": queries[-1].get("variables", {}).get("name")}
                data["upsertView"] = {"view": view, "inserted": True}
            answer = json.dumps({"data": data}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format, *args):
            pass

    served = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{served.server_port}", queries
    served.shutdown()
    served.server_close()
    thread.join()
