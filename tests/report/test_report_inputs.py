"""Static inputs of examples: the fields that were given, with their names."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from test_report import make

import ups_jax as ups
from ups_jax.report import ReportData
from ups_jax.report.inputs import plot_static, static_inputs


@pytest.mark.parametrize("ndim", [1, 2])
def test_each_example_has_a_figure_of_its_static_inputs(ndim):
    evaluation = make(ndim)
    assert not list(static_inputs(ReportData(evaluation)))
    fields = np.random.default_rng(0).normal(size=(3, *(16, 8)[:ndim], 2))
    labels = ["median sample (4)", "best sample (1)", "worst sample (9)"]
    shown = replace(evaluation, examples=evaluation.examples | {"static": fields}, labels=labels)
    data = ReportData(shown, extent=(2.0, 1.0)[:ndim], static=("mask", "a"))
    drawn = list(static_inputs(data))
    assert [figure.name for figure in drawn] == ["static_0", "static_1", "static_2"]
    assert "worst sample (9): mask, a" in drawn[2].alt
    axes = drawn[1].figure.axes
    assert [ax.get_title(loc="left") for ax in axes[:2]] == ["mask", "a"]
    for k, ax in enumerate(axes[:2]):
        found = ax.images[0].get_array().T if ndim == 2 else ax.lines[0].get_ydata()
        np.testing.assert_array_equal(found, fields[1, ..., k])


def test_static_channels_of_the_data_reach_the_report():
    u = np.random.default_rng(1).normal(size=(4, 5, 8, 2)).astype(np.float32)
    u[..., 1] = u[:, :1, :, 1]
    data = ups.Trajectories(u, channels=("u", "a"), static=("a",))
    emulator = ups.Emulator(data, ups.OPERATORS["resnet"], width=4, blocks=1, dilations=(1,))
    params = ups.init(emulator, jax.random.key(0))
    report = ups.evaluate(emulator, params, data, forecasters=("operator",), num_figures=2)
    np.testing.assert_array_equal(report.examples["static"][..., 0], u[report.chosen, 0, :, 1])
    assert plot_static(report.examples["static"][0]).axes[0].get_title(loc="left") == "channel 0"
