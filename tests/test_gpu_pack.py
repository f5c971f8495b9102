"""The GPU pack: resumption within a budget, peaks, traces, findings, small measurements."""

import json
import time

import pytest

import ups_jax as ups
from benchmarks import record
from benchmarks.__main__ import main
from benchmarks.gpu import correctness, joint, kernels, runs, updates
from benchmarks.gpu.findings import findings
from benchmarks.gpu.machine import published_peak
from benchmarks.gpu.pack import (
    NO_TIME,
    OtherResults,
    Pack,
    Setting,
    Skipped,
    met,
    row,
    text,
)
from ups_jax.models import DENOISERS, OPERATORS


def fail():
    raise ZeroDivisionError("first line\nsecond line")


def skip():
    raise Skipped("it needs 60 s")


def test_a_pack_resumes_with_what_is_missing(tmp_path, capfd):
    path, runs = tmp_path / "gpu.json", []

    def work():
        runs.append(1)
        return [row("speed", 2.0, "ms", max=3.0)]

    tasks = {"fails": fail, "works": work, "skips": skip}
    pack = Pack(path, Setting(small=True), git_sha="abc")
    pack.perform("part", tasks)
    assert "ZeroDivisionError" in capfd.readouterr().err
    saved = json.loads(path.read_text())
    assert saved["rows"] == [
        {"part": "part", "task": "works", "metric": "speed", "value": 2.0, "unit": "ms", "max": 3.0}
    ]
    assert saved["parts"]["part"]["done"] == ["works"]
    assert saved["parts"]["part"]["missing"] == {
        "fails": "failed, ZeroDivisionError: first line", "skips": "skipped, it needs 60 s",
    }  # fmt: skip
    assert {"command", "date", "device", "git_sha", "versions"} <= set(saved)

    again = Pack(path, Setting(small=True))
    assert again.missing("part", tasks) == ["fails", "skips"]
    again.perform("part", tasks | {"fails": work})
    assert len(runs) == 2 and again.missing("part", tasks) == ["skips"]
    assert len(json.loads(path.read_text())["rows"]) == 2

    with pytest.raises(OtherResults, match="at small sizes; this is"):
        Pack(path, Setting(small=False))


