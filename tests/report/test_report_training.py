"""Figure of the training: series, compilations, the best validation, values not finite."""

import numpy as np
import pytest

from ups_jax import metrics
from ups_jax.report import ReportData, training
from ups_jax.report.style import log_ticks, new_figure


def rows_of(stage, steps, **columns):
    """Rows of metrics.jsonl; a column is a list, its values "" are left out."""
    rows = []
    for i, step in enumerate(steps):
        row = {key: values[i] for key, values in columns.items() if values[i] != ""}
        rows.append({f"{stage}/{key}": value for key, value in ({"step": step} | row).items()})
    return rows


SERIES = rows_of(
    "operator",
    [100, 200, 300, 400, 500],
    loss=[1.0, 0.1, 0.2, 0.02, 0.01],
    lr=[1e-3, 8e-4, 6e-4, 3e-4, 0.0],
    grad_norm=[3.0, 2.0, 2.0, 1.0, 1.0],
    steps_per_s=[50.0, 60.0, 30.0, 31.0, 12.0],
    unroll=[1, 1, 2, 2, 4],
    val_nrmse=["", 0.4, "", 0.125, 0.25],
) + rows_of("ensemble", [50, 100], loss=[0.3, None], unroll=[4, 4], val_crps=["", None])


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_training_has_a_column_a_stage_and_a_row_a_quantity():
    figure = training.plot_training(SERIES)
    grid = np.reshape(np.asarray(figure.axes, object), (5, 2))
    names = ["training loss", "learning rate", "gradient norm", "validation error"]
    assert [ax.get_ylabel() for ax in grid[:, 0]] == [*names, "steps per second"]
    assert [ax.get_title(loc="left") for ax in grid[0]] == ["operator", "ensemble"]
    assert [ax.get_yscale() for ax in grid[:, 0]] == ["log", "linear", "log", "log", "linear"]
    assert [ax.get_xlabel() for ax in grid[:, 1]] == ["", "", "", "", "step"]
    loss = grid[0, 0].lines[-1]
    np.testing.assert_allclose(loss.get_xdata(), [100, 200, 300, 400, 500])
    np.testing.assert_allclose(loss.get_ydata(), [1.0, 0.1, 0.2, 0.02, 0.01])
    assert texts(grid[1, 1]) == texts(grid[4, 1]) == ["not recorded"]


def test_training_marks_compilations_at_their_first_step():
    assert training.compilations(SERIES, "operator") == [(0, 1), (200, 2), (400, 4)]
    grid = np.reshape(np.asarray(training.plot_training(SERIES).axes, object), (5, 2))
    for ax in grid[:, 0]:
        dotted = [x for x in ax.lines if len(x.get_xdata()) == 2 and np.ptp(x.get_xdata()) == 0]
        assert [x.get_xdata()[0] for x in dotted] == [0, 200, 400]
        assert not any(x.get_linestyle() == "-" for x in dotted)
    labels = {text.get_text(): text.xy[0] for text in grid[0, 0].texts}
    assert labels == {"unroll 1": 0, "unroll 2": 200, "unroll 4": 400}
    assert texts(grid[1, 0]) == []


def test_training_stars_the_best_validation_and_crosses_values_not_finite():
    grid = np.reshape(np.asarray(training.plot_training(SERIES).axes, object), (5, 2))
    (star,) = (x for ax in grid.flat for x in ax.lines if x.get_marker() == "*")
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (400, 0.125)
    assert grid[3, 0].get_title(loc="right") == "best nRMSE 0.125"
    assert training.best_validation(SERIES, "operator") == ("nRMSE", 400, 0.125)
    assert training.best_validation(SERIES, "ensemble") is None
    for ax in (grid[0, 1], grid[3, 1]):
        (cross,) = (x for x in ax.lines if x.get_marker() == "x")
        assert list(cross.get_xdata()) == [100]
        assert "not finite from step 100" in texts(ax)


def test_the_metric_defines_the_best_validation(monkeypatch):
    series = rows_of("operator", [1, 2, 3], val_skill=[0.5, 0.9, 0.7], val_skill_std=[0.0] * 3)
    assert training.best_validation(series, "operator") == ("skill", 1, 0.5)
    skill = metrics.Metric(metrics.nrmse, np.mean, higher_is_better=True, label="Skill")
    monkeypatch.setitem(metrics.METRICS, "skill", skill)
    assert training.best_validation(series, "operator") == ("Skill", 2, 0.9)


def test_training_of_several_seeds_has_a_band():
    given = rows_of("operator", [1, 2], loss=[2.0, 1.0], loss_std=[0.5, 0.25])
    (ax,) = training.plot_training(given).axes
    box = ax.collections[0].get_paths()[0].get_extents()
    assert (box.y0, box.y1) == (0.75, 2.5)


@pytest.mark.parametrize("stages", [1, 3, 5])
def test_tick_labels_of_a_page_do_not_overlap(stages):
    given = []
    for i in range(stages):
        steps = [s * 10**i for s in range(50, 2050, 50)]
        loss = [3e3 / s for s in steps]
        given += rows_of(f"stage{i}", steps, loss=loss, lr=[0.00312] * 40, val_loss=loss)
    figure = training.plot_training(given)
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
    log_ticks(ax.yaxis, low, high, most=3)
    np.testing.assert_allclose(ax.get_yticks(), shown)


def test_the_alternative_text_has_the_numbers_of_the_training():
    figure = training.training(ReportData(None, series=SERIES))
    assert figure.name == "training"
    assert "operator, 500 steps: 1 to 0.01 in loss, best nRMSE 0.125 at step 400" in figure.alt
    assert "31 steps/s (median), compiled for unrolled lengths 1 at step 0, 2 at" in figure.alt
    assert "ensemble, 100 steps: 0.3 to not a number in loss, compiled" in figure.alt
    assert training.training(ReportData(None)) is None
