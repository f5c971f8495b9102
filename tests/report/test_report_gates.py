"""Figure of the gates: every marker is at its value's share of the limit."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from ups_jax.leaderboard.gates import check
from ups_jax.report import ReportData, gates

SCALARS = {"err": 0.01, "cover": 0.6, "gap": 2e-3, "gain": -1.0, "drift": 0.5}
CHAMPION = {"err": 0.03, "cover": 0.9, "slow": 7.0}
GATES = {
    "error": {"metric": "err", "max": 0.02},
    "coverage": {"metric": "cover", "min": 0.9},
    "exact": {"metric": "gap", "max": 0.0},
    "useful": {"metric": "gain", "max": 2.0},
    "cost $": {"metric": "slow", "max": 10.0},
}


def marks(ax, label):
    """Positions of the markers of one label: {row: x}."""
    chosen = [x for x in ax.lines if x.get_label() == label]
    return {float(x.get_ydata()[0]): float(x.get_xdata()[0]) for x in chosen}


def texts(ax):
    return [text.get_text() for text in ax.texts]


@pytest.mark.parametrize(
    ("value", "limit", "minimum", "used"),
    [
        (0.5, 2.0, False, 0.25),
        (0.5, 2.0, True, 4.0),
        (-2.0, -1.0, False, 0.5),
        (-2.0, -1.0, True, 2.0),
        (0.0, 0.0, False, 1.0),
        (3.0, 3.0, True, 1.0),
        (0.1, 0.0, False, np.inf),
        (0.1, 0.0, True, 0.0),
        (0.0, 1.0, False, 0.0),
        (0.0, 1.0, True, np.inf),
        (-1.0, 1.0, True, np.inf),
        (1e-200, 1e-300, False, 1e100),
    ],
)
def test_the_used_share_is_at_most_one_exactly_inside_the_limit(value, limit, minimum, used):
    assert gates.limit_share(value, limit, minimum=minimum) == pytest.approx(used)
    assert (used <= 1) == (value >= limit if minimum else value <= limit)


def test_gates_are_drawn_at_their_share_of_the_limit_with_the_champion():
    verdicts = check(GATES, SCALARS, CHAMPION)
    chart, table = gates.plot_gates(verdicts, champion=CHAMPION).axes
    low, high = chart.get_xlim()
    assert marks(chart, "pass") == {0: pytest.approx(0.5), 3: low}
    assert marks(chart, "fail") == {1: pytest.approx(1.5), 2: high, 4: high}
    assert marks(chart, "champion") == pytest.approx({0: 1.5, 1: 1.0, 4: 0.7})
    shapes = {x.get_label(): (x.get_marker(), to_hex(x.get_markerfacecolor())) for x in chart.lines}
    assert shapes["pass"][0] == "o" and shapes["fail"][0] == "x"
    assert [x.get_markerfacecolor() for x in chart.lines if x.get_marker() == "D"] == ["none"] * 3
    assert chart.get_xscale() == "log" and low < 1 < high
    assert texts(chart) == ["limit", "", "", "off the scale", "off the scale", "no share known"]
    cells = np.reshape(texts(table), (-1, 5)).tolist()
    assert cells[0] == ["", "value", "limit", "margin", "champion"]
    assert cells[1] == ["pass", "0.01", "≤ 0.02", "+50 %", "0.03"]
    assert cells[2] == ["FAIL", "0.6", "≥ 0.9", "-33.3 %", "0.9"]
    assert cells[3] == ["FAIL", "0.002", "≤ 0", "-0.002", "–"]
    assert cells[5] == ["FAIL", "–", "≤ 10", "–", "7"]
    assert chart.get_yticklabels()[4].get_text() == "cost \\$\nslow"


def test_a_value_at_its_limit_is_on_the_line_for_both_kinds_of_limit():
    config = {n: {"metric": "drift", n: 0.5} for n in ("max", "min")}
    chart, table = gates.plot_gates(check(config, SCALARS, None), champion={"drift": 1.0}).axes
    assert marks(chart, "pass") == {0: 1.0, 1: 1.0}
    assert marks(chart, "champion") == {0: 2.0, 1: 0.5}
    assert np.reshape(texts(table), (-1, 5))[1:, 2].tolist() == ["≤ 0.5", "≥ 0.5"]


def test_a_gate_without_a_champion_has_a_hollow_marker_and_a_note():
    config = {"steady": {"metric": "err", "max_ratio": 1.0}, "error": GATES["error"]}
    verdicts = check(config, SCALARS, None)
    figure = gates.plot_gates(verdicts, champion={})
    chart, table = figure.axes
    (hollow,) = (x for x in chart.lines if x.get_label() == "no baseline")
    assert (hollow.get_marker(), hollow.get_markerfacecolor()) == ("o", "white")
    assert "no baseline" in texts(table) and "no limit yet" in texts(chart)
    assert figure.get_suptitle() == (
        "1 of 2 gates pass; 1 without a baseline; the tightest, error, by +50 %"
    )
    (legend,) = figure.legends
    assert {text.get_text() for text in legend.get_texts()} == {"no baseline", "pass"}


def test_the_title_names_the_gate_with_the_smallest_margin():
    config = {"easy": {"metric": "err", "max": 1.0}, "hard": {"metric": "drift", "max": 0.625}}
    figure = gates.plot_gates(check(config, SCALARS, None), champion={})
    assert figure.get_suptitle() == "2 of 2 gates pass; the tightest, hard, by +20 %"


def test_the_alternative_text_has_the_numbers_of_the_gates():
    champion = {"metrics": CHAMPION}
    data = ReportData(None, gates=check(GATES, SCALARS, CHAMPION), champion=champion)
    figure = gates.gates(data)
    assert figure.name == "gates"
    assert figure.alt.startswith("3 of 5 gates FAIL: coverage, exact, cost $. error: pass, margin")
    assert "cover is 0.6; it must be at least 0.9." in figure.alt
    assert gates.gates(ReportData(None)) is None
