"""GMean100 of one network for many equations, with networks of one equation and published ones.

Reads finished runs of `configs/universal.py`. A row is named as its folder; folders of one name and
other seeds (`runs/universal-seed1`) give a median. Row `single` is the network `resnet` that
`python -m benchmarks apebench` trained for a scenario alone, in column `free`. `published` is the
best network of one equation of Koehler et al. (2024), `published, retrained` the best of their five
trained by their code, where nothing is published. `published, joint` and `published, joint hybrid`,
which has a solver inside, are the best of ML4PS (2025).
"""

import json
import re
from pathlib import Path

import numpy as np

import ups_jax as ups
from benchmarks.accuracy.apebench import METRIC, PUBLISHED
from benchmarks.accuracy.bars import draw_bars
from benchmarks.collect import read_summary
from benchmarks.record import RESULTS
from benchmarks.tables.joint import SIMPLE, SINGLE, table_of
from ups_jax.emulator import knows_equation

JOINT = {
    "kdv": {False: 2.2e-3, True: 1.5e-3},
    "ks_cons": {False: 0.0211, True: 0.0189},
    "burgers": {False: 0.0548, True: 0.0276},
}
"""Best of ML4PS (2025) by equation, learned and with a base step that knows it.

Burgers is held out there.
"""


def add_flags(parser):
    parser.add_argument("workdirs", nargs="*", type=Path, default=[Path("runs/universal")])


def run(options):
    groups: dict[str, list[Path]] = {}
    for workdir in options.workdirs:
        groups.setdefault(re.sub(r"-seed\d+$", "", workdir.name), []).append(workdir)
    rows = [row for name, folders in groups.items() for row in rows_of(name, folders)]
    rows += references({row["scenario"] for row in rows})
    rows.sort(key=lambda row: row["scenario"])
    show(rows)
    if options.out:
        labels, table = table_of(rows)
        draw_bars(table, labels).savefig(options.out.with_suffix(".png"), dpi=120)
    return {"rows": rows, "runs": [workdir.name for workdir in options.workdirs]}


def rows_of(name, folders):
    """Return the rows of the runs of one config: the network's, and simple forecasts'."""
    emulator, params, cfg = ups.load(folders[0])
    summaries = [read_summary(folder) for folder in folders]
    tested, rows = emulator.pde.test or emulator.pde, []
    for forecaster in ("operator", *SIMPLE):
        for equation in (part.name for part in tested.parts):
            key = f"eval/{forecaster}/equations/{equation}/{METRIC}"
            errors = [summary[key] for summary in summaries if key in summary]
            learned = forecaster == "operator"
            # Forecasts of a seed that diverge have no error, nor then have the seeds together.
            finite = None not in errors
            rows.append(
                {
                    "scenario": f"1d_diff_{equation}",
                    "row": name if learned else forecaster,
                    "knows_equation": learned and knows_equation(emulator.base),
                    "held_out": learned and equation in emulator.pde.held_out,
                    "seeds": len(errors),
                    "gmean100": float(np.median(errors)) if finite else None,
                    "gmean100_std": float(np.std(errors)) if finite else None,
                    "parameters": ups.num_params(params["operator"]) if learned else None,
                    "train_s": summaries[0]["wall/train_s"] if learned else None,
                }
            )
    return rows


def references(scenarios):
    """Return the rows of one-equation networks, ours and published, and of published joint ones."""
    rows = []

    def add(scenario, name, error, *, knows=False, held_out=False, **values):
        unknown = dict(seeds=1, gmean100_std=None, parameters=None, train_s=None)
        row = dict(scenario=scenario, row=name, knows_equation=knows, held_out=held_out)
        rows.append({**unknown, **row, "gmean100": error, **values})

    for scenario in scenarios & PUBLISHED.keys():
        add(scenario, "published", min(PUBLISHED[scenario].values()))
    for equation, errors in JOINT.items():
        for knows, error in errors.items():
            label = "published, joint" + " hybrid" * knows
            held_out = equation == "burgers"
            if (scenario := f"1d_diff_{equation}") in scenarios:
                add(scenario, label, error, knows=knows, held_out=held_out)
    families = RESULTS / "apebench_families.json"
    retrained: dict[str, list[float]] = {}
    for row in json.loads(families.read_text())["rows"] if families.exists() else ():
        retrained.setdefault(row.get("scenario"), []).append(row["gmean100"])
    for scenario in retrained.keys() & scenarios - PUBLISHED.keys():
        add(scenario, "published, retrained", min(retrained[scenario]))
    saved = RESULTS / "apebench.json"
    for row in json.loads(saved.read_text())["rows"] if saved.exists() else ():
        if (row["column"], row["row"]) != ("free", SINGLE) or row["scenario"] not in scenarios:
            continue
        same = {key: row[key] for key in ("seeds", "gmean100_std", "parameters", "train_s")}
        add(row["scenario"], "single", row["gmean100"], **same)
    return rows


def show(rows):
    labels, table = table_of(rows)
    widths = [max(12, len(label) + 2) for label in labels]
    print(f"{'GMean100':20}" + "".join(f"{x:>{n}}" for x, n in zip(labels, widths, strict=True)))
    for scenario, values in table.items():
        cells = (f"{values[x]:.3g}" if x in values else "-" for x in labels)
        print(f"{scenario:20}" + "".join(f"{x:>{n}}" for x, n in zip(cells, widths, strict=True)))
    for key, title in (("parameters", "parameters"), ("train_s", "seconds of training")):
        known = {row["row"]: row[key] for row in rows if row[key] is not None}
        cells = (f"{known[x]:.0f}" if x in known else "-" for x in labels)
        print(f"{title:20}" + "".join(f"{x:>{n}}" for x, n in zip(cells, widths, strict=True)))
