"""The table of benchmarks/README.md: question, command, bar, and the value of today."""

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.tables import joint
from benchmarks.tables.markdown import number, read, table
from benchmarks.tables.runs import read_run

Record = Mapping[str, Any]


def _row(record: Record, name: str) -> Record:
    return next(row for row in record["rows"] if row["row"] == name)


def _ratios(record: Record) -> str:
    return ", ".join(f"{row['row']} {number(row['ratio'])}" for row in record["rows"])


def _golden(run: Record) -> str:
    values = [run["summary"][f"eval/operator/{key}_seeds_mean"] for key in ("nrmse", "p10/nrmse")]
    return "P1 {}, P10 {}".format(*map(number, values))


def _rollout(record: Record) -> str:
    labels = {"burgers": "operator", "burgers-hybrid": "hybrid"}
    labels |= {f"solver, {cells} cells": f"solver on {cells} cells" for cells in (256, 512)}
    rows = {row["row"]: row for row in record["rows"]}
    cells = (
        f"{label} {number(rows[name]['p1'])} in {number(rows[name]['ms'])} ms"
        for name, label in labels.items()
        if name in rows
    )
    return "; ".join(cells)


def _transfer(record: Record) -> str:
    row = _row(record, "another scheme")
    return f"another scheme: operator {number(row['burgers'])}, solver {number(row['solver'])}"


def _ablation(record: Record) -> str:
    names = ("baseline", "fno", "mse", "hybrid")
    return ", ".join(f"{name} {number(_row(record, name)['p1'])}" for name in names)


def _generator(record: Record) -> str:
    ratios = [row["ours_to_exponax_ms"] for row in record["equal_error"]]
    ratios = [ratio for ratio in ratios if ratio is not None]
    return f"ours / exponax ms at no larger error: {number(min(ratios))} to {number(max(ratios))}"


def _steps(record: Record) -> str:
    cells = (
        f"{row['network']} {row['task']} {row['batch']}: {number(row['ratio_to_pytorch'])}"
        for row in record["rows"]
        if row["contender"] == "ups_jax"
    )
    return ", ".join(cells)


def _sampler(record: Record) -> str:
    parts = {"today": [*record["rows"], *record["mixtures"]], "before": record["before"]}
    ratios = {name: [row["ratio"] for row in rows] for name, rows in parts.items()}
    return ", ".join(f"{name} {number(min(r))} to {number(max(r))}" for name, r in ratios.items())


def _time_to_target(record: Record) -> str:
    return ", ".join(f"{row['row']} {number(row['final'])}" for row in record["rows"])


def _streaming(record: Record) -> str:
    ratios = ", ".join(number(row["ratio"]) for row in record["rows"] if "ratio" in row)
    return f"{ratios}; {_row(record, 'memory')['over_idle_mib']:.0f} MiB"


def _devices(record: Record) -> str:
    rows = (row for row in record["rows"] if {"updates_per_s", "rollouts_per_s"} & row.keys())
    return ", ".join(f"{row['row']} {number(row['efficiency'])}" for row in rows)


def _families(record: Record) -> str:
    # Rows of scenarios other than the first name theirs.
    rows = (row for row in record["rows"] if " " not in row["row"])
    return ", ".join(f"{row['row']} {number(row['gmean100'])}" for row in rows)


def _apebench(record: Record) -> str:
    """Return our best purely learned network's error in each scenario that has a published one."""
    best: dict[str, float] = {}
    for row in record["rows"]:
        name = row["scenario"].replace("_diff_", " ")
        if row["column"] == "free" and row["published"] and row["parameters"]:
            # The mean over mirror images takes two calls a step.
            if not row["knows_equation"] and not row["row"].endswith("-symmetrized"):
                best[name] = min(row["gmean100"], best.get(name, row["gmean100"]))
    return ", ".join(f"{name} {number(value)}" for name, value in best.items())


def _scaling(record: Record) -> str:
    rows = (row for row in record["rows"] if row["against"] in ("points", "cells"))
    return ", ".join(f"{row['row']} {row['seconds_slope']:.2f}" for row in rows)


def _faults(record: Record) -> str:
    tried, survived = (sum(row[key] for row in record["rows"]) for key in ("tried", "survived"))
    return f"{survived} of {tried}"


def _gpu(record: Record) -> str:
    """Return the values of the targets with the device of each; those of a CPU mean nothing."""
    rows = {row["metric"]: row for row in record["rows"] if row["value"]}
    wanted = {
        "resnet, wide, bfloat16: share of the peak": "{} of the peak",
        "resnet: seconds to P10 nRMSE 0.0108": "P10 0.0108 in {} s",
        "golden operator: trained and validated": "golden {} s",
        "golden operator: both, projected": "golden {} s, projected",
    }
    cells = []
    for key, text in wanted.items():
        if key in rows:
            device = record["parts"][rows[key]["part"]]["device"]
            cells.append(f"{text.format(number(rows[key]['value']))} ({device})")
    return "" if "CPU" in record["device"] else ", ".join(cells)


