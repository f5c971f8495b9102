"""Tables of the network for many equations."""

from collections.abc import Mapping
from typing import Any

from benchmarks.tables.markdown import number, read, source, table

Record = Mapping[str, Any]
SIMPLE = ("persistence", "mean")
SINGLE = "resnet"
"""Row of APEBench's table with our network of one equation."""
HYBRID, LEARNED = "ml4ps-exponential", "ml4ps-learned"
"""Rows of the networks whose linear part is known, and learned."""
PUBLISHED = {HYBRID: "published, joint hybrid", LEARNED: "published, joint"}


def table_of(rows):
    """Return the labels of columns and {scenario: {label: GMean100}}, if it did not diverge."""
    labels = list(dict.fromkeys(row["row"] for row in sorted(rows, key=_order)))
    table: dict[str, dict[str, float]] = {}
    for row in rows:
        cells = table.setdefault(row["scenario"], {})
        if row["gmean100"] is not None:
            cells[row["row"]] = row["gmean100"]
    return labels, table


def _order(row):
    """Order columns: simple forecasts, published ones, `single`, networks of the runs."""
    groups = (row["row"] in SIMPLE, row["row"].startswith("published"), row["row"] == "single")
    return (*(not group for group in groups), row["row"])


def universal() -> str:
    """Return GMean100 by equation: simple forecasts, networks of one equation, joint networks."""
    record = read("universal")
    if record is None:
        return ""
    labels, grid = table_of(record["rows"])
    found = {(row["scenario"], row["row"]): row for row in record["rows"]}

    def cell(scenario: str, label: str) -> str:
        if (row := found.get((scenario, label))) is None:
            return ""
        return number(row["gmean100"], "diverges") + " (held out)" * row["held_out"]

    rows: list[list[Any]] = [[name, *(cell(name, label) for label in labels)] for name in grid]
    for title, key in (("parameters", "parameters"), ("seconds of training", "train_s")):
        known = {row["row"]: row[key] for row in record["rows"]}
        rows.append([title, *(f"{known[x]:,.0f}" if known.get(x) else "" for x in labels)])
    return (
        "## One network for many equations\n\n"
        "Protocol: GMean100 on APEBench's test trajectories, which no joint network has seen. "
        f"`single`: our network `{SINGLE}` of that equation alone, free in APEBench's table; the "
        "last rows compare its parameters with those of the joint network. Published: "
        "the best network of one equation (Koehler et al., 2024), the best of their five retrained "
        "by their code where nothing is published, and joint ones (ML4PS 2025), "
        "which are trained on a grid of coefficients around those of the test and never on "
        "Burgers. `universal` is trained at the coefficients of the test, on Burgers too; "
        "`ml4ps`, `ml4ps-linear` and `ml4ps-exponential` on the coarse grid of ML4PS, without "
        "Burgers, like its hybrid; `ml4ps-fine` and `ml4ps-learned` on its fine grid, like its "
        "learned networks. `ml4ps-learned` is part of a time step whose linear operator is learned "
        "too, and is called twice a step. "
        "`ml4ps-linear` and `ml4ps-exponential` know the linear part of the equation, the latter "
        "also the time scheme of the solver that made the data: it calls its network twice a step."
        "\n"
        f"Command: {source(record)}, after `python runners/fast_to_sota.py --config "
        f"configs/universal.py` and its variants.\n\n" + table(("scenario", *labels), rows)
    )


def headline() -> str:
    """Return the scenarios that have a published network, with the joint network's errors."""
    record = read("universal")
    if record is None:
        return ""
    _, grid = table_of(record["rows"])
    rows = [
        [name, *(number(cells.get(label)) for label in ("published", "single", "universal"))]
        for name, cells in grid.items()
        if "published" in cells
    ]
    columns = ("APEBench scenario, GMean100", "published", "ours, one equation", "ours, all ten")
    seeds = max(row["seeds"] for row in record["rows"] if row["row"] == "universal")
    several = f" (median of {seeds} seeds; that of the package is the first)" * (seeds > 1)
    return (
        "One network for APEBench's ten scenarios in one dimension, "
        f'`ups.pretrained("universal-1d")`{several}:\n\n' + table(columns, rows) + _held_out(grid)
    )


def _held_out(grid) -> str:
    """Return the errors of networks that have not seen Burgers' equation, and published ones."""
    known, learned = (_with_published(grid, row) for row in (HYBRID, LEARNED))
    text = ""
    if known:
        text += (
            "\n\nOne network that knows the linear part of each equation, and the time scheme of "
            "the solver that made the data, trained on four families without Burgers' equation, "
            f"one seed (`configs/universal.py:{HYBRID}`): {known}. Published is the hybrid of "
            "ML4PS (2025), trained on the same grid of coefficients."
        )
    if learned:
        text += (
            " With a linear part that is learned too, on their fine grid "
            f"(`:{LEARNED}`): {learned}. Published are their learned networks."
        )
    return text


def _with_published(grid, row: str) -> str:
    """Return a network's errors and those of its published counterpart."""
    other = PUBLISHED[row]
    return ", ".join(
        f"{name} {number(errors[row])} (published {number(errors[other])})"
        for name, errors in grid.items()
        if errors.keys() >= {row, other}
    )


def fewshot() -> str:
    """Return GMean100 on equations unseen by the joint network, by number of trajectories."""
    record = read("fewshot")
    if record is None:
        return ""
    errors = {(r["scenario"], r["row"], r["trajectories"]): r for r in record["rows"]}
    counts = sorted({row["trajectories"] for row in record["rows"]})

    def cell(*key: Any) -> str:
        return number(errors[key]["gmean100"], missing="diverged") if key in errors else ""

    kinds = dict.fromkeys((row["scenario"], row["row"]) for row in record["rows"])
    rows = [[*kind, *(cell(*kind, n) for n in counts)] for kind in kinds]
    return (
        "## An equation that the joint network never saw\n\n"
        "Protocol: GMean100 after training on n trajectories of 50 steps, from the joint "
        "network or from random parameters, with the same updates; ten further trajectories "
        "select the parameters of both.\n"
        f"Command: {source(record)}.\n\n"
        + table(("equation", "start", *(f"n = {n}" for n in counts)), rows)
    )


def by_equation(record: Record) -> str:
    """Return the scenarios with a published network, and our purely learned network's error."""
    published = {r["scenario"]: r["gmean100"] for r in record["rows"] if r["row"] == "published"}
    cells = []
    for scenario, bar in published.items():
        ours = [
            row["gmean100"]
            for row in record["rows"]
            if row["scenario"] == scenario and row["row"] == "universal"
        ]
        if ours:
            name = scenario.replace("_diff_", " ")
            cells.append(f"{name} {number(ours[0])} (published {number(bar)})")
    return ", ".join(cells)


def gains(record: Record) -> str:
    """Return the ratio of errors, from scratch over fine-tuned, with four trajectories."""
    errors = {(r["scenario"], r["row"], r["trajectories"]): r["gmean100"] for r in record["rows"]}
    cells = []
    for name in dict.fromkeys(name for name, _, _ in errors):
        pair = errors.get((name, "scratch", 4)), errors.get((name, "finetuned", 4))
        if pair[0] and pair[1]:
            cells.append(f"{name} {number(pair[0] / pair[1])}")
    return ", ".join(cells)
