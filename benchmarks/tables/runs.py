"""The README's results, made from results/*.json: `python benchmarks/table.py` rewrites them.

With `--check` nothing is written, and the exit code is 1 where the README says something else.
"""

import json
import sys
from statistics import mean, stdev

from record import RESULTS

README = RESULTS.parent.parent / "README.md"
BEGIN, END = "<!-- results: python benchmarks/table.py -->\n", "<!-- end of results -->\n"
RUNS = {
    "burgers": ("configs/burgers.py", "operator"),
    "burgers-hybrid": (
        "configs/burgers.py:hybrid",
        "hybrid: coarse solver step + small network",
    ),
}
DRAWN = {
    "burgers": "Members (`configs/burgers.py`)",
    "burgers-sparse": "First frames seen at every 16th point with 2 % noise (`:sparse`)",
    "kuramoto": "Kuramoto-Sivashinsky (`configs/kuramoto.py`)",
}
ROUTES = {
    "operator": "operator",
    "control": "operator trained on (control)",
    "diffusion": "diffusion of its residual",
    "student": "the same, distilled to two calls",
    "crps": "fine-tuned on CRPS",
}
SEARCHED = {
    "ttc": "the search",
    "mean": "mean of as many members",
    "random": "random choices",
    "operator": "the operator alone (one call)",
    "control": "the operator trained on (one call)",
}
VISCOSITIES = ("burgers-nu0.01", "burgers-nu0.1", "burgers-nu1")
APEBENCH = {
    "apebench_burgers": "ours (`configs/apebench_burgers.py`)",
    "apebench_burgers-constrained": "ours under its constraint (`:constrained`)",
}


def main() -> None:
    text = README.read_text()
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    made = f"{head}{BEGIN}{results()}{END}{tail}"
    if "--check" in sys.argv:
        sys.exit(made != text)
    README.write_text(made)


def results() -> str:
    """Every table whose runs are there, and what the runs cost."""
    drawn = [_ensembles(name, told) for name, told in DRAWN.items()]
    blocks = [_golden(), *drawn, _search("burgers"), _viscosities(), _joint(), _apebench()]
    return "\n".join(f"{block}\n" for block in blocks if block)


def _read(name: str) -> dict | None:
    """A run's record; runs of other seeds beside it give mean and deviation, where it has none."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return None
    run = json.loads(path.read_text())
    others = [json.loads(p.read_text()) for p in sorted(RESULTS.glob(f"{name}-seed[0-9].json"))]
    run["others"] = others
    for key in list(run["summary"]) if others else ():
        shared = all(key in one["summary"] for one in others)
        if shared and key.startswith("eval/operator/") and not key.endswith(("/ms", "_median")):
            values = [one["summary"][key] for one in (run, *others)]
            run["summary"][f"{key}_seeds_mean"] = mean(values)
            run["summary"][f"{key}_seeds_std"] = stdev(values)
    return run


def _golden() -> str:
    """A row a run, then the solver and the trivial ones, then what they cost."""
    runs = {name: run for name in RUNS if (run := _read(name))}
    lines = ["| forecaster | P1 nRMSE | P1 median | P1 relL2 | P10 nRMSE | ms a rollout |"]
    lines.append("|---|---|---|---|---|---|")
    for name, run in runs.items():
        size = run["summary"]["params/operator"]
        lines.append(_row(f"**{RUNS[name][1]}** ({size:,} parameters)", run["summary"], "operator"))
    golden = runs["burgers"]
    points = golden["config"]["pde"]["points"]
    lines.append(_row(f"solver (ours, {points} cells)", golden["summary"], "solver"))
    for mode in ("mean", "persistence"):
        lines.append(_row(mode, golden["summary"], mode))
    told = [_cost(name, run) for name, run in runs.items()]
    return "\n".join([*lines, "", *told]).rstrip("\n")


def _ensembles(name: str, told: str) -> str:
    """A row a route of members, the operator and its control before them."""
    run = _read(name)
    if run is None or "eval/ensemble/paired/crps" not in run["summary"]:
        return ""
    s, config = run["summary"], run["config"]
    modes = [m for m in ROUTES if f"eval/{m}/paired/crps" in s]
    lines = [
        f"{told}: {config['ensemble']['members']} members on the first "
        f"{s['eval/ensemble/paired/samples']} test trajectories, P1, one seed; CRPS of a single "
        "forecast is its MAE:",
        "",
        "| forecaster | nRMSE | a member's | CRPS | spread/skill | in 50 % | in 90 % "
        "| correlation time | calls | ms a rollout |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    keys = ("nrmse", "member_nrmse", "crps", "spread_skill", "coverage_50", "coverage_90")
    for mode in modes:
        found = [s.get(f"eval/{mode}/paired/{key}") for key in (*keys, "correlation_time")]
        cells = ["" if value is None else f"{value:.3g}" for value in found]
        calls, ms = (s[f"eval/{mode}/paired/{key}"] for key in ("calls", "ms"))
        lines.append(f"| {ROUTES[mode]} | {' | '.join(cells)} | {calls:,} | {ms:.3g} |")
    seconds = ", ".join(
        f"{row[0]} {row[-2]:.0f} s ({row[-3]:.0f} TFLOP)" for row in run["stages"]["rows"]
    )
    lines += ["", f"Training: {seconds}; {run['device']}, {s['wall/total_s']:.0f} s in all."]
    return "\n".join(lines)


def _search(name: str) -> str:
    """The search at test time, its controls at equal calls, and the bound."""
    run = _read(name)
    start = "eval/ttc/analysis/"
    if run is None or f"{start}nrmse_ttc" not in run["summary"]:
        return ""
    s = {k.removeprefix(start): v for k, v in run["summary"].items() if k.startswith(start)}
    cells = {n: s[f"nrmse_{n}"] for n in ("ttc", "mean", "random", "operator", "control")}
    told = ", ".join(f"{SEARCHED[n]} {value:.3g}" for n, value in cells.items())
    rank = s["rank_correlation"]
    agree = "is undefined, all rewards being equal" if rank is None else f"{rank:.2f}"
    return (
        f"Test-time search, nRMSE on the first {run['summary']['eval/ttc/samples']} test "
        f"trajectories at equal network calls: {told}; a bound that knows the truth "
        f"{s['nrmse_oracle']:.3g}. Rank correlation of reward and error "
        f"{agree} (-1 would be perfect)."
    )


def _viscosities() -> str:
    """nRMSE at other viscosities: a row a run."""
    runs = [(name, run) for name in VISCOSITIES if (run := _read(name))]
    if not runs:
        return ""
    lines = ["nRMSE at other viscosities, one seed each (`configs/burgers.py:nu0.1`, ...):", ""]
    lines.append("| Nu | | operator | solver (256 cells) | mean | persistence | training s |")
    lines.append("|---|---|---|---|---|---|---|")
    for _, run in runs:
        s, nu = run["summary"], f"{run['config']['pde']['nu']:g}"
        for protocol, infix in (("P1", ""), ("P10", "p10/")):
            cells = [
                f"{s[f'eval/{mode}/{infix}nrmse']:.3g}"
                for mode in ("operator", "solver", "mean", "persistence")
            ]
            lines.append(f"| {nu} | {protocol} | {' | '.join(cells)} | {_trained(run)} |")
    return "\n".join(lines)


def _joint() -> str:
    """One network of several viscosities: a row each, and their average."""
    found = _read("viscosities")
    if not found:
        return ""
    lines = [
        f"One network of {found['parameters']:,} parameters for all of these (`configs/burgers.py:"
        f"joint`), nRMSE after {found['train_s']:.0f} s of training on {_cores(found['device'])}:",
        "",
        "| Nu | | operator | solver (256 cells) | mean | persistence |",
        "|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        for protocol in ("p1", "p10"):
            cells = [
                f"{row[protocol][mode]:.3g}"
                for mode in ("operator", "solver", "mean", "persistence")
            ]
            lines.append(f"| {row['nu']:g} | {protocol.upper()} | {' | '.join(cells)} |")
    for protocol, value in found["average"].items():
        lines.append(f"| average | {protocol.upper()} | {value:.3g} | | | |")
    return "\n".join(lines)


def _apebench() -> str:
    """GMean100 on APEBench's scenario: our runs, then its own families trained here."""
    runs = [(label, run) for name, label in APEBENCH.items() if (run := _read(name))]
    if not runs:
        return ""
    lines = ["APEBench `1d_diff_burgers`, geometric mean of nRMSE over 100 steps (GMean100):", ""]
    lines += ["| network | parameters | GMean100 | training s a seed |", "|---|---|---|---|"]
    for label, run in runs:
        s = run["summary"]
        cell = _spread(s, "eval/operator/nrmse_gmean100")
        lines.append(f"| {label} | {s['params/operator']:,} | {cell} | {_trained(run)} |")
    theirs = _read("apebench_families") or {"rows": {}}
    for name, row in theirs["rows"].items():
        lines.append(
            f"| APEBench's {name}, its own training | {row['parameters']:,} | "
            f"{row['gmean100']:.3g} | {row['train_s']:.0f}, {_cores(theirs['device'])} |"
        )
    return "\n".join(lines)


