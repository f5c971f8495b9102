"""Every network learns: after seconds of training it forecasts better than persistence."""

import jax
import numpy as np
import pytest

import ups_jax as ups

SPECS = {
    "dilated": dict(width=8, blocks=1, dilations=(1, 2, 1)),
    "fno": dict(width=8, modes=8, layers=2),
    "resnet": dict(width=8, blocks=1, dilations=(1, 2, 1)),
    "transformer": dict(width=16, layers=1, heads=2),
    "unet": dict(width=8, channel_mult=(1, 2)),
}


@pytest.fixture(scope="module")
def task():
    pde = ups.PDES["burgers"](nu=0.01, points=32, cells=64)
    return pde, *ups.simulate_splits(pde, train=32, val=8, test=8, steps=10)


@pytest.mark.parametrize("name", ups.OPERATORS)
def test_a_network_learns(task, name):
    pde, train, val, test = task
    emulator = ups.Emulator(pde, ups.OPERATORS[name], **SPECS[name])
    recipe = ups.Recipe(
        steps=150, batch=8, lr=4e-3, warmup=10, unroll=(1,), phase_fractions=(1.0,),
        steps_per_call=50, val_every=150, ema_decay=0.9,
        optimizer="muon" if name in ("transformer", "unet") else "adamw",
    )  # fmt: skip
    params = ups.train(emulator, train, val, recipe, key=jax.random.key(0), progress=False)
    pred = ups.forecast(
        emulator,
        params,
        test.u[:, 0],
        test.cond,
        jax.random.key(1),
        steps=10,
        forecaster="operator",
    ).u
    true = np.asarray(test.u[:, 1:])
    error, persistence = (np.sqrt(np.mean((u - true) ** 2)) for u in (pred, test.u[:, :1]))
    assert error < 0.8 * persistence
