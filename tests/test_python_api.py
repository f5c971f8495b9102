"""The library in Python: short descriptions, tables, plots, films, interrupts, event loops."""

import asyncio
import builtins
import dataclasses

import jax
import numpy as np
import pytest
from PIL import Image

import ups_jax as ups
from runs import ROOT


@pytest.fixture(scope="module")
def task():
    """An emulator, its initial parameters, and splits."""
    pde = ups.PDES["advection"](points=16, cells=16)
    emulator = ups.Emulator(pde, ups.OPERATORS["resnet"], width=4, blocks=1)
    splits = ups.simulate_splits(pde, train=8, val=2, test=2, steps=4)
    return emulator, ups.init(emulator, jax.random.key(0)), splits


@pytest.fixture(scope="module")
def report(task):
    emulator, params, splits = task
    return ups.evaluate(emulator, params, splits.test, forecasters=("mean", "operator"))


def test_descriptions_are_short_and_name_what_counts(task, report):
    emulator, params, splits = task
    out = ups.forecast(
        emulator, params, splits.test.u[:, 0], splits.test.cond, jax.random.key(0),
        steps=2, forecaster="operator",
    )  # fmt: skip
    config = ups.load_config("burgers:smoke", {"pde.points": 32})
    assert "data 128 train, 32 val, 32 test of 40 steps; stages operator, control" in repr(config)
    assert "pde.points=32\n" in str(config) and "!!python" not in str(config)
    parts = "Trajectories(8 of 5 frames on 16 points, channels u; params vx; dt 0.05, "
    for value, words in [
        (splits.train, parts),
        (emulator, "Emulator(resnet width=4 blocks=1"),
        (emulator.pde, "PDE('advection', points=16, "),
        (ups.Recipe(steps=600, batch=8), "Recipe(steps=600, batch=8)"),
        (out, "Forecast(u (2, 2, 16, 1))"),
        (config, "Config(burgers:smoke; pde burgers points=32; operator resnet width=16 "),
    ]:
        text = repr(value)
        assert text.startswith(words) and "\n" not in text and len(text) < 300, text
    assert repr(report) == report.table() and "operator" in repr(report)


def test_public_names_are_complete_sorted_and_load():
    names = dir(ups)
    assert names == sorted(names) and set(ups.__all__) | {"__doc__"} == set(names)
    assert all(getattr(ups, name) is not None for name in names)
    assert f"version: {ups.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_a_report_is_a_table_of_pandas(report, monkeypatch):
    frame = report.to_pandas()
    assert list(frame.columns) == report.columns and len(frame) == len(report.rows)
    row = frame[(frame.forecaster == "operator") & (frame.protocol == "p1")]
    assert row.nrmse.item() == report.scalars["eval/operator/nrmse"]
    real = builtins.__import__

    def without_pandas(name, *args, **options):
        if name == "pandas":
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without_pandas)
    with pytest.raises(ImportError, match="pip install pandas"):
        report.to_pandas()


def fields(*points, channels=1):
    u = np.random.default_rng(0).normal(size=(4, 5, *points, channels)).astype(np.float32)
    return ups.Trajectories(u, dt=0.5, extent=tuple(float(n) for n in points))


def test_plots_have_a_panel_a_channel_and_sample(report):
    figure = ups.plot(fields(8, channels=2), samples=3)
    images = [ax.images[0] for ax in figure.axes if ax.images]
    assert len(images) == 6
    np.testing.assert_array_equal(images[1].get_array(), fields(8, channels=2).u[1, ..., 0].T)
    figure = ups.plot(fields(8, 6), samples=2)
    assert [ax.get_title() for ax in figure.axes[:2]] == ["t = 0", "t = 2"]
    figure = ups.plot(report)
    assert figure.axes[0].get_yscale() == "log"
    assert vars(figure)["_repr_png_"]().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="no curves of the nRMSE"):
        ups.plot(ups.Report({}, (), {}, (), (), np.zeros(0)))
    with pytest.raises(ValueError, match=r"got ndarray of shape \(4, 5, 8, 1\); expected a report"):
        ups.plot(fields(8).u)
    with pytest.raises(ValueError, match="wrap fields"):
        ups.animate(fields(8).u, "film.gif")


