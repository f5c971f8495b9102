"""Every network learns: after seconds of training it forecasts better than persistence."""

import jax
import numpy as np
import pytest

import ups_jax as ups
from ups_jax.experiment.datasets import load_splits
from ups_jax.experiment.schedule import recipe_of

SPECS = {
    "dilated": dict(width=8, blocks=1, dilations=(1, 2, 1)),
    "fno": dict(width=8, modes=8, layers=2),
    "resnet": dict(width=8, blocks=1, dilations=(1, 2, 1)),
    "transformer": dict(width=16, layers=1, heads=2),
    "unet": dict(width=8, channel_mult=(1, 2)),
}
SMALL = dict(points=32, cells=32)
OTHERS = {
    "transport": ("fno", "advection", dict(points=(32,), cells=(64,))),
    "dispersion": ("dilated", "semilinear", dict(**SMALL, convection=-1.0, gamma3=2.0)),
    "reaction": ("unet", "reaction_diffusion", dict(points=(8, 8), cells=(16, 16))),
}
"""Further equations, each with another network."""


def ratio(emulator, params, test):
    """Return the RMS error of the operator over that of persistence."""
    pred = ups.forecast(
        emulator, params, test.u[:, 0], test.cond, jax.random.key(1),
        steps=test.u.shape[1] - 1, forecaster="operator",
    ).u  # fmt: skip
    true = np.asarray(test.u[:, 1:])
    error, persistence = (np.sqrt(np.mean((u - true) ** 2)) for u in (pred, test.u[:, :1]))
    return error / persistence


def trained(pde, splits, name):
    """Return an emulator and its parameters after 150 updates."""
    emulator = ups.Emulator(pde, ups.OPERATORS[name], **SPECS[name])
    recipe = ups.Recipe(
        steps=150, batch=8, lr=4e-3, warmup=10, unroll=(1,), phase_fractions=(1.0,),
        steps_per_call=50, val_every=150, ema_decay=0.9,
        optimizer="muon" if name in ("transformer", "unet") else "adamw",
    )  # fmt: skip
    train, val, _ = splits
    params = ups.train(emulator, train, val, recipe, key=jax.random.key(0), progress=False)
    return emulator, params


@pytest.fixture(scope="module")
def task():
    pde = ups.PDES["burgers"](nu=0.01, points=32, cells=64)
    return pde, ups.simulate_splits(pde, train=32, val=8, test=8, steps=10)


@pytest.mark.parametrize("name", ups.OPERATORS)
def test_a_network_learns(task, name):
    pde, splits = task
    assert ratio(*trained(pde, splits, name), splits[2]) < 0.8


@pytest.mark.parametrize("case", OTHERS)
def test_a_network_learns_another_equation(case):
    network, name, sizes = OTHERS[case]
    pde = ups.PDES[name](**sizes)
    splits = ups.simulate_splits(pde, train=32, val=8, test=8, steps=10)
    assert ratio(*trained(pde, splits, network), splits[2]) < 0.8


def test_the_smoke_run_of_a_chaotic_field_learns():
    cfg = ups.load_config("kuramoto2d:smoke")
    emulator = ups.build(cfg)
    splits, recipe = load_splits(cfg, emulator.pde), recipe_of(emulator, cfg, "operator")
    key = jax.random.key(cfg.seed)
    params = ups.train(emulator, splits.train, splits.val, recipe, key=key, progress=False)
    assert ratio(emulator, params, splits.test) < 0.85
