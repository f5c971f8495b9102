"""Networks that commute with a reflection, whatever their weights are."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ups_jax as ups
from ups_jax.emulator import fit_statistics
from ups_jax.pde.symmetries import reflection, reflection_signs

RNG = np.random.default_rng(0)
SIZES = dict(width=8, blocks=2, dilations=(1, 2))
EQUIVARIANT = partial(ups.Emulator, width=8, blocks=1, dilations=(1, 2), equivariant=True)


def shaken(params):
    """Parameters without any symmetry."""
    return jax.tree.map(lambda w: w + 0.3 * RNG.normal(size=w.shape).astype("f4"), params)


def fields(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


@pytest.mark.parametrize(("patch", "width"), [(1, 7), (2, 8)])
@pytest.mark.parametrize("boundary", ["periodic", "neumann"])
def test_a_network_commutes_with_the_reflection_of_fields_inputs_and_noise(patch, width, boundary):
    signs = (-1.0, 1.0)
    sizes = dict(ndim=1, channels=2, params=1, inputs=4, noise=2, boundary=(boundary,), patch=patch)
    make = partial(ups.OPERATORS["resnet"], **sizes, **SIZES | {"width": width}, signs=signs)
    tied, free = make(equivariant=True), make()
    params, u, cond = shaken(jax.jit(tied.init)(jax.random.key(0))), fields(3, 16, 4), fields(3, 1)
    z, before, after = fields(3, 16, 2), reflection(-2, signs * 2), reflection(-2, signs)
    for network, largest in ((tied, 1e-5), (free, np.inf)):
        apply = jax.jit(network.apply)
        out = after(apply(params, u, cond, z))
        gap = np.abs(apply(params, before(u), cond, z[:, ::-1]) - out).max() / np.abs(out).max()
        assert gap < largest
    # The same weights without the tie have no such symmetry.
    assert gap > 1e-2


def test_initial_activations_have_the_variance_of_a_free_network():
    u, cond = fields(64, 32, 1), jnp.zeros((64, 0))
    stds = []
    for equivariant in (True, False):
        network = ups.OPERATORS["resnet"](
            ndim=1, channels=1, params=0, width=32, blocks=1, signs=(-1.0,), equivariant=equivariant
        )
        run = jax.jit(lambda key, net=network: net.apply(net.init(key), u, cond).std())
        stds.append(np.mean([run(jax.random.key(i)) for i in range(4)]))
    assert stds[0] == pytest.approx(stds[1], rel=0.3)


@pytest.mark.parametrize(
    ("name", "arguments", "options"),
    [
        ("burgers", dict(points=32, cells=64), dict(galilean=True, zero_mean=True, patch=2)),
        ("burgers", dict(points=32, cells=64), dict(base="solver", coarsen=2, substeps=2)),
        ("kuramoto", dict(points=32, cells=32, length=22.0), dict(history=2)),
        ("apebench", dict(scenario="1d_diff_ks", points=32), dict(base="exponential")),
    ],
)
def test_an_emulator_commutes_with_the_reflection_of_its_equation(name, arguments, options):
    pde = ups.PDES[name](**arguments)
    data = ups.simulate(pde, jax.random.key(0), n=4, steps=2, cache=False)
    emulator = EQUIVARIANT(pde, ups.OPERATORS["resnet"], **options)
    stats = fit_statistics(emulator, data)
    # The mean of fields and their mirror images: none where the field changes its sign.
    if reflection_signs(pde) == (-1.0,):
        assert stats["mean"] == 0 != np.mean(data.u)
    params = jax.jit(lambda: ups.init(emulator, 0, stats))()
    params["operator"] = shaken(params["operator"])
    u, cond = jnp.asarray(data.u[:, 0]), jnp.asarray(data.cond)
    mirror = pde.reflection
    assert mirror is not None
    run = partial(ups.forecast, emulator, params, steps=3, forecaster="operator")
    ours, theirs = (run(start, cond, jax.random.key(1)).u for start in (u, mirror(u)))
    scale = np.abs(ours).max()
    assert np.isfinite(scale) and np.abs(ours[:, -1] - u).max() > 1e-2
    np.testing.assert_allclose(mirror(theirs), ours, atol=1e-4 * scale)
    if "history" not in options:
        symmetrized = ups.forecast(
            emulator, params, u, cond, jax.random.key(1), steps=3, forecaster="symmetrized"
        )
        np.testing.assert_allclose(symmetrized.u, ours, atol=1e-4 * scale)


def test_the_signs_are_those_of_each_channel():
    assert reflection_signs(ups.PDES["burgers"](points=16, cells=16)) == (-1.0,)
    u = np.zeros((1, 2, 16, 2), np.float32)
    data = ups.Trajectories(u, dt=1.0, extent=(1.0,), channels=("q", "rho"))
    pde = ups.pde_of(data, symmetries=("translation", "reflection"), vector=("q",))
    assert reflection_signs(pde) == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("pde", "options", "said"),
    [
        (dict(scenario="1d_diff_kdv"), {}, "needs a PDE with a reflection of its one space axis"),
        (dict(scenario="2d_diff_ks", points=16), {}, "needs a PDE with a reflection"),
        ({}, dict(base="learned"), "a learned base step has no symmetry"),
    ],
)
def test_what_cannot_commute_is_refused_with_the_remedy(pde, options, said):
    options = dict(width=8, equivariant=True) | options
    with pytest.raises(ValueError, match=f"equivariant is true.*{said}.*to false"):
        ups.Emulator(ups.PDES["apebench"](**pde), ups.OPERATORS["resnet"], **options)


def test_an_equivariant_network_of_your_own_needs_an_equation_with_the_reflection():
    network = ups.OPERATORS["resnet"](
        ndim=1, channels=1, params=0, **SIZES, signs=(-1.0,), equivariant=True
    )
    assert ups.Emulator(ups.PDES["apebench"](), network).operator.equivariant
    with pytest.raises(ValueError, match="network is equivariant, but pde 'apebench' has no refl"):
        ups.Emulator(ups.PDES["apebench"](scenario="1d_diff_kdv"), network)


def test_a_free_network_takes_the_weights_of_an_equivariant_one_but_not_the_other_way(tmp_path):
    pde = ups.PDES["burgers"](points=16, cells=16)
    data = ups.simulate(pde, jax.random.key(0), n=4, steps=2, cache=False)
    tied = EQUIVARIANT(pde, ups.OPERATORS["resnet"])
    free = ups.Emulator(pde, ups.OPERATORS["resnet"], width=8, blocks=1, dilations=(1, 2))
    few = dict(steps=10, batch=2, warmup=1, unroll=(1,), steps_per_call=5, val_every=5)
    recipe = ups.Recipe(**few, optimizer="muon", lr=1e-2)
    given = (data, data, recipe)
    quiet = dict(key=jax.random.key(0), progress=False)
    params = ups.train(tied, *given, **quiet)
    ups.save(tmp_path / "one", tied, params)
    assert ups.load(tmp_path / "one")[0].operator.equivariant
    # Ten updates have moved every weight, and kept their symmetry.
    start, cond = data.u[:, 0], data.cond
    ours, theirs = (
        jax.jit(partial(ups.step, emulator))(params, start, cond) for emulator in (tied, free)
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    still = ups.Recipe(**few, lr=1e-12)
    tuned = ups.finetune(tmp_path / "one", data, data, still, emulator=free, **quiet)[1]
    jax.tree.map(
        partial(np.testing.assert_allclose, atol=1e-6), tuned["operator"], params["operator"]
    )
    with pytest.raises(ValueError, match="operator.equivariant is true, but the weights .* false"):
        ups.finetune((free, tuned), *given, emulator=tied, **quiet)
