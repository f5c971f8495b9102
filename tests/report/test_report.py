"""The report: figures draw the given arrays; the page is safe, complete and true."""

import json
import re
import runpy
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from matplotlib.colors import to_hex

from ups_jax.evaluate import Report
from ups_jax.evaluate.beam_search import SearchAnalysis
from ups_jax.evaluate.ensembles import Ensembles
from ups_jax.report import (
    FIGURES,
    ReportData,
    Table,
    page,
    plot_forecast,
    redraw,
    write_report,
)
from ups_jax.report.curves import error_over_time, percentiles, plot_errors, plot_laws, plot_spectra
from ups_jax.report.fields import nrmse, plot_profiles
from ups_jax.report.stored import load_values
from ups_jax.report.style import LINE_STYLES, line_styles
from ups_jax.report.verdict import forecast_verdict
from ups_jax.types import GateVerdict

TIMES = np.linspace(0, 2, 41)
ERRORS = {"operator": 0.012, "solver": 0.013, "persistence": 1.4, "mean": 0.42}
SHAPE = {1: (64,), 2: (24, 32)}


@dataclass(frozen=True)
class Evaluation:
    """The fields of an `evaluate.Report` that the report reads, without an evaluation."""

    scalars: dict
    curves: dict
    examples: dict
    times: np.ndarray = field(default_factory=lambda: TIMES)
    labels: tuple = ("median sample (id <417>)",)
    columns: tuple = ("forecaster", "nrmse", "nrmse p90", "ms")
    rows: tuple = (("operator", 0.01376, 0.0229, 1.2), ("mean", 0.425, float("nan"), None))
    physics_columns: tuple = ("forecaster", "conservation_gap")
    physics_rows: tuple = (("truth", 4e-8), ("operator", 2.3e-4), ("mean", 0.0))
    protocol: str = "p1"
    example_times = Report.example_times

    def short_table(self):
        return self.columns[:2], [row[:2] for row in self.rows]


def waves(ndim, m, seed=0):
    """Steepening, decaying waves: (m, t+1, *s, 1)."""
    rng = np.random.default_rng(seed)
    grids = np.meshgrid(*(np.arange(n) / n for n in SHAPE[ndim]), indexing="ij")
    t = TIMES.reshape(-1, *[1] * ndim)
    trajectories = []
    for _ in range(m):
        phase, speed, amp = rng.uniform(0, 1), rng.uniform(0.1, 0.6), rng.uniform(0.6, 1.2)
        s = (sum(grids) + phase - speed * t) % 1.0 - 0.5
        sharp = 2 + 30 * np.minimum(t, 0.7)
        trajectories.append(amp * (-2 * s + np.tanh(sharp * s)) * np.exp(-0.4 * t) + 0.1)
    return np.stack(trajectories)[..., None]


