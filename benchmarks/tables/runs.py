"""Tables of finished runs, which `python -m benchmarks collect` copied to the results."""

import json
from statistics import mean, stdev
from typing import Any

from benchmarks.record import RESULTS
from benchmarks.tables.families import best_families
from benchmarks.tables.markdown import cores, number, read, source, table

FORECASTER_RUNS = {
    "burgers": ("configs/burgers.py", "operator"),
    "burgers-hybrid": (
        "configs/burgers.py:hybrid",
        "hybrid: coarse solver step + small network",
    ),
}
ENSEMBLE_RUNS = {
    "burgers": ("Ensembles on Burgers", "configs/burgers.py", ""),
    "burgers-sparse": (
        "Ensembles on Burgers, observed initial frame",
        "configs/burgers.py:sparse",
        " The first frame is observed at every 16th point with 2 % noise.",
    ),
    "kuramoto": ("Ensembles on Kuramoto-Sivashinsky", "configs/kuramoto.py", ""),
}
FORECASTERS = {
    "operator": "operator",
    "symmetrized": "operator, mean over mirror images",
    "control": "control (operator trained further)",
    "diffusion": "diffusion of the operator's residual",
    "student": "student: diffusion distilled to two calls",
    "ensemble": "ensemble fine-tuned on CRPS",
}
SEARCH_ROWS = {
    "ttc": "search",
    "mean": "mean of as many members",
    "random": "random selection",
    "operator": "operator (one call)",
    "control": "control (one call)",
    "greedy": "search with the truth as its reward",
    "oracle": "bound: the best row for each trajectory",
}
VISCOSITIES = ("burgers-nu0.01", "burgers-nu0.1", "burgers-nu1")
SIMPLE = ("solver", "mean", "persistence")
APEBENCH_RUNS = {
    "apebench_burgers": "ours (`configs/apebench.py`)",
    "apebench_burgers-constrained": "ours under APEBench's constraint (`-constrained`)",
}


def read_run(name: str) -> dict[str, Any] | None:
    """Return a run; runs of other seeds give mean and deviation where it has none."""
    run = read(name)
    if run is None:
        return None
    others = [json.loads(p.read_text()) for p in sorted(RESULTS.glob(f"{name}-seed[0-9].json"))]
    run["others"] = others
    for key in list(run["summary"]) if others else ():
        shared = all(key in other["summary"] for other in others)
        learned = key.startswith(("eval/operator/", "eval/symmetrized/"))
        if shared and learned and not key.endswith(("/ms", "_median")):
            values = [other["summary"][key] for other in (run, *others)]
            run["summary"][f"{key}_seeds_mean"] = mean(values)
            run["summary"][f"{key}_seeds_std"] = stdev(values)
    return run


def forecasters() -> str:
    """Return the rows of the golden run and its hybrid, the solver and the simple forecasts."""
    runs = {name: run for name in FORECASTER_RUNS if (run := read_run(name))}
    rows = []
    for name, run in runs.items():
        label = f"**{FORECASTER_RUNS[name][1]}** ({run['summary']['params/operator']:,} parameters)"
        rows.append([label, *_errors(run["summary"], "operator")])
        if "eval/symmetrized/nrmse" in run["summary"]:
            label = "the same, mean over mirror images (two calls a step)"
            rows.append([label, *_errors(run["summary"], "symmetrized")])
    golden = runs["burgers"]
    labels = {"solver": f"solver (ours, {golden['config']['pde']['points']} cells)"}
    rows += [[labels.get(mode, mode), *_errors(golden["summary"], mode)] for mode in SIMPLE]
    columns = ("forecaster", "P1 nRMSE", "P1 median", "P1 relL2", "P10 nRMSE", "ms a rollout")
    return table(columns, rows)


def forecaster_commands(*, detailed: bool) -> str:
    """Return protocol and command of the runs behind `forecasters`, with seconds if detailed."""
    runs = {name: run for name in FORECASTER_RUNS if (run := read_run(name))}
    return "\n".join(_protocol(name, run, detailed) for name, run in runs.items())


