"""Animations of two-dimensional examples, names of channels, colours of vorticity."""

import io
from dataclasses import replace

import numpy as np
from PIL import Image
from test_report import TIMES, make

from ups_jax.report import ReportData, plot_forecast
from ups_jax.report.animation import FRAMES, animate_forecast, example_animations
from ups_jax.report.fields import VORTICITY_COLORS, layers_of


def examples(channels=2):
    """An evaluation of three two-dimensional examples of equal fields."""
    evaluation = make(2)
    fields = {
        name: np.repeat(np.repeat(u, 3, 0)[:, :, ::2, ::2], channels, -1)
        for name, u in evaluation.examples.items()
    }
    labels = ("median sample (4)", "best sample (1)", "worst sample (9)")
    return replace(evaluation, examples=fields, labels=labels)


def test_median_and_worst_example_are_animated():
    data = ReportData(examples(), extent=(1.0, 1.0), channels=("u", "v"))
    drawn = list(example_animations(data))
    assert [figure.name for figure in drawn] == ["animation_0", "animation_2"]
    content = drawn[1].figure
    assert isinstance(content, bytes) and "worst sample (9)" in drawn[1].caption
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "GIF" and image.n_frames == FRAMES
        assert len(content) < 1e6 and image.info["loop"] == 0
        frames = []
        for i in (0, FRAMES - 1):
            image.seek(i)
            frames.append(np.asarray(image.convert("RGB"), float))
    assert np.abs(frames[1] - frames[0]).mean() > 5


def test_one_dimension_and_runs_without_examples_have_no_animation():
    assert not list(example_animations(ReportData(make(1))))
    assert not list(example_animations(ReportData(examples(), selected="hybrid")))


def test_a_diverged_forecast_is_animated_in_grey():
    truth = np.random.default_rng(0).normal(size=(3, 8, 8, 1))
    prediction = truth.copy()
    prediction[1:] = np.nan
    content = animate_forecast(truth, prediction, times=np.arange(3.0))
    with Image.open(io.BytesIO(content)) as image:
        assert image.n_frames == 3
        image.seek(2)
        colours = np.asarray(image.convert("RGB")).reshape(-1, 3)
    assert np.mean(np.ptp(colours.astype(int), axis=1) < 6) > 0.4


def test_channels_have_names_and_vorticity_a_scale_about_zero():
    truth = examples().examples["truth"][0, 1:]
    figure = plot_forecast(truth, truth, times=TIMES[1:], channels=("height", "momentum"))
    assert [f.get_suptitle() for f in figure.subfigs] == ["height", "momentum"]
    field = np.linspace(-1, 3, 32).reshape(2, 4, 4)
    layer, *_ = layers_of(field, field, "vorticity")
    assert layer.limits == (-3.0, 3.0) and layer.colors is VORTICITY_COLORS
    assert layers_of(field, field, "u")[0].limits == (-1.0, 3.0)