def make(ndim=1, n=60, diverged=False):
    """A realistic evaluation: an operator near the solver, two trivial predictors, a truth."""
    rng = np.random.default_rng(1)
    curves, decay = {}, 1 - np.exp(-0.8 * TIMES)
    for mode, level in ERRORS.items():
        grow = level * (1 + TIMES[1:]) / 2
        curves[f"{mode}/nrmse"] = grow * rng.lognormal(0, 0.45, (n, 1)) * np.ones(40)
        curves[f"{mode}/p10/nrmse"] = 0.8 * curves[f"{mode}/nrmse"][:, 9:]
    k = np.arange(129.0)
    base = 0.05 / (1 + k**2) * np.exp(-k / 40)
    ripple = 1 + 0.2 * np.sin(k / 5)
    curves |= {"truth/spectrum": base, "operator/spectrum": base * ripple + 1e-9}
    curves |= {"solver/spectrum": base * np.exp(-((k / 90) ** 4)), "mean/spectrum": 1e-20 * base}
    curves |= {"persistence/spectrum": 0.3 * np.exp(-k) + 1e-15}
    bands = np.array([0.6, 1.0, 1.5])[:, None]
    for mode, drift in {"truth": 1e-7, "operator": 2e-3, "solver": 1e-7}.items():
        curves[f"{mode}/law/mass"] = drift * bands * TIMES
        curves[f"{mode}/law/energy"] = -(0.3 + 20 * drift) * bands * decay
    curves["mean/law/mass"] = 0 * bands * TIMES
    curves["mean/law/energy"] = np.where(TIMES > 0, -0.4, 0) * bands
    if diverged:
        curves["ensemble/nrmse"] = np.full((n, 40), 0.5)
        curves["ensemble/nrmse"][: n * 3 // 4, 20:] = np.nan
        curves["ttc/nrmse"] = np.full((n, 40), 0.3)
        curves["ttc/nrmse"][:2, 5:] = np.inf
        curves["hybrid/nrmse"] = np.full((n, 40), np.nan)
        curves["ensemble/spectrum"] = np.full(129, np.nan)
        curves["ensemble/law/mass"] = np.where(TIMES < 1, 10.0 ** (6 * TIMES), np.inf) * bands
    truth = waves(ndim, 1)
    noise = 0.03 * np.roll(np.gradient(truth, axis=2), 1, axis=2)
    examples = {"truth": truth, "operator": (truth + noise)[:, 1:]}
    examples["solver"] = (truth - 0.5 * noise)[:, 1:]
    scalars = {f"eval/{m}/nrmse": v for m, v in ERRORS.items()}
    scalars |= {"eval/operator/p10/nrmse": 0.0101}
    return Evaluation(scalars=scalars, curves=curves, examples=examples)


def history(stages=("operator",)):
    rows = []
    for stage in stages:
        for step in range(50, 4001, 50):
            row = {"step": step, "loss": 0.3 / step**0.7 * (1 + 0.1 * np.sin(step)), "lr": 1e-3}
            row |= {"grad_norm": 5 / step**0.5, "unroll": 1 + (step > 2500) + 2 * (step > 3300)}
            row["lr"] *= min(step / 400, (4050 - step) / 3650)
            if step % 400 == 0:
                row["val_nrmse"] = 0.02 + 8 / step
            rows.append({f"{stage}/{key}": value for key, value in row.items()})
    return rows


def write(folder, evaluation, *, series=None, extent=None, dpi=40, **changes):
    series = history() if series is None else series
    values = dict(
        title="burgers <golden> & co", config={"pde": {"name": "<b>burgers</b>"}},
        facts=[("protocol", "P1 and P10 at 256 points"), ("data", 'regenerated "x" <script>')],
        tables=[Table("Stage Summary", ["stage", "steps"], [["operator", 4000]])],
    )  # fmt: skip
    data = ReportData(evaluation, series=series, extent=extent)
    return write_report(folder, data, dpi=dpi, **(values | changes))


def line(ax, label):
    return next(x for x in ax.lines if str(x.get_label()).startswith(label))


def test_error_figure_plots_the_percentiles_at_the_scored_times():
    curves = make().curves
    p1, p10 = plot_errors(curves, TIMES).axes
    for ax, key, times in ((p1, "solver/nrmse", TIMES[1:]), (p10, "solver/p10/nrmse", TIMES[10:])):
        np.testing.assert_allclose(line(ax, "solver").get_xdata(), times)
        np.testing.assert_allclose(line(ax, "solver").get_ydata(), np.median(curves[key], axis=0))
        band = ax.collections[1].get_paths()[0].get_extents()
        assert band.y0 == pytest.approx(np.quantile(curves[key], 0.1, axis=0).min())
        assert band.y1 == pytest.approx(np.quantile(curves[key], 0.9, axis=0).max())
        assert ax.get_yscale() == "log"
    assert len(plot_errors({"mean/nrmse": np.ones((3, 40))}, TIMES).axes) == 1


def test_ensembles_and_search_are_in_the_error_figure_with_their_samples():
    """On the first samples; the selected one, which ran on all, keeps its own curve."""
    few = {m: np.full((5, 40), v) for m, v in (("ensemble", 0.3), ("student", 0.2), ("ttc", 0.1))}
    curves = {f"{m}/nrmse": e for m, e in few.items() if m != "ttc"}
    evaluation = make()
    evaluation.curves["student/nrmse"] = np.full((60, 40), 0.25)
    made = Ensembles({}, [], [], curves, {}, 3)
    search = SearchAnalysis({}, [], [], "", {"ttc": few["ttc"]})
    figure = error_over_time(ReportData(evaluation, ensembles=made, search=search))
    ax = figure.figure.axes[0]
    for label, value in (
        ("ensemble (5 samples)", 0.3),
        ("ttc (5 samples)", 0.1),
        ("student", 0.25),
    ):
        drawn = next(x for x in ax.lines if x.get_label() == label)
        np.testing.assert_allclose(drawn.get_ydata(), value)
    assert "ensemble 0.3" in figure.alt and "ensemble/nrmse" not in evaluation.curves


def test_diverged_curves_are_marked():
    curves = make(diverged=True).curves
    ax = plot_errors(curves, TIMES).axes[0]
    labels = " ".join(str(x.get_label()) for x in ax.lines)
    assert "ensemble (diverged, from t = 1.05)" in labels
    assert "ttc (2 of 60 samples diverged)" in labels
    assert "hybrid (diverged, from t = 0.05)" in labels
    shown = np.asarray(line(ax, "ensemble").get_ydata(), float)
    assert np.isfinite(shown[:20]).all() and np.isnan(shown[20:]).all()
    assert [x for x in ax.lines if x.get_marker() == "x" and x.get_xdata()[0] == TIMES[20]]
    assert ax.get_ylim()[1] < 20


def test_the_legend_names_each_forecaster_of_any_panel_once():
    curves = {"mean/nrmse": np.ones((3, 40)), "mean/p10/nrmse": np.ones((3, 31))}
    curves |= {"ttc/p10/nrmse": np.full((3, 31), np.nan)}
    (legend,) = plot_errors(curves, TIMES).legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["mean", "ttc (diverged, from t = 0.5)"]


def test_percentiles_agree_with_numpy_and_count_infinite_errors_as_large():
    samples = np.random.default_rng(0).lognormal(size=(50, 7))
    expected = np.quantile(samples, [0.1, 0.5, 0.9], axis=0)
    np.testing.assert_allclose(percentiles(samples), expected)
    samples[::5, 3] = np.inf  # a fifth is lost: the 90th percentile is, the median is not
    low, median, high = percentiles(samples)
    assert np.isnan(high[3]) and np.isfinite([low[3], median[3]]).all()


def test_spectra_start_at_one_and_name_what_lies_below_the_frame():
    curves = make(diverged=True).curves
    ax = plot_spectra(curves, 2.0).axes[0]
    np.testing.assert_allclose(line(ax, "truth").get_xdata(), np.arange(1, 129))
    np.testing.assert_allclose(line(ax, "operator").get_ydata(), curves["operator/spectrum"][1:])
    assert ax.get_xscale() == ax.get_yscale() == "log"
    assert str(line(ax, "mean").get_label()) == "mean (no energy, below the frame)"
    assert str(line(ax, "ensemble").get_label()) == "ensemble (diverged)"


def test_law_panels_plot_every_forecaster_and_the_truth():
    curves = make().curves
    mass, energy = plot_laws(curves, TIMES).axes
    for ax, law in ((mass, "mass"), (energy, "energy")):
        for mode in ("truth", "operator", "mean"):
            expected = curves[f"{mode}/law/{law}"][1]
            np.testing.assert_allclose(line(ax, mode).get_ydata(), expected)
    assert mass.get_yscale() == "symlog" and energy.get_yscale() == "linear"


@pytest.mark.parametrize("ndim", [1, 2])
def test_forecast_panels_share_the_truths_scale_and_hold_the_fields(ndim):
    truth = waves(ndim, 1)[0]
    pred = truth * 1.5
    figure = plot_forecast(truth, pred, times=TIMES, extent=(1.0,) * ndim, title="a $b$ $c")
    images = [image for ax in figure.axes for image in ax.images]
    assert len(images) == (3 if ndim == 1 else 12)
    count = len(images) // 3
    limits = [image.get_clim() for image in images]
    assert set(limits[: 2 * count]) == {(truth.min(), truth.max())}
    worst = np.abs(pred - truth).max()
    assert set(limits[2 * count :]) == {(-worst, worst)}
    shown = np.asarray(images[2 * count - 1].get_array())
    np.testing.assert_allclose(shown, pred[..., 0].T if ndim == 1 else pred[-1, ..., 0].T)
    assert "nRMSE 0.5" in figure.get_suptitle()


def test_forecast_of_a_diverged_field_and_of_several_channels():
    truth = np.concatenate([waves(1, 1)[0]] * 2, axis=-1)
    pred = truth.copy()
    pred[10:] *= 1e200
    pred[20:] = np.nan
    figure = plot_forecast(truth.astype("f4"), pred)
    assert "diverged at t = 21" in figure.get_suptitle()
    assert sum(len(ax.images) for ax in figure.axes) == 6
    figure = plot_forecast(truth[..., :1], pred[..., :1])
    assert vars(figure)["_repr_png_"]().startswith(b"\x89PNG")


def test_forecast_rejects_shapes_that_do_not_fit():
    truth = waves(1, 1)[0]
    with pytest.raises(ValueError, match=r"truth\[1:\]"):
        plot_forecast(truth, truth[1:])
    with pytest.raises(ValueError, match="expected one time a frame"):
        plot_forecast(truth, truth, times=TIMES[1:])
    with pytest.raises(ValueError, match="expected one length a space axis"):
        plot_forecast(truth, truth, extent=(1.0, 1.0))


def test_nrmse_and_profiles():
    truth = waves(1, 1)[0]
    assert nrmse(truth, 1.25 * truth) == pytest.approx(0.25)
    figure = plot_profiles(truth, {"operator": truth + 1}, times=TIMES, extent=(2.0,), title="x")
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["t = 0.65", "t = 1.35", "t = 2"]
    last = line(figure.axes[2], "operator")
    np.testing.assert_allclose(last.get_ydata(), truth[-1, :, 0] + 1)
    assert last.get_xdata()[0] == pytest.approx(1 / 64)


def test_line_styles_differ_and_are_fixed_for_each_forecaster():
    styles = line_styles([*LINE_STYLES, "mine", "yours"])
    assert (
        styles["operator"] == LINE_STYLES["operator"] == line_styles(["x", "operator"])["operator"]
    )
    assert len({str(style.dash) for style in styles.values()}) >= len(styles) - 1
    pairs = {(to_hex(style.color), str(style.dash)) for style in styles.values()}
    assert len(pairs) == len(styles)


P1 = {"eval/operator/nrmse": 0.0138, "eval/mean/nrmse": 0.425, "eval/persistence/nrmse": 1.46}


@pytest.mark.parametrize(
    ("scalars", "expected"),
    [
        (
            P1 | {"eval/solver/nrmse": 0.0141},
            "is 0.0138 (P1), 31x below the best trivial predictor (mean, 0.425) and "
            "0.98x the 256-cell solver (0.0141).",
        ),
        (
            P1 | {"eval/operator/nrmse": 0.85, "eval/operator/p10/nrmse": 0.5},
            "is 0.85 (P1, 0.5 on P10), worse than the best trivial predictor (mean, 0.425): "
            "2x its error.",
        ),
        (P1 | {"eval/operator/nrmse": 0.42}, "no better than the best trivial predictor (mean"),
        (P1 | {"eval/operator/nrmse": float("nan")}, "is not finite (P1): some forecasts diverged"),
        (P1 | {"eval/operator/nrmse": None}, "some forecasts diverged; mean 0.425."),
        (P1 | {"eval/mean/nrmse": float("inf")}, "1.1e+02x below the best trivial"),
        ({"eval/operator/nrmse": 0.1}, "is 0.1 (P1)."),
        (
            P1 | {"eval/solver/nrmse": 0.02, "eval/solver/ms": 1.34, "eval/operator/ms": 7.19},
            "(0.02); a trajectory takes 7.19 ms, the 256-cell solver 1.34 ms.",
        ),
        ({"eval/operator/nrmse": 0.1, "eval/operator/ms": 2.0}, "(P1); a trajectory takes 2 ms."),
        ({"eval/operator/nrmse": 0.1, "eval/solver/nrmse": 0.0}, "infinitely far"),
        ({}, "was not measured (P1)."),
    ],
)  # fmt: skip
def test_verdict_is_true(scalars, expected):
    sentence = forecast_verdict(scalars, grid=(256,))
    assert expected.replace("1.1e+02", "106") in sentence
    assert sentence.startswith("The operator's test nRMSE ") and sentence.count("\n") == 0


def test_the_verdict_is_that_of_the_protocol():
    scalars = {"eval/mean/nrmse": 0.1, "eval/mean/p10/nrmse": 0.4, "eval/operator/nrmse": 0.2}
    sentence = forecast_verdict(scalars | {"eval/operator/p10/nrmse": 0.01}, protocol="p10")
    assert sentence.endswith(
        "is 0.01 (P10, 0.2 on P1), 40x below the best trivial predictor (mean, 0.4)."
    )
    assert "not measured (P10); mean 0.4" in forecast_verdict(scalars, protocol="p10")


def test_a_baseline_is_not_compared_with_itself():
    sentence = forecast_verdict(P1 | {"eval/solver/nrmse": 0.01}, selected="mean")
    assert "persistence" in sentence and "(mean" not in sentence
    assert "cell solver" not in forecast_verdict({"eval/solver/nrmse": 0.01}, selected="solver")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return write(folder, make(diverged=True), extent=(1.0,), dpi=60)


def test_report_writes_every_figure_and_no_scratch_file(written):
    names = {path.name for path in (written.parent / "figures").iterdir()}
    assert names == {
        "error_over_time.png", "spectra.png", "conserved.png", "training.png",
        "forecast_0.png", "profile_0.png",
    }  # fmt: skip
    files = {path.name for path in written.parent.iterdir()}
    assert files == {"figures", "report.html", "report.npz"}
    for path in (written.parent / "figures").iterdir():
        assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5_000


def test_page_is_self_contained_and_escaped(written):
    text = written.read_text()
    links = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'> ]{0,30})""", text)
    assert len(links) == 6 and all(link.startswith("data:image/png;base64,") for link in links)
    assert "url(" not in text and "@import" not in text and "<script" not in text
    policy = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">', text)
    assert policy[0].split("; ") == [
        "default-src 'none'", "img-src data:", "style-src 'unsafe-inline'", "base-uri 'none'",
        "form-action 'none'",
    ]  # fmt: skip
    assert text.index("http-equiv") < text.index("<title>")
    for raw, safe in (
        ("<golden>", "&lt;golden&gt;"),
        ("<417>", "&lt;417&gt;"),
        ("<b>", "&lt;b&gt;"),
    ):
        assert raw not in text and safe in text
    assert text.count("alt=") == 6 and 'alt=""' not in text


def test_page_orders_verdict_tables_figures_and_details(written):
    text = written.read_text()
    marks = ["nRMSE is 0.012 (P1", "Evaluation Summary", "Figures", 'id="error_over_time"',
             'id="training"', "Physics Diagnostics", "Stage Summary",
             "<summary>Configuration"]  # fmt: skip
    assert [text.index(mark) for mark in marks] == sorted(text.index(mark) for mark in marks)
    assert '<tr class="truth"><td>truth</td><td>4e-08</td></tr>' in text
    assert '<tr class="selected"><td>operator</td><td>0.01376</td>' in text
    assert "<td>nan</td><td>&ndash;</td>" in text


def test_the_page_leads_with_gates_and_champion(tmp_path):
    titles = ("Ensemble Summary", "Gates", "Regressions", "Leaderboard")
    data = ReportData(
        replace(make(), curves={}, examples={}, labels=()),
        gates=[GateVerdict("error", "err", "pass", 0.01, 0.02, 0.5, None, "err is 0.01")],
        row={"name": "mine", "curves": {}},
        champion={"id": "7", "name": "best", "metrics": {"err": 0.03}},
    )
    tables = [Table(title, ["name"], [["value"]]) for title in titles]
    text = write_report(tmp_path, data, title="", config={}, verdict="Yes.", tables=tables, dpi=30)
    marks = ["<h1>", " Yes.</p>", "Evaluation Summary", 'id="gates"', "<h2>Gates", 'id="champion"',
             "<h2>Regressions", "<h2>Leaderboard", "<h2>Physics", "<h2>Ensemble"]  # fmt: skip
    places = [text.read_text().index(mark) for mark in marks]
    assert places == sorted(places)
    assert "<h2>Figures" not in text.read_text()


MY_FIGURE = """
from matplotlib.figure import Figure
from ups_jax.report import FIGURES, ReportFigure

def draw(data):
    figure = Figure()
    figure.subplots().plot(data.evaluation.curves["operator/nrmse"].mean(0))
    return ReportFigure("mine", figure, "My caption.", "A curve.")

FIGURES["mine"] = draw
"""


def test_a_file_outside_the_package_adds_a_figure(tmp_path):
    (tmp_path / "my_figure.py").write_text(MY_FIGURE)
    curves = {k: v for k, v in make().curves.items() if k in ("operator/nrmse", "truth/spectrum")}
    evaluation = replace(make(), curves=curves, examples={}, labels=())
    try:
        runpy.run_path(str(tmp_path / "my_figure.py"))
        path = write(tmp_path / "run", evaluation, series=[])
        FIGURES["again"] = FIGURES["mine"]
        with pytest.raises(ValueError, match="two figures of the report are named 'mine'"):
            write(tmp_path / "twice", evaluation, series=[])
    finally:
        FIGURES.pop("mine", None), FIGURES.pop("again", None)
    text = path.read_text()
    assert text.index('id="spectra"') < text.index('id="mine"') < text.index("My caption.")
    assert (path.parent / "figures" / "mine.png").read_bytes().startswith(b"\x89PNG")


def test_two_dimensional_and_empty_evaluations_are_reported(tmp_path):
    two = replace(make(2), curves={})
    path = write(tmp_path / "two", two, series=[], extent=(1.0, 1.0), dpi=40)
    names = {file.name for file in (tmp_path / "two" / "figures").iterdir()}
    assert names == {"animation_0.gif", "forecast_0.png"}
    assert 'id="animation_0"' in path.read_text() and "data:image/gif;base64," in path.read_text()
    bare = Evaluation(scalars={}, curves={}, examples={}, labels=(), rows=(), physics_rows=())
    path = write(tmp_path / "bare", bare, series=[], facts=[], tables=[])
    assert "was not measured" in path.read_text() and "<img" not in path.read_text()


def stored_report(folder):
    """A page of real values, written and read back."""
    made, names = make(), ("operator", "solver", "mean")
    counts = {f"eval/{m}/{n}": v for m in names for n, v in (("samples", 60), ("calls", 40))}
    report = Report(
        scalars=made.scalars | counts | {"eval/operator/max_error": float("nan")},
        forecasters=names, parameters={"operator": 7}, protocols=("p1",), horizons=(1.0,),
        times=TIMES, curves=made.curves, examples=made.examples, labels=["median sample (4)"],
        chosen=np.array([4]), predictions={"operator": np.zeros((60, 40, 64, 1))},
    )  # fmt: skip
    gates = [GateVerdict("error", "err", "pass", 0.01, 0.02, 0.5, None, "err is 0.01")]
    ensembles = Ensembles({}, ["forecaster"], [["ensemble"]], {}, {}, 3)
    data = ReportData(report, gates=gates, ensembles=ensembles, extent=(1.0,))
    tables = [Table("Stage Summary", ["stage", "steps"], [["operator", 4000]])]
    path = write_report(
        folder, data, title="t", config={"a": 1}, facts=[("seed", "0")], tables=tables, dpi=30
    )
    return path, data


def test_a_report_is_drawn_again_from_its_folder_alone(tmp_path, monkeypatch):
    for name in FIGURES.keys() - {"error_over_time", "gates", "example_forecasts", "training"}:
        monkeypatch.delitem(FIGURES, name)
    path, data = stored_report(tmp_path)
    before = path.read_text()
    path.unlink()
    assert redraw(tmp_path, dpi=30).read_text() == before
    loaded, page = load_values(tmp_path)
    report = loaded.evaluation
    assert report.rows[0][:3] == data.evaluation.rows[0][:3] and len(report.rows) == 3
    assert loaded.gates == data.gates and loaded.ensembles == data.ensembles
    np.testing.assert_array_equal(report.curves["operator/nrmse"], make().curves["operator/nrmse"])
    assert report.predictions == {} and page["facts"] == [("seed", "0")]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in history()))
    extra = [Table("Evaluation: 512 points", ["forecaster"], [["operator"]])]
    text = redraw(tmp_path, config={"b": 2}, tables=extra, dpi=30, format="svg").read_text()
    assert 'id="training"' in text and "Evaluation: 512 points" in text and "&quot;b&quot;" in text
    assert "data:image/png" not in text and text.count("data:image/svg+xml;base64,") == 5
    figures = {file.name for file in (tmp_path / "figures").iterdir()}
    assert {"gates.svg", "gates.png", "forecast_0.svg"} <= figures
    for name in FIGURES.keys() - {"gates"}:
        monkeypatch.delitem(FIGURES, name)
    redraw(tmp_path, dpi=30, format="pdf")
    figures = {file.name: file for file in (tmp_path / "figures").iterdir()}
    assert "gates.svg" not in figures and figures["gates.pdf"].read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("damage", ["absent", "torn", "values"])
