"""Figures of ensembles and search show the arrays they were given."""

import numpy as np
import pytest

from ups_jax.report import ensembles, search
from ups_jax.report.style import to_image

TIMES = np.linspace(0, 2, 11)
LEVELS = np.arange(1, 10) / 10


def line(ax, label):
    return next(x for x in ax.lines if str(x.get_label()).startswith(label))


def fronts(m, channels=1):
    """A front, and members that put it elsewhere: (11, 96, c) and (m, 10, 96, c)."""
    rng = np.random.default_rng(0)
    x = (np.arange(96) + 0.5) / 96
    at = 0.3 + 0.2 * TIMES + 0.01 * TIMES * np.append(0, rng.normal(size=m))[:, None]
    field = np.repeat(np.tanh(80 * (at[..., None] - x))[..., None], channels, -1)
    return field[0], field[1:, 1:]


def test_fan_draws_the_members_and_zooms_on_the_front():
    truth, members = fronts(9)
    figure = ensembles.plot_fan(truth, members, times=TIMES, extent=(1.0,), title="a $b$")
    whole, zoom = np.asarray(figure.axes).reshape(2, 3)
    assert [ax.get_title(loc="left") for ax in whole] == ["t = 0.8", "t = 1.4", "t = 2"]
    np.testing.assert_allclose(line(whole[2], "truth").get_ydata(), truth[-1, :, 0])
    mean = line(whole[2], "mean of 9").get_ydata()
    np.testing.assert_allclose(mean, members[:, -1, :, 0].mean(0))
    low, high = zoom[2].get_xlim()
    assert low < 0.7 < high and high - low < 0.1
    band = whole[2].collections[0].get_paths()[0].vertices
    widest = np.ptp(np.quantile(members[:, -1, :, 0], [0.05, 0.95], axis=0), axis=0).max()
    apart = [np.ptp(band[band[:, 0] == x, 1]) for x in np.unique(band[:, 0])]
    assert max(apart) == pytest.approx(widest)
    same = ensembles.plot_fan(truth[1:], members, times=TIMES[1:])
    np.testing.assert_allclose(line(same.axes[2], "truth").get_ydata(), truth[-1, :, 0])


def test_fan_of_several_channels_and_of_a_diverged_member():
    truth, members = fronts(4, channels=2)
    members[1, 5:] = np.inf
    figure = ensembles.plot_fan(truth, members, times=TIMES)
    assert len(figure.axes) == 12
    assert line(figure.axes[0], "mean").get_label() == "mean of 4 (diverged)"
    assert to_image(figure, dpi=40).startswith(b"\x89PNG")


def test_reliability_and_ranks_are_those_of_the_arrays():
    figure = ensembles.plot_reliability({"ensemble": LEVELS**2}, LEVELS)
    np.testing.assert_allclose(line(figure.axes[0], "ensemble").get_ydata(), LEVELS**2)
    shares = {"ensemble": np.array([0.5, 0.1, 0.4]), "mine": np.full(9, 1 / 9)}
    figure = ensembles.plot_rank_histograms(shares | {"ttc": np.full(5, np.nan)})
    heights = [patch.get_height() for patch in figure.axes[0].patches]
    np.testing.assert_allclose(heights, [1.5, 0.3, 1.2])
    assert figure.axes[0].get_title(loc="left") == "ensemble\noutside: 90 % (nominal 66.7 %)"
    np.testing.assert_allclose([p.get_height() for p in figure.axes[1].patches], 1)
    assert len(figure.axes) == 3 and to_image(figure, dpi=40).startswith(b"\x89PNG")


def test_spread_is_binned_by_count_without_values_not_finite():
    spread = np.exp(np.random.default_rng(1).normal(size=1200))
    pairs = np.array([[*spread, np.nan, 0.0], [*(2 * spread), 1.0, 1.0]])
    figure = ensembles.plot_spread_error({"ensemble": pairs, "ttc": np.array([[0.0], [1.0]])})
    (ax,) = figure.axes
    drawn = line(ax, "ensemble")
    assert drawn.get_label() == "ensemble (ratio 0.5)"
    bins = np.sqrt((np.sort(spread).reshape(12, 100) ** 2).mean(1))
    np.testing.assert_allclose(drawn.get_xdata(), bins)
    np.testing.assert_allclose(drawn.get_ydata(), 2 * bins)
    assert ax.get_xlim() == ax.get_ylim() and ax.get_xscale() == ax.get_yscale() == "log"


def test_search_has_four_panels():
    rng = np.random.default_rng(2)
    error = rng.lognormal(size=50)
    cost = {"operator": (np.array([1]), np.array([0.02]))}
    cost |= {"search": (np.array([64, 8]), np.array([0.01, 0.015]))}
    figure = search.plot_search(
        cost,
        reward=-(error**3), error=error, chosen=np.array([0.5, 0.3, 0.2]),
        gains={"operator": np.linspace(0.2, -0.1, 9)}, times=TIMES[2:], correlation=-0.31,
    )  # fmt: skip
    calls, rank, choice, gain = figure.axes
    np.testing.assert_array_equal(line(calls, "search").get_xdata(), [8, 64])
    assert "rank correlation in a state -0.31" in rank.get_title(loc="left")
    np.testing.assert_allclose([p.get_height() for p in choice.patches], [50, 30, 20])
    np.testing.assert_allclose(line(gain, "over operator").get_ydata(), np.linspace(20, -10, 9))
    assert to_image(figure, dpi=40).startswith(b"\x89PNG")