QUESTIONS: tuple[tuple[str, str, str, str, Callable[[Record], str]], ...] = (
    ("burgers", "How accurate is the golden operator? (three seeds)",
     "python runners/fast_to_sota.py --config configs/burgers.py", "P1 0.010, P10 0.003", _golden),
    ("rollout", "Is an emulator better than a solver of equal cost?",
     "rollout runs/burgers runs/burgers-hybrid", "", _rollout),
    ("transfer", "Does it hold on data unlike its training data?",
     "transfer runs/burgers runs/burgers-hybrid", "", _transfer),
    ("viscosities", "How accurate is one network for four viscosities?", "viscosities", "",
     lambda record: "average P1 {}, P10 {}".format(*map(number, record["average"].values()))),
    ("refinement", "What do ensembles, student and search add over the operator?",
     "refinement runs/burgers runs/burgers-seed1 runs/burgers-seed2",
     "member 1.05, mean 1, CRPS 0.8, spread/skill 0.8 to 1.2, within 90 % 0.85 to 0.95",
     lambda record: "; ".join(v.split(", target")[0] for v in record["verdicts"][:5])),
    ("sampler", "Do diffusion samples have the right deviation? (over the true one)", "sampler",
     "0.9 to 1.1", _sampler),
    ("ablation", "What is each choice of the recipe worth? (validation P1, 15 s a seed)",
     "ablation --seconds 15", "", _ablation),
    ("generator", "Is our solver the right generator?", "generator",
     "the only valid one at Nu = .001", _generator),
    ("time_to_target", "How fast is a target error reached? (validation P1 after 60 s)",
     "time_to_target --seconds 60", "", _time_to_target),
    ("time_to_target_apebench", "The same on APEBench (GMean100 after 20 s)",
     "time_to_target --task apebench --seconds 20", "0.0130, published", _time_to_target),
    ("apebench", "How accurate are our networks on APEBench? (GMean100)", "apebench",
     "the published best", _apebench),
    ("apebench_families", "How accurate are APEBench's own networks? (GMean100)",
     ".venv-peers/bin/python -m benchmarks apebench_families", "", _families),
    ("universal", "How accurate is one network for ten equations? (GMean100)",
     "universal runs/universal", "the published best of each equation", joint.by_equation),
    ("fewshot", "Does it help on an equation unseen? (error from scratch over fine-tuned, four "
     "trajectories)", "fewshot runs/universal", "3", joint.gains),
    ("joint_cost", "What does an update on ten equations cost? (over the same network on one)",
     "joint_cost", "1.2", _ratios),
    ("step_time", "How fast is a step against PyTorch? (ratio of milliseconds)", "step_time",
     "1; 1/3 for a single rollout", _steps),
    ("search_cost", "What do ensembles and search cost beyond their network calls?",
     "search_cost runs/burgers", "1.3; 1.2 for the search", _ratios),
    ("streaming", "What does training from disk cost?", "streaming",
     "0.8 of the updates a second; 1500 MiB", _streaming),
    ("multi_device", "What does a second device bring? (efficiency)", "multi_device", "",
     _devices),
    ("sweep", "What do sixteen learning rates at once save? (ratio of seconds)", "sweep", "",
     _ratios),
    ("startup", "How much does a warm start save? (to selected parameters)", "startup", "0.5",
     lambda record: number(_row(record, "selected")["ratio"])),
    ("scaling", "How do seconds grow? (slope of logarithms)", "scaling", "", _scaling),
    ("faults", "Which faults does a run survive? (kills, full disks, races, damaged files)",
     "faults", "all", _faults),
    ("gpu", "How fast is it on one GPU? (widest network, seconds to P10 0.0108, golden operator)",
     "gpu", "0.4 of the bfloat16 peak; 300 s; 60 s", _gpu),
    ("convolution", "Is the gathered convolution still right on this backend?", "convolution",
     "far above 1 on a CPU",
     lambda record: f"native / gathered {number(record['ratio_native_to_gathered'])}"),
)  # fmt: skip


def questions() -> str:
    """Return the table, with the values of the results files."""
    rows = []
    for name, question, command, bar, today in QUESTIONS:
        record = read_run(name) if name == "burgers" else read(name)
        full = command if "python" in command else f"python -m benchmarks {command}"
        rows.append([question, f"`{full}`", bar, today(record) if record else ""])
    return table(("question", "command", "bar", "today"), rows)
