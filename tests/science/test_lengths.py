"""Trajectories of different lengths: padding is in no window, no statistic and no forecast."""

import jax
import numpy as np
import pytest

import ups_jax as ups
from ups_jax.data import content_hash, draw_windows, field_std, fit_normalizer, sample_windows
from ups_jax.emulator import fit_statistics
from ups_jax.experiment.build import build
from ups_jax.experiment.datasets import load_splits

LENGTHS = (5, 9, 6, 7, 9, 8)
RNG = np.random.default_rng(0)
FIELDS = [RNG.normal(size=(t, 8, 2)).astype(np.float32) for t in LENGTHS]
WILD = 1e6
"""Padding that any use of it would show."""


def uneven():
    data = ups.padded(FIELDS, dt=0.5, channels=("a", "b"))
    u = np.array(data.u)
    for i, length in enumerate(LENGTHS):
        u[i, length:] = WILD
    return ups.Trajectories(u, dt=0.5, channels=("a", "b"), lengths=np.array(LENGTHS))


def test_padding_repeats_the_last_frame_and_equal_lengths_need_none():
    data = ups.padded(FIELDS, channels=("a", "b"))
    for i, field in enumerate(FIELDS):
        np.testing.assert_array_equal(data.u[i, : len(field)], field)
        assert (data.u[i, len(field) :] == field[-1]).all()
    assert "6 of 5 to 9 frames" in repr(data) and list(data.take([2, 0]).lengths) == [6, 5]
    assert ups.padded([FIELDS[1], FIELDS[4]]).lengths is None
    assert content_hash(data) != content_hash(uneven())


@pytest.mark.parametrize("history", [1, 3])
@pytest.mark.parametrize("length", [2, 5])
def test_windows_never_reach_the_padding(history, length):
    data = uneven()
    drawn = dict(batch=512, length=length, history=history)
    u, _ = draw_windows(jax.random.key(0), data, start_bias=1.0, **drawn)
    assert np.abs(u).max() < WILD
    ends = {i: np.asarray(field[-1]).tobytes() for i, field in enumerate(FIELDS)}
    last = {np.asarray(window[-1]).tobytes() for window in u}
    assert set(ends.values()) <= last


def test_equal_lengths_draw_the_windows_of_none():
    data, key = ups.padded([FIELDS[1], FIELDS[4]]), jax.random.key(1)
    given = dict(batch=16, length=3, start_bias=2.0)
    plain = sample_windows(key, data.u, data.cond, **given)
    stated = sample_windows(key, data.u, data.cond, **given, lengths=np.array([9, 9]))
    np.testing.assert_array_equal(plain[0], stated[0])


