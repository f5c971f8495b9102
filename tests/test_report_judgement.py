"""Figures a run is judged by: every marker stands where the numbers say."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from ups_jax.leaderboard.gates import check
from ups_jax.report import figures, judgement
from ups_jax.report.style import new_figure

SCALARS = {"err": 0.01, "cover": 0.6, "gap": 2e-3, "gain": -1.0, "drift": 0.5}
CHAMPION = {"err": 0.03, "cover": 0.9, "slow": 7.0}
GATES = {
    "error": {"metric": "err", "most": 0.02},
    "coverage": {"metric": "cover", "least": 0.9},
    "exact": {"metric": "gap", "most": 0.0},
    "useful": {"metric": "gain", "most": 2.0},
    "cost $": {"metric": "slow", "most": 10.0},
}
TIMES = [0.0, 0.5, 1.0]


def rows_of(stage, steps, **columns):
    """Rows of metrics.jsonl; a column is a list, a value of it that is "" is left out."""
    made = []
    for i, step in enumerate(steps):
        row = {key: values[i] for key, values in columns.items() if values[i] != ""}
        made.append({f"{stage}/{key}": value for key, value in ({"step": step} | row).items()})
    return made


SERIES = rows_of(
    "operator",
    [100, 200, 300, 400, 500],
    loss=[1.0, 0.1, 0.2, 0.02, 0.01],
    lr=[1e-3, 8e-4, 6e-4, 3e-4, 0.0],
    grad_norm=[3.0, 2.0, 2.0, 1.0, 1.0],
    steps_per_s=[50.0, 60.0, 30.0, 31.0, 12.0],
    unroll=[1, 1, 2, 2, 4],
    val_nrmse=["", 0.4, "", 0.125, 0.25],
) + rows_of("crps", [50, 100], loss=[0.3, None], unroll=[4, 4], val_crps=["", None])


def marks(ax, label):
    """Where the markers of one label stand: {row: x}."""
    chosen = [x for x in ax.lines if x.get_label() == label]
    return {float(x.get_ydata()[0]): float(x.get_xdata()[0]) for x in chosen}


def texts(ax):
    return [text.get_text() for text in ax.texts]


@pytest.mark.parametrize(
    ("value", "limit", "least", "used"),
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
def test_less_than_the_whole_limit_is_used_exactly_inside_of_it(value, limit, least, used):
    assert judgement.share(value, limit, least=least) == pytest.approx(used)
    assert (used <= 1) == (value >= limit if least else value <= limit)


def test_gates_stand_at_their_share_of_the_limit_beside_the_champion():
    verdicts = check(GATES, SCALARS, CHAMPION)
    chart, table = judgement.gates_figure(verdicts, champion=CHAMPION).axes
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


def test_a_value_on_its_limit_is_on_the_line_whichever_side_is_meant():
    given = {n: {"metric": "drift", n: 0.5} for n in ("most", "least")}
    chart, table = judgement.gates_figure(check(given, SCALARS, None), champion={"drift": 1.0}).axes
    assert marks(chart, "pass") == {0: 1.0, 1: 1.0}
    assert marks(chart, "champion") == {0: 2.0, 1: 0.5}
    assert np.reshape(texts(table), (-1, 5))[1:, 2].tolist() == ["≤ 0.5", "≥ 0.5"]


def test_a_gate_without_a_champion_is_hollow_and_says_so():
    given = {"steady": {"metric": "err", "max_ratio": 1.0}, "error": GATES["error"]}
    verdicts = check(given, SCALARS, None)
    figure = judgement.gates_figure(verdicts, champion={})
    chart, table = figure.axes
    (hollow,) = (x for x in chart.lines if x.get_label() == "no baseline")
    assert (hollow.get_marker(), hollow.get_markerfacecolor()) == ("o", "white")
    assert "no baseline" in texts(table) and "no limit yet" in texts(chart)
    assert figure.get_suptitle() == (
        "1 of 2 gates pass; 1 without a baseline; the tightest, error, by +50 %"
    )
    (legend,) = figure.legends
    assert {text.get_text() for text in legend.get_texts()} == {"no baseline", "pass"}


def test_the_title_names_the_gate_that_is_nearest_to_its_limit():
    given = {"easy": {"metric": "err", "most": 1.0}, "hard": {"metric": "drift", "most": 0.625}}
    figure = judgement.gates_figure(check(given, SCALARS, None), champion={})
    assert figure.get_suptitle() == "2 of 2 gates pass; the tightest, hard, by +20 %"


def test_the_plate_of_gates_tells_their_numbers():
    plate = judgement.gates_report_figure(
        check(GATES, SCALARS, CHAMPION), champion=CHAMPION, dpi=40
    )
    assert plate.name == "gates" and plate.png.startswith(b"\x89PNG")
    assert plate.alt.startswith("3 of 5 gates FAIL: coverage, exact, cost $. error: pass, margin")
    assert "cover is 0.6; it must be at least 0.9." in plate.alt


def test_training_has_a_column_a_stage_and_a_row_a_quantity():
    figure = figures.training(SERIES)
    grid = np.reshape(np.asarray(figure.axes, object), (5, 2))
    names = ["training loss", "learning rate", "gradient norm", "validation error"]
    assert [ax.get_ylabel() for ax in grid[:, 0]] == [*names, "steps per second"]
    assert [ax.get_title(loc="left") for ax in grid[0]] == ["operator", "crps"]
    assert [ax.get_yscale() for ax in grid[:, 0]] == ["log", "linear", "log", "log", "linear"]
    assert [ax.get_xlabel() for ax in grid[:, 1]] == ["", "", "", "", "step"]
    loss = grid[0, 0].lines[-1]
    np.testing.assert_allclose(loss.get_xdata(), [100, 200, 300, 400, 500])
    np.testing.assert_allclose(loss.get_ydata(), [1.0, 0.1, 0.2, 0.02, 0.01])
    assert texts(grid[1, 1]) == texts(grid[4, 1]) == ["not recorded"]


def test_training_marks_what_was_compiled_at_the_step_where_it_begins():
    assert figures.compilations(SERIES, "operator") == [(0, 1), (200, 2), (400, 4)]
    grid = np.reshape(np.asarray(figures.training(SERIES).axes, object), (5, 2))
    for ax in grid[:, 0]:
        dotted = [x for x in ax.lines if len(x.get_xdata()) == 2 and np.ptp(x.get_xdata()) == 0]
        assert [x.get_xdata()[0] for x in dotted] == [0, 200, 400]
        assert not any(x.get_linestyle() == "-" for x in dotted)
    said = {text.get_text(): text.xy[0] for text in grid[0, 0].texts}
    assert said == {"unroll 1": 0, "unroll 2": 200, "unroll 4": 400}
    assert texts(grid[1, 0]) == []


def test_training_stars_the_lowest_validation_and_crosses_what_is_not_finite():
    grid = np.reshape(np.asarray(figures.training(SERIES).axes, object), (5, 2))
    (star,) = (x for ax in grid.flat for x in ax.lines if x.get_marker() == "*")
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (400, 0.125)
    assert grid[3, 0].get_title(loc="right") == "best nRMSE 0.125"
    assert figures.judged(SERIES, "operator") == ("nRMSE", 400, 0.125)
    assert figures.judged(SERIES, "crps") is None
    for ax in (grid[0, 1], grid[3, 1]):
        (cross,) = (x for x in ax.lines if x.get_marker() == "x")
        assert list(cross.get_xdata()) == [100]
        assert "not finite from step 100" in texts(ax)


def test_training_of_several_seeds_has_a_band():
    given = rows_of("operator", [1, 2], loss=[2.0, 1.0], loss_std=[0.5, 0.25])
    (ax,) = figures.training(given).axes
    box = ax.collections[0].get_paths()[0].get_extents()
    assert (box.y0, box.y1) == (0.75, 2.5)


@pytest.mark.parametrize("stages", [1, 3, 5])
def test_tick_labels_of_a_page_do_not_overlap(stages):
    given = []
    for i in range(stages):
        steps = [s * 10**i for s in range(50, 2050, 50)]
        loss = [3e3 / s for s in steps]
        given += rows_of(f"stage{i}", steps, loss=loss, lr=[0.00312] * 40, val_loss=loss)
    figure = figures.training(given)
    figure.set_dpi(110)
    figure.draw_without_rendering()
    assert figure.get_size_inches()[0] <= 10.5
    for ax in figure.axes:
        for axis, low, high in ((ax.xaxis, "x0", "x1"), (ax.yaxis, "y0", "y1")):
            drawn = [text for text in axis.get_ticklabels() if text.get_text()]
            boxes = [text.get_window_extent() for text in drawn if text.get_visible()]
            ends = [(getattr(box, low), getattr(box, high)) for box in boxes]
            assert all(a[1] < b[0] for a, b in zip(ends, ends[1:], strict=False))
            assert len(boxes) >= 2 or axis is ax.xaxis


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [(1e-7, 2e-3, [1e-7, 1e-5, 1e-3]), (0.3, 3.0, [0.5, 1, 2]), (0.41, 0.49, [0.42, 0.45, 0.48])],
)
def test_few_ticks_of_a_log_axis_have_labels(low, high, shown):
    ax = new_figure(4, 3).subplots()
    ax.set_yscale("log")
    ax.set_ylim(low, high)
    figures.log_ticks(ax.yaxis, low, high, most=3)
    np.testing.assert_allclose(ax.get_yticks(), shown)


def test_the_plate_of_training_tells_its_numbers():
    plate = judgement.training_report_figure(SERIES, dpi=40)
    assert plate.name == "training" and plate.png.startswith(b"\x89PNG")
    assert "operator, 500 steps: 1 to 0.01 in loss, best nRMSE 0.125 at step 400" in plate.alt
    assert "31 steps/s (median), compiled for unrolled lengths 1 at step 0, 2 at" in plate.alt
    assert "crps, 100 steps: 0.3 to not a number in loss, compiled" in plate.alt


OWN = {"time": TIMES, "nrmse": [0.01, 0.02], "spectrum": [9.0, 1.0, 0.1]}
OTHER = {"time": TIMES, "nrmse": [0.02, 0.08], "spectrum": [9.0, 2.0, 0.2, 0.02]}


def line(ax, label):
    return next(x for x in ax.lines if str(x.get_label()) == label)


def test_the_champion_is_drawn_beside_the_run():
    own = OWN | {"truth_spectrum": [9.0, 1.5, 0.15]}
    figure = judgement.champion_figure(own, OTHER, names=("mine", "champion a"))
    left, right = figure.axes
    np.testing.assert_allclose(line(left, "this run: mine").get_xdata(), [0.5, 1.0])
    np.testing.assert_allclose(line(left, "champion a").get_ydata(), [0.02, 0.08])
    np.testing.assert_allclose(line(right, "champion a").get_xdata(), [1, 2, 3])
    np.testing.assert_allclose(line(right, "this run: mine").get_ydata(), [1.0, 0.1])
    np.testing.assert_allclose(line(right, "truth").get_ydata(), [1.5, 0.15])
    assert left.get_yscale() == right.get_xscale() == right.get_yscale() == "log"
    assert left.get_xlabel() == "time t (dimensionless)" and "wavenumber" in right.get_xlabel()
    assert line(left, "champion a").get_linestyle() != line(left, "this run: mine").get_linestyle()


@pytest.mark.parametrize(
    ("own", "other", "said"),
    [
        (OWN, OTHER, "At t = 1 the nRMSE of mine, 0.02, is 75 % below that of best, 0.08"),
        (OTHER, OWN, "At t = 1 the nRMSE of best, 0.02, is 75 % below that of mine, 0.08"),
        (OWN, OWN, "At t = 1 both have an nRMSE of 0.02"),
        (
            OWN,
            {"time": [0.25, 0.5], "nrmse": [0.02, 0.04]},
            "At t = 0.5 the nRMSE of mine, 0.01, is 75 % below that of best, 0.04",
        ),
        (OWN | {"nrmse": [0.01, None]}, OTHER, "At t = 1 the error of mine is not finite"),
        (OWN, {"spectrum": [1.0]}, "mine beside best: no time at which both errors are known"),
        (OWN, {"time": [7], "nrmse": [1]}, "mine beside best: no time at which both errors"),
        ({}, {}, "mine beside best: no time at which both errors are known"),
    ],
)
def test_who_is_better_is_said_in_a_sentence(own, other, said):
    plate = judgement.champion_report_figure(own, other, names=("mine", "best"), dpi=30)
    assert said in plate.alt and said in plate.caption and plate.png.startswith(b"\x89PNG")
