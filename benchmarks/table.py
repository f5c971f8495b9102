"""The README's results, made from results/*.json: `python benchmarks/table.py` rewrites them.

With `--check` nothing is written, and the exit code is 1 where the README says something else.
"""

import json
import sys

from record import RESULTS

README = RESULTS.parent.parent / "README.md"
BEGIN, END = "<!-- results: python benchmarks/table.py -->\n", "<!-- end of results -->\n"
RUNS = {"burgers": "configs/burgers.py", "burgers-hybrid": "configs/burgers.py:hybrid"}
NAMES = {"burgers": "operator", "burgers-hybrid": "hybrid: coarse solver step + small network"}


def main() -> None:
    text = README.read_text()
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    made = f"{head}{BEGIN}{results()}{END}{tail}"
    if "--check" in sys.argv:
        sys.exit(made != text)
    README.write_text(made)


def results() -> str:
    """Markdown: a row a run, then the solver and the trivial ones, then what they cost."""
    runs = {
        name: json.loads((RESULTS / f"{name}.json").read_text())
        for name in RUNS
        if (RESULTS / f"{name}.json").exists()
    }
    lines = ["| forecaster | P1 nRMSE | P1 median | P1 relL2 | P10 nRMSE | ms a rollout |"]
    lines.append("|---|---|---|---|---|---|")
    for name, run in runs.items():
        size = run["summary"]["params/operator"]
        lines.append(_row(f"**{NAMES[name]}** ({size:,} parameters)", run["summary"], "operator"))
    golden = runs["burgers"]
    points = golden["config"]["pde"]["points"]
    lines.append(_row(f"solver (ours, {points} cells)", golden["summary"], "solver"))
    for mode in ("mean", "persistence"):
        lines.append(_row(mode, golden["summary"], mode))
    told = [_cost(name, run) for name, run in runs.items()]
    return "\n".join([*lines, "", *told]) + "\n"


def _row(label: str, summary: dict, mode: str) -> str:
    keys = ("nrmse", "nrmse_median", "rel_l2", "p10/nrmse", "ms")
    cells = []
    for key in keys:
        cell = f"{summary[f'eval/{mode}/{key}']:.3g}"
        if (spread := summary.get(f"eval/{mode}/{key}_seeds_std")) is not None:
            mean = summary[f"eval/{mode}/{key}_seeds_mean"]
            cell = f"{cell} (seeds {mean:.3g} ± {spread:.1g})"
        cells.append(cell)
    return f"| {label} | " + " | ".join(cells) + " |"


def _cost(name: str, run: dict) -> str:
    s, config = run["summary"], run["config"]
    seeds = config["seeds"]
    extra = f" --config.seeds={seeds}" if seeds > 1 else ""
    who = (
        "one seed" if seeds == 1 else f"{seeds} seeds side by side, the best on validation shipped"
    )
    return (
        f"`python runners/fast_to_sota.py --config {RUNS[name]}{extra}`: Nu = "
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