def test_statistics_are_those_of_the_frames_alone():
    rows = np.concatenate([field.reshape(-1, 2) for field in FIELDS]).astype(np.float64)
    steps = np.concatenate([np.diff(field, axis=0).reshape(-1, 2) for field in FIELDS])
    stats = fit_normalizer(uneven(), lambda cond: cond)
    np.testing.assert_allclose(stats["mean"], rows.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(stats["std"], rows.std(0), rtol=1e-5)
    np.testing.assert_allclose(stats["increment_std"], steps.std(0), rtol=1e-4)
    np.testing.assert_allclose(field_std(uneven()), rows.std(0), rtol=1e-5)


@pytest.mark.parametrize("suffix", ["npz", "h5"])
def test_files_hold_the_lengths_and_strides_keep_them(tmp_path, suffix):
    path = tmp_path / f"uneven.{suffix}"
    if suffix == "npz":
        ups.save_npz(path, uneven())
    else:
        ups.data.save_predictions(path, {}, uneven())
    back = ups.load_data(path)
    np.testing.assert_array_equal(back.lengths, LENGTHS)
    np.testing.assert_array_equal(back.u, uneven().u)
    strided = ups.load_data(path, time_stride=4, samples=(1, 5))
    np.testing.assert_array_equal(strided.lengths, [3, 2, 2, 3])
    np.testing.assert_array_equal(ups.load_data(path, describe=True).lengths, LENGTHS)


def test_a_cut_keeps_the_trajectories_that_are_long_enough():
    short = ups.cut(uneven(), 8)
    assert short.u.shape == (3, 8, 8, 2) and short.lengths is None and short.u.max() < WILD
    with pytest.raises(ValueError, match="frames is 10; expected 2 to 9"):
        ups.cut(uneven(), 10)


def test_training_takes_all_and_evaluation_one_length():
    data = uneven()
    emulator = ups.Emulator(data, ups.OPERATORS["resnet"], width=4, blocks=1, dilations=(1,))
    recipe = ups.Recipe(steps=4, batch=4, warmup=1, unroll=(1,), steps_per_call=2, val_every=2)
    key, options = jax.random.key(0), dict(progress=False)
    params = ups.train(emulator, data, ups.cut(data, 6), recipe, key=key, **options)
    # Padding of other values trains the same network.
    gaps = np.where(data.u == WILD, np.nan, data.u).astype(np.float32)
    for other in (
        ups.padded(FIELDS, dt=0.5, channels=("a", "b")),
        ups.Trajectories(gaps, dt=0.5, channels=("a", "b"), lengths=data.lengths),
    ):
        again = ups.train(emulator, other, ups.cut(other, 6), recipe, key=key, **options)
        jax.tree.map(np.testing.assert_array_equal, params, again)
    for function in (
        lambda: ups.train(emulator, data, data, recipe, key=key, **options),
        lambda: ups.evaluate(emulator, params, data),
    ):
        with pytest.raises(ValueError, match=r"5 to 9 frames; .* ups.cut\(data, 5\)"):
            function()


def test_with_masked_ends_each_trajectory_is_scored_by_its_own_frames():
    data = uneven().take([0, 1, 2])
    emulator = ups.Emulator(data, ups.OPERATORS["resnet"], missing="mask", width=4, blocks=1)
    params = ups.init(emulator, jax.random.key(0), fit_statistics(emulator, data))
    given = dict(forecasters=("persistence",), context_frames=3)

    def nrmse(data):
        return ups.evaluate(emulator, params, data, **given).scalars["eval/persistence/nrmse"]

    masked = ups.mask_ends(data)
    assert masked.u.shape == data.u.shape and masked.lengths is None
    alone = [nrmse(ups.cut(data.take([i]), length)) for i, length in enumerate(LENGTHS[:3])]
    # Frames of NaN alone are no part of a trajectory's mean over time.
    assert nrmse(masked) == pytest.approx(np.mean(alone), rel=1e-5)
    assert ups.mask_ends(data, 5).u.shape[1] == 5 and np.isfinite(ups.mask_ends(data, 5).u).all()
    with pytest.raises(ValueError, match="frames is 10; expected 2 to 9"):
        ups.mask_ends(data, 10)


def test_a_run_scores_the_steps_of_the_shortest_or_those_asked_for(tmp_path, capsys):
    many = ups.padded(
        [field + i for i in range(10) for field in FIELDS], dt=0.5, channels=("a", "b")
    )
    ups.save_npz(tmp_path / "a.npz", many)
    given = {"data.path": tmp_path / "a.npz", "operator.patch": 1}
    cfg = ups.load_config("configs/data.py:smoke", given)
    assert (cfg.data.steps, cfg.data.eval_steps) == (8, 4)
    splits = load_splits(cfg, build(cfg).pde)
    assert splits.test.u.shape[:2] == (6, 5) and splits.train.lengths is not None
    cfg = ups.load_config("configs/data.py:smoke", {**given, "data.eval_steps": 6})
    splits = load_splits(cfg, build(cfg).pde)
    assert splits.test.u.shape[1] == splits.val.u.shape[1] == 7
    assert len(splits.test) == len(splits.record["ids"]["test"]) < 6
    assert "have fewer than 7 frames and are left out" in capsys.readouterr().err
    # Masked, all of them are scored by the frames that they have.
    masked = {**given, "data.eval_steps": 8, "data.missing": "mask", "eval.context_frames": 2}
    masked |= {"stages": ("operator",), "eval.forecasters": ("operator",)}
    splits = load_splits(cfg := ups.load_config("configs/data.py:smoke", masked), build(cfg).pde)
    assert splits.test.u.shape[:2] == (6, 9) and np.isnan(splits.test.u[:, -1]).any()


@pytest.mark.parametrize("lengths", [(5, 9), (1, 9, 6, 7, 9, 8), (5, 10, 6, 7, 9, 8), (5.0,) * 6])
def test_lengths_that_do_not_count_frames_are_refused(lengths):
    with pytest.raises(ValueError, match="expected 6 whole numbers from 2 to 9"):
        ups.Trajectories(np.asarray(uneven().u), lengths=np.array(lengths))
    with pytest.raises(ValueError, match="trajectory 1 has shape"):
        ups.padded([FIELDS[0], FIELDS[1][:, :4]])