def test_a_report_that_cannot_be_drawn_again_is_named(tmp_path, damage):
    path = tmp_path / "report.npz"
    if damage == "torn":
        path.write_bytes(b"PK\x03\x04")
    if damage == "values":
        np.savez(path, json=np.array('{"data": {}}'))
    with pytest.raises(ValueError, match=r"report\.npz: the values of the report cannot be read"):
        redraw(tmp_path)


def test_tables_wrap_texts_and_titles_and_fold_the_widest():
    cells = ["gate", 0.5, "a <long> sentence", "eval/nrmse"]
    text = page._table(Table("Gates", ["a", "value", "sentence", "max_error"], [cells]), "")
    assert "<td>gate</td><td>0.5</td>" in text and "max_<wbr>error" in text
    assert '<td class="text">a &lt;long&gt; sentence</td>' in text and "eval/<wbr>nrmse" in text
    wide = page._table(Table("Ensemble Summary", ["x"] * 13, [[1] * 13]), "")
    assert '<table class="wide">' in wide and '<table class="wide">' not in text
    assert page._table(Table(page.ALL_METRICS, ["x"], [[1]]), "").startswith("<details>")


def test_a_failed_write_leaves_the_old_page_and_no_scratch_file(tmp_path, monkeypatch):
    evaluation = replace(make(), curves={}, examples={}, labels=())
    first = write(tmp_path, evaluation, series=[]).read_bytes()

    def fail(source, target):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path, evaluation, series=[], title="second")
    assert (tmp_path / "report.html").read_bytes() == first
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".part")]


def test_config_is_printed_as_json(written):
    import html

    raw = re.search(r"<pre>(.*?)</pre>", written.read_text(), re.S)
    assert raw and json.loads(html.unescape(raw[1])) == {"pde": {"name": "<b>burgers</b>"}}
