"""Figure of the comparison with the champion."""

import numpy as np
import pytest

from ups_jax.report import ReportData, champion

TIMES = [0.0, 0.5, 1.0]
RUN = {"time": TIMES, "nrmse": [0.01, 0.02], "spectrum": [9.0, 1.0, 0.1]}
CHAMPION = {"time": TIMES, "nrmse": [0.02, 0.08], "spectrum": [9.0, 2.0, 0.2, 0.02]}


def line(ax, label):
    return next(x for x in ax.lines if str(x.get_label()) == label)


def test_the_run_and_the_champion_are_drawn():
    run = RUN | {"truth_spectrum": [9.0, 1.5, 0.15]}
    figure = champion.plot_champion(run, CHAMPION, names=("mine", "champion a"))
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
    ("run", "other", "result"),
    [
        (
            RUN,
            CHAMPION,
            "At t = 1 the nRMSE of mine, 0.02, is 75 % below that of champion best, 0.08",
        ),
        (
            CHAMPION,
            RUN,
            "At t = 1 the nRMSE of champion best, 0.02, is 75 % below that of mine, 0.08",
        ),
        (RUN, RUN, "At t = 1 both have an nRMSE of 0.02"),
        (
            RUN,
            {"time": [0.25, 0.5], "nrmse": [0.02, 0.04]},
            "At t = 0.5 the nRMSE of mine, 0.01, is 75 % below that of champion best, 0.04",
        ),
        (RUN | {"nrmse": [0.01, None]}, CHAMPION, "At t = 1 the error of mine is not finite"),
        (
            RUN,
            {"spectrum": [1.0]},
            "mine and champion best: no time at which both errors are known",
        ),
        (RUN, {"time": [7], "nrmse": [1]}, "mine and champion best: no time at which both errors"),
        ({}, {}, "mine and champion best: no time at which both errors are known"),
    ],
)
def test_the_errors_are_compared_in_a_sentence(run, other, result):
    row, best = {"name": "mine", "curves": run}, {"id": "7", "name": "best", "curves": other}
    figure = champion.champion(ReportData(None, row=row, champion=best))
    assert result in figure.alt and result in figure.caption


def test_a_run_without_a_champion_has_no_comparison():
    assert champion.champion(ReportData(None, row={"name": "mine", "curves": RUN})) is None