def test_results_of_another_device_are_never_overwritten(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    card = {"device": "NVIDIA H100 80GB HBM3", "small": False, "done": ["device"]}
    rows = [{"part": "device", "task": "device", **row("rate", 1.0, "1")}]
    saved = json.dumps({"parts": {"device": card}, "rows": rows})
    (tmp_path / "gpu.json").write_text(saved)
    argv = ["gpu", "--minutes", "0", "--parts", "device"]
    with pytest.raises(SystemExit) as ended:
        main([*argv, "--out", str(tmp_path / "gpu.json")])
    assert ended.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and "NVIDIA H100" in lines[0] and "--out" in lines[1]
    assert main(argv) == 0
    assert (tmp_path / "gpu.json").read_text() == saved and (tmp_path / "gpu_cpu.json").exists()


def test_a_write_is_whole_and_a_damaged_file_is_moved_aside(tmp_path, capsys, monkeypatch):
    path = tmp_path / "gpu.json"
    path.write_text('{"rows": [')
    pack = Pack(path, Setting(small=True))
    assert "gpu.json is damaged" in capsys.readouterr().err and not pack.parts
    assert (tmp_path / "gpu.json.damaged").read_text() == '{"rows": ['
    pack.save()
    before = path.read_text()

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(record.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        pack.save()
    assert path.read_text() == before


def test_tasks_without_time_are_named():
    setting = Setting(small=True, ends=time.monotonic())
    pack = Pack(None, setting)
    pack.perform("part", {"works": lambda: [row("speed", 2.0, "ms")]})
    assert pack.parts["part"]["missing"] == {"works": NO_TIME} and not setting.rows


def test_targets():
    assert met(row("a", 1.0, "s")) is None
    assert met(row("a", 1.0, "s", max=1.0)) and not met(row("a", 1.1, "s", max=1.0))
    assert met(row("a", 0.5, "1", min=0.4)) and not met(row("a", None, "s", max=1.0))
    assert text(row("a", 0.5, "s", max=0.1)) == "a: 0.5 s (at most 0.1: not met)"


@pytest.mark.parametrize(
    "kind, bfloat16, float32",
    [
        ("NVIDIA H100 80GB HBM3", 989.5, 67.0),
        ("NVIDIA H100 PCIe", 756.5, 51.0),
        ("NVIDIA H200", 989.5, 67.0),
        ("NVIDIA A100-SXM4-80GB", 312.0, 19.5),
        ("NVIDIA L4", 121.0, 30.3),
        ("Tesla V100-SXM2-16GB", None, 15.7),
        ("Tesla T4", None, 8.1),
        ("NVIDIA L40S", None, None),
        ("cpu", None, None),
    ],
)
def test_published_peaks(kind, bfloat16, float32):
    assert published_peak(kind, "bfloat16") == bfloat16
    assert published_peak(kind, "float32") == float32


def test_kernels_of_a_trace_are_those_on_streams():
    def event(name, tid, dur, **args):
        return {"ph": "X", "pid": 1, "tid": tid, "name": name, "dur": dur, "args": args}

    events = [
        {"ph": "M", "pid": 1, "name": "process_name", "args": {"name": "/device:GPU:0"}},
        {
            "ph": "M",
            "pid": 1,
            "tid": 7,
            "name": "thread_name",
            "args": {"name": "Stream #7(Compute)"},
        },
        {"ph": "M", "pid": 1, "tid": 8, "name": "thread_name", "args": {"name": "XLA Ops"}},
        event("cutlass_gemm", 7, 60.0, hlo_op="custom-call.3"),
        event("loop_gather_fusion", 7, 30.0),
        event("loop_multiply_fusion", 7, 10.0),
        event("custom-call.3", 8, 60.0, hlo_op="custom-call.3"),
    ]
    found = kernels.device_events(events)
    assert [e["name"] for e in found] == [e["name"] for e in events[3:6]]
    rows = {r["metric"]: r["value"] for r in kernels.summary("net", found, 200.0, 3)}
    assert rows["net: kernels an update"] == 1 and rows["net: time outside kernels"] == 0.5
    assert rows["net: matmul and convolution"] == 0.6 and rows["net: elementwise"] == 0.1
    assert rows["net: longest kernels"].startswith("cutlass_gemm custom-call.3 60.0%")


def test_what_is_slow_is_named_from_the_numbers():
    values = {
        "resnet, full, tf32: update": 1.0,
        "resnet, full, tf32, calls of 1: update": 2.0,
        "resnet, full, tf32, calls of 10: update": 1.05,
        "resnet, full, tf32: share of the peak": 0.02,
        "resnet, wide, bfloat16: share of the peak": 0.5,
        "resnet, full, bfloat16: gathers and copies": 0.4,
        "convolution, full, tf32: native / gathered": 1.5,
    }
    rows = [row(metric, value, "") for metric, value in values.items()]
    lines = findings(Setting(small=False, rows=[*rows, row("kind", "H100", "")]))
    assert [line.partition(":")[0] for line in lines] == [
        "host gaps", "kernels too small", "gathers", "convolution",
    ]  # fmt: skip
    assert "2 ms in calls of 1, 1 ms in long calls" in lines[0]


def test_step_time_covers_every_network_at_its_size():
    tasks = updates.step_time(Setting(small=False))
    for name in [*OPERATORS, *(f"denoiser {name}" for name in DENOISERS)]:
        assert {f"{name} {size} tf32" for size in ("golden", "full")} <= set(tasks)
    cfg, _ = updates.configured("resnet", "wide", "bfloat16", small=False)
    assert cfg.operator.width == 512 and cfg.operator.patch == 8 and cfg.fit.operator.batch == 256
    assert cfg.operator.matmul == "bfloat16"
    cfg, _ = updates.configured("fno", "full", "tf32", small=False)
    assert cfg.operator.name == "fno" and cfg.operator.modes == 64 and cfg.pde.points == 1024
    cfg, stage = updates.configured("denoiser resnet", "full", "bfloat16", small=False)
    assert stage == "diffusion" and cfg.denoiser.width == 128 and cfg.denoiser.matmul == "bfloat16"


def test_an_update_is_measured():
    rows = updates.update(Setting(small=True), "resnet", "golden", "bfloat16")
    values = {r["metric"].partition(": ")[2]: r["value"] for r in rows}
    assert values["update"] > 0 and values["rate"] > 0 and values["memory of the program"] > 0


@pytest.mark.parametrize("name", ["operator", "ensemble"])
def test_a_forecast_is_timed(name):
    (timed,) = runs.forecast_time(Setting(small=True), name)
    assert timed["value"] > 0 and timed["unit"] == "ms"


def test_the_cpu_agrees_with_itself():
    assert correctness.solver("kuramoto")[0]["value"] == 0
    assert correctness.difference([1.0, 3.0], [1.0, 1.0]) == pytest.approx(2**0.5)


def test_the_command_writes_a_file_that_it_continues(tmp_path, capfd):
    argv = ["gpu", "--quick", "--minutes", "600", "--parts", "device"]
    argv += ["--out", str(tmp_path / "gpu.json")]
    assert main(argv) == 0
    saved = json.loads((tmp_path / "gpu.json").read_text())
    assert {r["part"] for r in saved["rows"]} == {"device"} and saved["findings"] == []
    assert all({"part", "metric", "value", "unit"} <= set(r) for r in saved["rows"])
    assert main(argv) == 0
    assert "parts all finished" in capfd.readouterr().out
    assert json.loads((tmp_path / "gpu.json").read_text())["rows"] == saved["rows"]


def test_updates_of_the_joint_run_fit_the_seconds_left():
    cfg = ups.load_config(joint.CONFIG)
    # Unrolls 1, 2, 3 in shares .6, .25, .15: 1.55 steps an update, in calls of 500.
    assert joint.affordable(cfg, ms=2.0, seconds=30.9) == 9_500
    assert joint.affordable(cfg, ms=2.0, seconds=31.1) == 10_000
    assert joint.affordable(cfg, ms=1e-6, seconds=60.0) == cfg.fit.operator.steps
    with pytest.raises(Skipped, match="less than 1000 updates"):
        joint.affordable(cfg, ms=2.0, seconds=3.0)