def _row(label: str, summary: dict, mode: str) -> str:
    keys = ("nrmse", "nrmse_median", "rel_l2", "p10/nrmse", "ms")
    cells = [_spread(summary, f"eval/{mode}/{key}") for key in keys]
    return f"| {label} | " + " | ".join(cells) + " |"


def _spread(summary: dict, key: str) -> str:
    """The shipped network's value, and mean and deviation over seeds where there are several."""
    cell = f"{summary[key]:.3g}"
    if (spread := summary.get(f"{key}_seeds_std")) is None:
        return cell
    return f"{cell} (seeds {summary[f'{key}_seeds_mean']:.3g} ± {spread:.1g})"


def _trained(run: dict) -> str:
    """Seconds of training a seed, and where."""
    seconds = run["summary"]["wall/train_s"] / run["config"]["seeds"]
    return f"{seconds:.0f}, {_cores(run['device'])}"


def _cores(device: str) -> str:
    return "1 core" if device == "1 CPU cores" else device.replace("CPU cores", "cores")


def _cost(name: str, run: dict) -> str:
    s, config = run["summary"], run["config"]
    seeds = config["seeds"]
    extra = f" --config.num_seeds={seeds}" if seeds > 1 else ""
    who = (
        "one seed" if seeds == 1 else f"{seeds} seeds side by side, the best on validation shipped"
    )
    if run["others"]:
        named = " and ".join(str(one["config"]["seed"]) for one in run["others"])
        who += f" (the spread: runs of their own with --config.seed {named})"
    return (
        f"`python runners/fast_to_sota.py --config {RUNS[name][0]}{extra}`: Nu = "
        f"{config['pde']['nu']:g}, {config['pde']['points']} points, "
        f"{config['data']['steps'] + 1} frames, {run['samples']:,} test trajectories, data "
        f"{run['origin']}, {who}, {run['device']}: {s['wall/total_s']:.0f} s "
        f"({s['wall/data_s']:.0f} s for data, simulated or cached by an earlier run, "
        f"{s['wall/train_s']:.0f} s training, "
        f"{s['wall/compile_s']:.0f} s compiling, {s['wall/eval_s']:.0f} s evaluation) and "
        f"{s['memory/peak_mib']:.0f} MiB.\n"
    )


if __name__ == "__main__":
    main()
