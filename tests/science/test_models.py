"""Networks: convolutions against XLA's own, symmetries, and the functional form."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ups_jax.models import OPERATORS, layers
from ups_jax.models.functional import Network, functional

SHAPES = {1: (32,), 2: (12, 16), 3: (8, 12, 8)}
SPECS = {
    "resnet": dict(width=6, blocks=2, dilations=(1, 2)),
    "fno": dict(width=6, modes=4, layers=2),
    "dilated": dict(width=6, dilations=(1, 2)),
    "fno, factorized": dict(width=6, modes=4, layers=2, factorized=True, norm=True),
    "unet": dict(width=6, channel_mult=(1, 2)),
    "transformer": dict(width=8, layers=1, heads=2, patch=4),
}
STRIDES = {"unet": 2, "transformer": 4}
"""Points by which a translation commutes with a network, if not 1."""
CASES = [(name, ndim) for name in SPECS for ndim in (1, 2)]
ALL_CASES = [(name, ndim) for name in SPECS for ndim in SHAPES]


def build(name, **sizes):
    """Build a network of SPECS; its name ends at the comma."""
    return OPERATORS[name.partition(",")[0]](channels=2, **sizes, **SPECS[name])


@cache
def make(name, ndim, params=1):
    network = build(name, ndim=ndim, params=params)
    # Networks share the programs of single weights: one of all would be compiled for each.
    weights = network.init(jax.random.key(0))
    # The head and the modulations start at almost nothing: shake everything to see it act.
    rng = np.random.default_rng(1)
    weights = jax.tree.map(np.asarray, weights)
    shaken = jax.tree.map(lambda w: w + normal(rng, 0.3, w.shape), weights)
    return Network(network.init, jax.jit(network.apply)), weights, shaken


def normal(rng, scale, shape):
    return (scale * rng.normal(size=shape)).astype("f4")


def batch(ndim, lead=(3,), params=1):
    rng = np.random.default_rng(2)
    return normal(rng, 1, (*lead, *SHAPES[ndim], 2)), normal(rng, 1, (*lead, params))


@pytest.mark.parametrize("ndim", SHAPES)
@pytest.mark.parametrize("dilation", [1, 3])
def test_gathered_convolution_is_the_native_one_with_its_gradients(ndim, dilation):
    rng = np.random.default_rng(0)
    x, kernel = normal(rng, 1, (2, *SHAPES[ndim], 3)), normal(rng, 1, (3**ndim, 3, 4))

    def value(conv):
        def total(x, k):
            y = conv(x, k, 3, dilation, ndim)
            return jnp.sum(jnp.sin(y)), y

        (_, y), grads = jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True))(x, kernel)
        return y, *grads

    gathered = value(layers.gathered_conv)
    for ours, native in zip(gathered, value(layers.native_conv), strict=True):
        np.testing.assert_allclose(ours, native, rtol=1e-5, atol=2e-4)
    alone = jax.jit(layers.gathered_conv, static_argnums=(2, 3, 4))(x, kernel, 3, dilation, ndim)
    np.testing.assert_allclose(alone, gathered[0], rtol=1e-5, atol=1e-5)


def test_a_convolution_reaches_around_the_seam_by_its_dilation():
    x = np.eye(8, 1, dtype="f4")
    kernel = np.array([1, 10, 100], "f4").reshape(3, 1, 1)

    def conv(x):
        return layers.gathered_conv(x, kernel, 3, 2, 1)[:, 0]

    for y in jax.jit(lambda x: (conv(x), jax.vjp(conv, x)[0]))(x):
        np.testing.assert_array_equal(y, [10, 0, 1, 0, 0, 0, 100, 0])


@pytest.mark.parametrize("name, ndim", ALL_CASES)
def test_an_operator_commutes_with_translation(name, ndim):
    network, _, weights = make(name, ndim)
    u, cond = batch(ndim)
    shift = tuple(STRIDES.get(name, 1) * n for n in range(3, 3 + ndim))
    axes = tuple(range(1, 1 + ndim))
    moved = network.apply(weights, np.roll(u, shift, axes), cond)
    still = np.roll(network.apply(weights, u, cond), shift, axes)
    np.testing.assert_allclose(moved, still, atol=2e-4 * np.abs(still).max())


@pytest.mark.parametrize("name, ndim", CASES)
def test_leading_axes_are_free(name, ndim):
    network, _, weights = make(name, ndim)
    u, cond = batch(ndim, lead=(2, 3))
    whole = network.apply(weights, u, cond)
    single = np.stack([network.apply(weights, u[i], cond[i]) for i in range(2)])
    np.testing.assert_allclose(whole, single, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name, ndim", CASES)
def test_the_untrained_increment_is_tiny_and_every_weight_gets_a_gradient(name, ndim):
    network, weights, shaken = make(name, ndim)
    u, cond = batch(ndim)
    assert np.abs(network.apply(weights, u, cond)).max() < 0.02
    grads = jax.jit(jax.grad(lambda w: jnp.sum(network.apply(w, u, cond) ** 2)))(shaken)
    for path, g in jax.tree.leaves_with_path(grads):
        assert np.isfinite(g).all() and np.abs(g).max() > 0, path


@pytest.mark.parametrize("name", SPECS)
def test_jit_changes_nothing_and_the_parameters_condition_the_output(name):
    network, _, weights = make(name, 1)
    u, cond = batch(1)
    with jax.disable_jit():
        eager = network.apply(weights, u, cond)
    np.testing.assert_allclose(network.apply(weights, u, cond), eager, rtol=1e-4, atol=1e-4)
    assert np.abs(network.apply(weights, u, cond + 1.0) - eager).max() > 1e-3


@pytest.mark.parametrize("name", SPECS)
def test_a_pde_without_parameters_needs_no_conditioning(name):
    network, _, weights = make(name, 1, params=0)
    u, cond = batch(1, params=0)
    assert network.apply(weights, u, cond).shape == u.shape


def test_same_key_same_weights_with_text_keys_only():
    network, weights, _ = make("resnet", 1)
    again = network.init(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, weights, again)
    assert not jax.tree.all(jax.tree.map(np.array_equal, weights, network.init(jax.random.key(9))))

    def keys(tree):
        return [] if not isinstance(tree, dict) else [*tree, *sum(map(keys, tree.values()), [])]

    assert all(isinstance(key, str) for key in keys(weights))


@pytest.mark.parametrize("name, ndim", CASES)
def test_a_network_with_noise_channels_declares_and_uses_them(name, ndim):
    plain, noisy = (build(name, ndim=ndim, params=1, noise=noise) for noise in (0, 3))
    assert plain.takes == frozenset() and noisy.takes == {"noise"}
    u, cond = (np.concatenate([x, x]) for x in batch(ndim, lead=(1,)))
    z = normal(np.random.default_rng(4), 1, (*u.shape[:-1], 3))
    first, second = np.asarray(jax.jit(noisy.apply)(noisy.init(jax.random.key(0)), u, cond, z))
    assert np.abs(first - second).max() > 1e-6


def test_a_network_with_hidden_state_is_refused():
    with pytest.raises(ValueError, match="only nnx.Param is allowed"):
        functional(lambda rngs: nnx.BatchNorm(4, rngs=rngs))


@pytest.mark.parametrize("shape", [(15,), (9, 15)])
@pytest.mark.parametrize("name", SPECS)
def test_odd_grids_are_possible_unless_they_must_be_divided(name, shape):
    network = build(name, ndim=len(shape), params=0)
    u = jnp.zeros((*shape, 2))

    def output():
        return jax.eval_shape(lambda: network.apply(network.init(jax.random.key(0)), u, u[:0, 0]))

    errors = {
        "unet": r"channel_mult .* grid \(.*\) must be a multiple of 2",
        "transformer": r"patch is 4; it must divide the grid, \(",
    }
    if name in errors:
        with pytest.raises(ValueError, match=errors[name]):
            output()
    else:
        assert output().shape == u.shape


@pytest.mark.parametrize("name", ["dilated", "fno"])
def test_networks_of_apebench_have_their_size(name):
    fno = dict(modes=12, width=18, layers=4, projection_channel_ratio=0)
    spec, size = {"dilated": ({}, 31777), "fno": (fno, 32527)}[name]
    network = OPERATORS[name](ndim=1, channels=1, params=0, **spec)
    leaves = jax.tree.leaves(jax.eval_shape(network.init, jax.random.key(0)))
    assert sum(leaf.size for leaf in leaves) == size


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="width 0"):
        OPERATORS["resnet"](ndim=1, channels=1, params=1, width=0)
    with pytest.raises(ValueError, match="width 6, layers 4, heads 2, .* multiple of twice heads"):
        OPERATORS["transformer"](ndim=1, channels=1, params=0, width=6, heads=2)
    with pytest.raises(ValueError, match=r"channel_mult \(\)"):
        OPERATORS["unet"](ndim=1, channels=1, params=0, channel_mult=())
    with pytest.raises(ValueError, match="unknown boundary 'wal'; did you mean 'wall'"):
        OPERATORS["dilated"](ndim=1, channels=1, params=0, boundary=("wal",))
    network = OPERATORS["fno"](ndim=1, channels=1, params=0, modes=20, width=4, layers=1)
    weights = jax.eval_shape(network.init, jax.random.key(0))
    with pytest.raises(ValueError, match="modes is .* lower it"):
        jax.eval_shape(network.apply, weights, jnp.zeros((16, 1)), jnp.zeros((0,)))


@pytest.mark.parametrize("ndim", SHAPES)
def test_a_patched_network_commutes_with_whole_patches_alone(ndim):
    network = OPERATORS["resnet"](ndim=ndim, channels=2, params=0, patch=4, **SPECS["resnet"])
    weights = network.init(jax.random.key(0))
    u, cond = batch(ndim, params=0)
    axes, apply = tuple(range(1, 1 + ndim)), jax.jit(network.apply)
    still = np.asarray(apply(weights, u, cond))
    assert still.shape == u.shape
    size = np.abs(still).max()
    for shift, alike in ((4, True), (1, False)):
        moved = np.roll(apply(weights, np.roll(u, shift, axes), cond), -shift, axes)
        assert (np.abs(moved - still).max() < 1e-4 * size) == alike


def test_folding_gathers_neighbours_and_unfolding_spreads_them():
    x = np.arange(2 * 4 * 6 * 3, dtype="f4").reshape(2, 4, 6, 3)
    folded = np.asarray(layers.fold(x, 2, 2))
    assert folded.shape == (2, 2, 3, 12)
    np.testing.assert_array_equal(folded[1, 0, 2].reshape(2, 2, 3), x[1, 0:2, 4:6])
    np.testing.assert_array_equal(layers.unfold(folded, 2, 2), x)
    with pytest.raises(ValueError, match=r"patch is 4; it must divide the grid, \(4, 6\)"):
        layers.fold(x, 4, 2)


def test_bfloat16_products_round_and_leave_everything_else_in_float32():
    network, _, weights = make("resnet", 1)
    rough = OPERATORS["resnet"](ndim=1, channels=2, params=1, matmul="bfloat16", **SPECS["resnet"])
    u, cond = batch(1)

    def value(weights):
        out, pull = jax.vjp(lambda w: rough.apply(w, u, cond), weights)
        return out, *jax.tree.leaves(pull(jnp.ones_like(out)))

    exact, rounded = np.asarray(network.apply(weights, u, cond)), jax.jit(value)(weights)
    assert {x.dtype for x in rounded} == {jnp.dtype("float32")}
    error = np.linalg.norm(rounded[0] - exact) / np.linalg.norm(exact)
    assert 1e-5 < error < 2e-2
    with pytest.raises(ValueError, match="unknown matmul"):
        OPERATORS["resnet"](ndim=1, channels=1, params=0, matmul="float16")