def ensembles(name: str) -> str:
    """Return a row for each ensemble forecaster, the operator and its control before them."""
    run = read_run(name)
    if run is None or "eval/ensemble/paired/crps" not in run["summary"]:
        return ""
    title, config_name, note = ENSEMBLE_RUNS[name]
    summary, config = run["summary"], run["config"]
    keys = ("nrmse", "member_nrmse", "crps", "spread_skill", "coverage_50", "coverage_90")
    keys += ("correlation_time", "calls", "ms")
    rows = [
        [label, *(number(summary.get(f"eval/{mode}/paired/{key}")) for key in keys)]
        for mode, label in FORECASTERS.items()
        if f"eval/{mode}/paired/crps" in summary
    ]
    seconds = ", ".join(
        f"{row[0]} {row[-2]:.0f} s ({row[-3]:.0f} TFLOP)" for row in run["stages"]["rows"]
    )
    columns = (
        "forecaster", "nRMSE", "nRMSE of a member", "CRPS", "spread/skill", "within 50 %",
        "within 90 %", "correlation time", "calls", "ms a rollout",
    )  # fmt: skip
    return (
        f"## {title}\n\n"
        f"Protocol: P1, the first {summary['eval/ensemble/paired/samples']} test trajectories, "
        f"{config['ensemble']['members']} members, one seed.{note} "
        "The CRPS of a single forecast is its MAE.\n"
        f"Command: {_command(config_name)} ({cores(run['device'])}, "
        f"{summary['wall/total_s']:.0f} s in all; training: {seconds}).\n\n" + table(columns, rows)
    )


def search(name: str) -> str:
    """Return test-time search, its controls at equal network calls, and the bound."""
    run, start = read_run(name), "eval/ttc/analysis/"
    if run is None or f"{start}nrmse_ttc" not in run["summary"]:
        return ""
    summary = run["summary"]
    labels = dict(SEARCH_ROWS)
    if f"{start}nrmse_greedy" not in summary:
        # In an older run, the oracle is that search.
        labels["oracle"] = labels.pop("greedy")
    keys = {f"{start}nrmse_{name}": label for name, label in labels.items()}
    rows = [[label, number(summary[key])] for key, label in keys.items() if key in summary]
    rank = summary[f"{start}rank_correlation"]
    rank_text = "undefined, since all rewards are equal" if rank is None else f"{rank:.2f}"
    return (
        "## Test-time search on Burgers\n\n"
        f"Protocol: P1, the first {summary['eval/ttc/samples']} test trajectories, equal network "
        f"calls. Rank correlation of reward and error: {rank_text} (-1 would be perfect).\n"
        f"Command: {_command('configs/burgers.py')}.\n\n" + table(("selection", "nRMSE"), rows)
    )


def viscosities() -> str:
    """Return the errors of one network for each viscosity."""
    rows = []
    for name in VISCOSITIES:
        if (run := read_run(name)) is None:
            continue
        nu = f"{run['config']['pde']['nu']:g}"
        for protocol, infix in (("P1", ""), ("P10", "p10/")):
            errors = (
                number(run["summary"][f"eval/{mode}/{infix}nrmse"])
                for mode in ("operator", *SIMPLE)
            )
            rows.append([nu, protocol, *errors, train_seconds(run)])
    columns = ("Nu", "protocol", "operator", "solver (256 cells)", "mean", "persistence", "train s")
    return (
        "## Burgers at other viscosities, one network each\n\n"
        "Protocol: nRMSE on 1,000 test trajectories, one seed.\n"
        f"Command: {_command('configs/burgers.py:nu0.01')}, likewise `:nu0.1` and `:nu1`.\n\n"
        + table(columns, rows)
    )


def joint_viscosities() -> str:
    """Return the errors of one network of several viscosities, and their average."""
    record = read("viscosities")
    if record is None:
        return ""
    modes = ("operator", *SIMPLE)
    rows = [
        [f"{row['nu']:g}", row["protocol"], *(number(row[mode]) for mode in modes)]
        for row in record["rows"]
    ]
    rows += [
        ["average", protocol, number(value), "", "", ""]
        for protocol, value in record["average"].items()
    ]
    columns = ("Nu", "protocol", "operator", "solver (256 cells)", "mean", "persistence")
    return (
        "## Burgers, one network for four viscosities\n\n"
        f"Protocol: nRMSE of one network of {record['parameters']:,} parameters on the test split "
        f"of `:joint`, separated by Nu, after {record['train_s']:.0f} s of training.\n"
        f"Command: {_command('configs/burgers.py:joint')}, then {source(record)}.\n\n"
        + table(columns, rows)
    )


def apebench() -> str:
    """Return GMean100 of our runs, and of APEBench's own networks trained here."""
    rows = []
    for name, label in APEBENCH_RUNS.items():
        if (run := read_run(name)) is None:
            continue
        summary = run["summary"]
        error = _with_spread(summary, "eval/operator/nrmse_gmean100")
        rows.append([label, number(summary["params/operator"]), error, train_seconds(run)])
    peers = read("apebench_families")
    for row in peers["rows"] if peers else ():
        if " " in row["row"]:  # of another scenario
            continue
        seconds = f"{row['train_s']:.0f}, {cores(peers['device'])}"
        label = f"APEBench's {row['row']}, its own training"
        rows.append([label, number(row["parameters"]), number(row["gmean100"]), seconds])
    columns = ("network", "parameters", "GMean100", "train s a seed")
    commands = [
        _command("configs/apebench.py", " --config.num_seeds=3"),
        _command("configs/apebench.py:1d_diff_burgers-constrained"),
        *([source(peers).replace("python", ".venv-peers/bin/python", 1)] if peers else []),
    ]
    return (
        "## APEBench `1d_diff_burgers`\n\n"
        "Protocol: geometric mean of nRMSE over 100 steps (GMean100), 30 test trajectories. "
        "Published best: 0.0130 (Koehler et al., 2024, one-step training). These runs and those of "
        "APEBench's networks have initial conditions that JAX since 0.5 draws from the published "
        "keys; the config now draws the published ones. Ours are of AdamW; the config has Muon.\n"
        f"Command: {'; '.join(commands)}.\n\n" + table(columns, rows)
    )