@pytest.mark.parametrize("points", [(8,), (8, 6)])
def test_a_film_has_one_picture_a_frame(points, tmp_path):
    data = fields(*points)
    path = ups.animate({"truth": data.u[0], "operator": data.u[1]}, tmp_path / "two.gif")
    for film in (path, ups.animate(data, tmp_path / "one.gif", sample=2)):
        with Image.open(film) as image:
            assert image.n_frames == 5
    with pytest.raises(ValueError, match="name a file that ends in .gif"):
        ups.animate(data, tmp_path / "film.mp4")
    with pytest.raises(ValueError, match="expected equal"):
        ups.animate({"a": data.u[0], "b": data.u[0, 1:]}, tmp_path / "c.gif")


def test_an_interrupt_returns_the_best_parameters_so_far(task, capsys):
    emulator, params, splits = task
    recipe = ups.Recipe(steps=40, batch=4, warmup=2, unroll=(1,), steps_per_call=10, val_every=20)
    options = dict(key=jax.random.key(3), params=params, progress=False)

    def until(last):
        def on_log(step, row):
            if step == last:
                raise KeyboardInterrupt

        return ups.Hooks(on_log=on_log)

    found = ups.train(emulator, splits.train, splits.val, recipe, **options, hooks=until(30))
    assert (
        "interrupted: operator has the parameters of step 20, val_nrmse" in capsys.readouterr().err
    )
    changed = jax.tree.map(lambda a, b: bool(np.any(a != b)), found["operator"], params["operator"])
    assert any(jax.tree.leaves(changed)) and found["stats"] is params["stats"]
    found = ups.train(emulator, splits.train, splits.val, recipe, **options, hooks=until(10))
    assert "the parameters of step 10, not validated" in capsys.readouterr().err
    short = dataclasses.replace(recipe, steps=10, val_every=10, schedule="constant")
    recipe = dataclasses.replace(recipe, schedule="constant")
    runs = [(recipe, until(10)), (short, ups.Hooks())]
    early, whole = (
        ups.train(emulator, splits.train, splits.val, spec, **options, hooks=hooks)
        for spec, hooks in runs
    )
    jax.tree.map(np.testing.assert_array_equal, early, whole)

    def on_compile(step):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hooks = ups.Hooks(on_compile=on_compile)
        ups.train(emulator, splits.train, splits.val, recipe, **options, hooks=hooks)


def test_a_number_is_a_seed(task):
    emulator, params, splits = task
    jax.tree.map(np.testing.assert_array_equal, ups.init(emulator, 0), params)
    recipe = ups.Recipe(steps=2, batch=2, warmup=1, unroll=(1,), steps_per_call=2, val_every=2)
    options = dict(params=params, progress=False)
    runs = [
        ups.train(emulator, splits.train, splits.val, recipe, key=key, **options)
        for key in (3, np.int64(3), jax.random.key(3))
    ]
    for other in runs[1:]:
        jax.tree.map(np.testing.assert_array_equal, runs[0], other)
    for key, got in [("a", "'a'"), (jax.random.PRNGKey(0), "an array of uint32"), (0.5, "0.5")]:
        with pytest.raises(ValueError, match=f"key is {got}; give a seed such as 0"):
            ups.train(emulator, splits.train, splits.val, recipe, key=key, **options)


def test_saving_and_loading_work_inside_an_event_loop(task, tmp_path):
    """A notebook's cells run in one."""
    emulator, params, _ = task

    async def cell():
        return ups.load(ups.save(tmp_path / "saved", emulator, params))[1]

    jax.tree.map(np.testing.assert_array_equal, asyncio.run(cell()), params)
