"""Evaluation of each equation of a mixture, and the use that a network makes of coefficients."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

import ups_jax as ups
from ups_jax.data import sample_windows
from ups_jax.data.windows import window_index
from ups_jax.emulator import fit_statistics
from ups_jax.evaluate.equations import equation_table
from ups_jax.pde import PDES
from ups_jax.report.data import ReportData
from ups_jax.report.equations import equation_errors
from ups_jax.stages import STAGES, bind
from ups_jax.train import Hooks, TrainSnapshot, init_state, run_updates, train_stage
from ups_jax.train.sampling import EquationSampling

EQUATIONS = ("adv_diff", "fisher")
SIZE = dict(points=32, cells=32)
METRICS = {name: ups.METRICS[name] for name in ("nrmse", "nrmse_gmean100", "correlation_time")}


@pytest.fixture(scope="module")
def untrained():
    """An emulator of a mixture with one held-out equation, its test split and its report."""
    pde = PDES["mixture"](equations=EQUATIONS, test_equations=(*EQUATIONS, "burgers"), **SIZE)
    emulator = ups.Emulator(pde, ups.OPERATORS["resnet"], width=4, blocks=1, dilations=(1,))
    test = ups.simulate(pde.test, jax.random.key(7), n=7, steps=4, cache=False)
    params = ups.init(emulator, jax.random.key(0), fit_statistics(emulator, test))
    given = dict(forecasters=("persistence", "operator"), metrics=METRICS)
    return emulator, params, test, ups.evaluate(emulator, params, test, **given)


def test_a_row_is_the_evaluation_of_the_samples_of_its_equation(untrained):
    emulator, params, test, report = untrained
    own = test.take(np.arange(1, 7, 3))
    given = dict(forecasters=("persistence", "operator"), metrics=METRICS)
    alone = ups.evaluate(emulator, params, own, **given)
    for mode in ("persistence", "operator"):
        for metric in METRICS:
            got = report.scalars[f"eval/{mode}/equations/fisher/{metric}"]
            assert got == pytest.approx(alone.scalars[f"eval/{mode}/{metric}"], rel=1e-5)
        curve = report.curves[f"{mode}/equations/fisher"]
        np.testing.assert_allclose(curve, report.curves[f"{mode}/nrmse"][1::3].mean(0), rtol=1e-6)


def test_rows_curves_and_heat_map_follow_the_protocol(untrained):
    emulator, params, test, _ = untrained
    given: dict = dict(forecasters=("persistence",), metrics=METRICS)
    given |= dict(protocol="p10", context_frames=2)
    report = ups.evaluate(emulator, params, test, **given)
    alone = ups.evaluate(emulator, params, test.take(np.arange(1, 7, 3)), **given)
    for metric in METRICS:
        got = report.scalars[f"eval/persistence/equations/fisher/{metric}"]
        assert got == pytest.approx(alone.scalars[f"eval/{metric}"], rel=1e-5)
    curve = report.curves["persistence/equations/fisher"]
    errors = report.curves["persistence/p10/nrmse"][1::3]
    np.testing.assert_allclose(curve, errors.mean(0), rtol=1e-6)
    rows = {row[0]: row[3] for row in equation_table(report.scalars, report.held_out)[1]}
    assert rows["fisher"] == pytest.approx(errors.mean(), rel=1e-5)
    drawn = equation_errors(ReportData(report, selected="persistence"))
    edges = drawn.figure.axes[0].collections[0].get_coordinates()[0, :, 0]
    np.testing.assert_allclose(edges, [1.5, 2.5, 3.5, 4.5])


def test_the_table_has_every_equation_then_average_and_worst(untrained):
    report = untrained[-1]
    assert report.held_out == ("burgers",)
    columns, rows = equation_table(report.scalars, report.held_out)
    assert columns == ["equation", "data", "forecaster", "nRMSE", "GMean100", "corr. time"]
    names = [*EQUATIONS, "burgers", "average", "worst"]
    assert [row[0] for row in rows] == [name for name in names for _ in range(2)]
    assert [row[1] for row in rows[::2]] == ["trained", "trained", "held out", "", ""]
    nrmse = [row[3] for row in rows[1::2]]
    assert nrmse[3] == pytest.approx(np.prod(nrmse[:3]) ** (1 / 3))
    assert nrmse[4] == max(nrmse[:3])
    assert [row[5] for row in rows[1::2]][4] == min(row[5] for row in rows[1:6:2])


def test_one_equation_has_no_table():
    pde = PDES["semilinear"](gamma2=1.0, **SIZE)
    emulator = ups.Emulator(pde, ups.OPERATORS["resnet"], width=4, blocks=1, dilations=(1,))
    data = ups.simulate(pde, jax.random.key(0), n=2, steps=2, cache=False)
    params = ups.init(emulator, jax.random.key(0))
    report = ups.evaluate(emulator, params, data, forecasters=("persistence",), metrics=METRICS)
    assert equation_table(report.scalars, report.held_out)[1] == []
    assert equation_errors(ReportData(report)) is None


def test_the_heat_map_shows_every_equation(untrained):
    report = untrained[-1]
    drawn = equation_errors(ReportData(report))
    assert drawn is not None and isinstance(drawn.figure, Figure)
    axes = drawn.figure.axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == [*EQUATIONS, "burgers (held out)"]
    shown = np.asarray(axes.collections[0].get_array()).reshape(3, 4)
    np.testing.assert_allclose(shown[2], report.curves["operator/equations/burgers"], rtol=1e-6)
    infinite = {key: np.full_like(x, np.inf) for key, x in report.curves.items()}
    assert equation_errors(ReportData(replace(report, curves=infinite))) is not None


@pytest.fixture(scope="module")
def transport():
    """Trajectories of three linear equations from the same initial fields."""
    pde = PDES["mixture"](equations=("adv", "diff", "disp"), **SIZE)
    return ups.simulate_splits(pde, train=24, val=6, test=12, steps=4)


def trained_error(splits, *, inputs="all", history=1):
    """Test scalars of a short training, with the coefficients and with those of other samples.

    Forecasts begin after two frames.
    """
    pde = PDES["mixture"](equations=("adv", "diff", "disp"), inputs=inputs, **SIZE)
    spec = dict(width=12, blocks=1, dilations=(1, 2), history=history)
    emulator = ups.Emulator(pde, ups.OPERATORS["resnet"], **spec)
    recipe = ups.Recipe(
        steps=200, batch=8, warmup=20, steps_per_call=50, val_every=200,
        unroll=(1,), phase_fractions=(1.0,), augment=False,
    )  # fmt: skip
    key, metrics = jax.random.key(0), {"nrmse": ups.METRICS["nrmse"]}
    params = ups.train(emulator, splits.train, splits.val, recipe, key=key, progress=False)
    shuffled = replace(splits.test, cond=np.roll(np.asarray(splits.test.cond), 1, 0))
    given: dict = dict(forecasters=("persistence", "operator"), metrics=metrics, num_figures=0)
    given |= dict(protocol="p10", context_frames=2)
    return [ups.evaluate(emulator, params, d, **given).scalars for d in (splits.test, shuffled)]


def test_shuffled_coefficients_raise_the_error(transport):
    right, wrong = trained_error(transport)
    assert wrong["eval/operator/nrmse"] > 3 * right["eval/operator/nrmse"]
    for name in ("adv", "disp"):
        errors = [right[f"eval/{m}/equations/{name}/nrmse"] for m in ("persistence", "operator")]
        assert errors[1] < 0.5 * errors[0]


def test_a_blind_network_infers_the_equation_from_frames_and_not_from_coefficients(transport):
    right, wrong = trained_error(transport, inputs="none")
    assert wrong["eval/nrmse"] == pytest.approx(right["eval/nrmse"], rel=1e-6)
    informed, _ = trained_error(transport, inputs="none", history=2)
    assert informed["eval/nrmse"] < 0.75 * right["eval/nrmse"]


def test_the_blind_variant_is_given_the_frames_that_its_network_sees():
    cfg = ups.load_config("universal:blind")
    assert cfg.pde.inputs == "none" and cfg.eval.protocol == "p10"
    assert 1 < cfg.operator.history <= cfg.eval.context_frames
    # GMean100 is over a hundred forecast frames.
    assert cfg.data.eval_steps - (cfg.eval.context_frames - 1) == 100


def test_one_program_trains_any_mixture_of_a_size(transport):
    pde = PDES["mixture"](equations=("adv", "diff", "disp"), **SIZE)
    emulator = ups.Emulator(pde, ups.OPERATORS["resnet"], width=4, blocks=1, dilations=(1,))
    params = ups.init(emulator, jax.random.key(0), fit_statistics(emulator, transport.train))
    stage, opt, traced = bind(STAGES["operator"], emulator, {}), ups.Recipe().build_optimizer(), []

    def loss(params, batch, key):
        traced.append(batch["u"].shape)
        return stage.loss(params, batch, key)

    draw = partial(sample_windows, batch=4, length=2)
    train = jax.jit(partial(run_updates, loss, opt, pde.symmetries, 2, draw, 0.9, None))
    u, cond = jnp.asarray(transport.train.u), jnp.asarray(transport.train.cond)
    state, frozen = init_state("operator", params, opt).state, {"stats": params["stats"]}
    key, first = jax.random.key(1), np.argmax(np.asarray(pde.part_of(cond)) == 1)
    for rows in (np.arange(24), np.full(24, first), np.arange(24) // 3):
        state, row = train(state, frozen, (u[rows], cond[rows]), key)
        assert np.isfinite(row["loss"])
    assert traced == [(4, 2, 32, 1)] and int(state.step) == 6


def test_half_of_the_windows_are_shared_by_the_errors_of_the_equations(transport):
    pde = PDES["mixture"](equations=("adv", "diff", "disp"), **SIZE)
    sampling = EquationSampling(pde, transport.train, transport.val)
    np.testing.assert_allclose(sampling.shares(()), 1 / 3)
    sampling.record(np.array([0.1, 0.4, 0.0, 0.3, np.inf, 0.2]))
    sampling.record(np.zeros(6))
    # Two trajectories of each equation in turn: errors (0.2, 0.7, 0.1), over two networks.
    errors = sampling.take()
    assert errors == pytest.approx((0.1, 0.35, 0.05))
    shares = sampling.shares(errors)
    np.testing.assert_allclose(shares, 1 / 6 + 0.5 * np.array([0.2, 0.7, 0.1]))
    draw = partial(window_index, n=24, frames=5, batch=30_000, length=2, start_bias=1.0)
    sample, start = draw(jax.random.key(0), cumulative=sampling.cumulative(errors))
    number = np.asarray(pde.part_of(jnp.asarray(transport.train.cond)))[sample]
    np.testing.assert_allclose(np.bincount(number) / 30_000, shares, atol=0.01)
    assert len(np.unique(sample)) == 24 and set(np.asarray(start).tolist()) == {0, 1, 2, 3}
    # Without errors every trajectory is as likely as any other.
    sample, _ = draw(jax.random.key(1), cumulative=sampling.cumulative(()))
    np.testing.assert_allclose(np.bincount(sample) / 30_000, 1 / 24, atol=0.005)


def test_training_by_the_errors_of_the_equations_resumes_to_the_same_bits(transport):
    pde = PDES["mixture"](equations=("adv", "diff", "disp"), **SIZE)
    emulator = ups.Emulator(pde, ups.OPERATORS["resnet"], width=4, blocks=1, dilations=(1,))
    params = ups.init(emulator, jax.random.key(0), fit_statistics(emulator, transport.train))
    recipe = ups.Recipe(
        steps=12, batch=4, warmup=2, steps_per_call=2, val_every=4, unroll=(1,),
        phase_fractions=(1.0,), sampling="validation",
    )  # fmt: skip
    saves = []

    def train(recipe, resume=None):
        hooks = Hooks(on_save=lambda now: saves.append(jax.device_get(now)))
        return train_stage(
            "operator", emulator, params, transport.train, transport.val, recipe,
            jax.random.key(1), hooks=hooks, resume=resume,
        )  # fmt: skip

    whole = train(recipe)
    middle = next(now for now in saves if int(now.state.step) == 8 and now.progress.equations)
    assert len(middle.progress.equations) == 3
    state, best = jax.tree.map(jnp.asarray, middle[:2])
    again = train(recipe, TrainSnapshot(state, best, middle.progress))
    jax.tree.map(np.testing.assert_array_equal, again.last, whole.last)
    uniform = train(replace(recipe, sampling="uniform"))
    pairs = zip(jax.tree.leaves(uniform.last), jax.tree.leaves(whole.last), strict=True)
    assert any((a != b).any() for a, b in pairs)
    with pytest.raises(ValueError, match="pde 'semilinear' is one equation; use 'uniform'"):
        EquationSampling(PDES["semilinear"](gamma2=1.0), transport.train, transport.val)


@pytest.mark.parametrize(
    "config, extra", [("burgers", {}), ("universal", {"stages": ("operator", "diffusion")})]
)
def test_only_equations_of_a_mixture_are_drawn_by_their_errors(config, extra):
    stage = "diffusion" if extra else "operator"
    with pytest.raises(ValueError, match=f"fit.{stage}.sampling is 'validation'; it must be"):
        ups.load_config(config, {**extra, f"fit.{stage}.sampling": "validation"})