def apebench_scenarios() -> str:
    """Return GMean100 on APEBench's scenarios: published, simple forecasts and our networks."""
    record = read("apebench")
    if record is None:
        return ""
    grid: dict[str, dict[str, str]] = {}
    for row in record["rows"]:
        label = f"{row['row']}, {row['column']}" if row["parameters"] else row["row"]
        spread = f" ± {row['gmean100_std']:.1g}" if row["seeds"] > 1 else ""
        cell = f"{row['gmean100']:.3g}{spread}"
        seconds = f" ({row['train_s']:.0f} s)" if row["train_s"] else ""
        grid.setdefault(row["scenario"], {})[label] = cell + seconds
    for scenario, cell in best_families(read("apebench_families")).items():
        if scenario in grid:
            grid[scenario]["APEBench's best retrained family"] = cell
    seeds = max(row["seeds"] for row in record["rows"])
    labels = list(dict.fromkeys(label for cells in grid.values() for label in cells))
    rows = [[name, *(cells.get(label, "") for label in labels)] for name, cells in grid.items()]
    return (
        "## APEBench\n\n"
        "Protocol: GMean100 on 30 published test trajectories, "
        f"one seed{f', or with ± the median over {seeds}' * (seeds > 1)}, seconds of training. "
        "Constrained: 10,000 one-step updates of 20; free: our recipe. `linear` networks "
        "and the coarse solver know the equation; the multiplier is fitted to the training data. "
        "Published: the best of five networks in Koehler et al. (2024), one-step training. "
        "Retrained: the best of these networks, trained here by APEBench's own code.\n"
        f"Command: {source(record)}.\n\n" + table(("scenario", *labels), rows)
    )


def _errors(summary: dict[str, Any], mode: str) -> list[str]:
    keys = ("nrmse", "nrmse_median", "rel_l2", "p10/nrmse", "ms")
    return [_with_spread(summary, f"eval/{mode}/{key}") for key in keys]


def _with_spread(summary: dict[str, Any], key: str) -> str:
    """Return the selected network's value, and mean and deviation over several seeds."""
    cell = f"{summary[key]:.3g}"
    if (spread := summary.get(f"{key}_seeds_std")) is None:
        return cell
    return f"{cell} (seeds {summary[f'{key}_seeds_mean']:.3g} ± {spread:.1g})"


def train_seconds(run: dict[str, Any]) -> str:
    """Return the seconds of training a seed, and the cores."""
    seconds = run["summary"]["wall/train_s"] / run["config"]["num_seeds"]
    return f"{seconds:.0f}, {cores(run['device'])}"


def _command(config_name: str, flags: str = "") -> str:
    return f"`python runners/fast_to_sota.py --config {config_name}{flags}`"


def _protocol(name: str, run: dict[str, Any], detailed: bool) -> str:
    summary, config = run["summary"], run["config"]
    seeds, frames = config["num_seeds"], config["data"]["steps"] + 1
    flags = f" --config.num_seeds={seeds}" if seeds > 1 else ""
    seed_text = "one seed" if seeds == 1 else f"{seeds} seeds side by side, best on validation"
    if run["others"]:
        numbers = " and ".join(str(other["config"]["seed"]) for other in run["others"])
        seed_text += f" (spread: further runs with `--config.seed` {numbers})"
    text = (
        f"- {_command(FORECASTER_RUNS[name][0], flags)}: Nu = {config['pde']['nu']:g}, "
        f"{config['pde']['points']} points, {frames} frames, {run['samples']:,} test "
        f"trajectories, data {run['origin']}, {seed_text}; {cores(run['device'])}, "
        f"{summary['wall/total_s']:.0f} s"
    )
    if not detailed:
        return f"{text}."
    parts = {"data": "data (simulated or cached)", "train": "training", "compile": "compilation"}
    parts |= {"eval": "evaluation"}
    seconds = ", ".join(f"{summary[f'wall/{key}_s']:.0f} s {label}" for key, label in parts.items())
    return f"{text}: {seconds}; {summary['memory/peak_mib']:.0f} MiB."
