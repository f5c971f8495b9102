"""Networks on axes that end: padding against NumPy's, mirrors, and anti-aliased grids."""

from functools import partial
from inspect import signature

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ups_jax.models import OPERATORS, layers, transformer, unet

BOUNDARIES = {
    "periodic": "wrap",
    "neumann": "symmetric",
    "wall": "symmetric",
    "dirichlet": "constant",
}
MIRRORED = {
    "resnet": dict(width=4, blocks=1, dilations=(1, 2), patch=2),
    "dilated": dict(width=4, blocks=1, dilations=(1, 2)),
    "unet": dict(width=4, channel_mult=(1, 2), patch=2),
    "fno": dict(width=4, modes=4, layers=2),
    "fno, factorized": dict(width=4, modes=4, layers=1, factorized=True, norm=True),
}
GRIDS = {1: (8,), 2: (8, 12)}


def mirrored(path, x, *, ndim, patch):
    """Return a weight that commutes with the reflection of every axis."""
    if path[0].key == "spectral":  # real weights, equal at both signs of the first wavenumber
        x = x * (np.arange(len(x)) != 1).reshape(-1, *(1,) * (x.ndim - 1))
        return x if x.ndim == 4 else 0.5 * (x + np.roll(x[:, ::-1], 1, 1))
    if x.ndim != 3:
        return x
    fold, unfold = (patch if path[0].key == key else 1 for key in ("lift", "head"))
    size = round(x.shape[0] ** (1 / ndim))
    outputs = x.shape[-1] // unfold**ndim
    k = x.reshape(*(size,) * ndim, *(fold,) * ndim, -1, *(unfold,) * ndim, outputs)
    for i in range(ndim):  # the taps of the first axis are innermost
        k = 0.5 * (k + np.flip(k, (ndim - 1 - i, ndim + i, 2 * ndim + 1 + i)))
    return k.reshape(x.shape)


@pytest.mark.parametrize("ndim", GRIDS)
@pytest.mark.parametrize("name", MIRRORED)
def test_a_neumann_boundary_is_a_mirror(name, ndim):
    spec, half = MIRRORED[name], tuple(slice(n) for n in GRIDS[ndim])
    make = partial(OPERATORS[name.partition(",")[0]], ndim=ndim, channels=2, params=1, **spec)
    ended, periodic = (make(boundary=(b,) * ndim) for b in ("neumann", "periodic"))
    mirror = partial(mirrored, ndim=ndim, patch=spec.get("patch", 1))
    weights = jax.tree.map(np.asarray, ended.init(jax.random.key(0)))
    weights = jax.tree.map_with_path(mirror, weights)
    u = np.random.default_rng(0).normal(size=(*GRIDS[ndim], 2)).astype("f4")
    twice = np.pad(u, [(0, n) for n in GRIDS[ndim]] + [(0, 0)], mode="symmetric")

    @jax.jit
    def outputs(weights, *fields):
        pairs = zip((ended, periodic), fields, strict=True)
        return [net.apply(weights, x, jnp.ones(1)) for net, x in pairs]

    y, twice = map(np.asarray, outputs(weights, u, twice))
    np.testing.assert_allclose(y, twice[half], atol=1e-5 * np.abs(y).max())


@pytest.mark.parametrize(
    "names", [*((n,) for n in BOUNDARIES), ("wall", "periodic"), ("dirichlet", "neumann")]
)
def test_a_convolution_pads_as_numpy_with_its_gradients(names):
    ndim, reach = len(names), 6
    sizes = dict(size=5, dilation=3)
    conv, periodic = (
        layers.Conv(2, 3, boundary=b, **sizes, rngs=nnx.Rngs(0))
        for b in (names, ("periodic",) * ndim)
    )

    def padded(x):
        for axis, name in enumerate(names, 1):
            width = [(reach, reach) if a == axis else (0, 0) for a in range(x.ndim)]
            x = jnp.pad(x, width, mode=BOUNDARIES[name])
        return periodic(x)[:, *(slice(reach, -reach) for _ in names)]

    @jax.jit
    def values(x):
        pairs = [jax.vjp(f, x) for f in (conv, padded)]
        return [(y, pull(jnp.cos(9 * y))[0]) for y, pull in pairs]

    x = np.random.default_rng(1).normal(size=(2, *(9, 11)[:ndim], 2)).astype("f4")
    for ours, numpys in zip(*values(x), strict=True):
        np.testing.assert_allclose(ours, numpys, atol=1e-5)


@pytest.mark.parametrize("name", BOUNDARIES)
def test_grids_are_halved_without_aliases_and_doubled_linearly(name):
    @jax.jit
    def values():
        waves = (-1.0) ** jnp.arange(8)[:, None]
        ones = unet.downsample(jnp.ones((6, 4, 1)), (name, name))
        line = unet.upsample(jnp.arange(4.0)[:, None], (name,))
        return unet.downsample(waves, (name,)), ones, unet.upsample(ones, (name, name)), line

    waves, ones, twice, line = map(np.asarray, values())
    np.testing.assert_array_equal(waves[1:-1], 0 * waves[1:-1])
    np.testing.assert_allclose(line[1:-1, 0], np.linspace(0.25, 2.75, 6))
    if name != "dirichlet":
        assert (ones == 1).all() and (twice == 1).all()


@pytest.mark.parametrize("name", OPERATORS)
def test_a_network_translates_along_periodic_axes_only(name):
    small = {"width": 4, "blocks": 1, "modes": 4, "layers": 1, "channel_mult": (1, 2), "patch": 2}
    small["heads"] = 2
    spec = {k: v for k, v in small.items() if k in signature(OPERATORS[name]).parameters}
    spec |= dict(ndim=2, channels=1, params=0, boundary=("wall", "periodic"))
    network = OPERATORS[name](**spec)
    weights = network.init(jax.random.key(0))
    u = np.random.default_rng(1).normal(size=(16, 16, 1)).astype("f4")
    u = np.stack([u, *(np.roll(u, 4, axis) for axis in (0, 1))])
    still, down, along = np.asarray(jax.jit(network.apply)(weights, u, np.zeros((3, 0), "f4")))
    limit = 1e-4 * np.abs(still).max()
    assert np.abs(np.roll(down, -4, 0) - still).max() > 10 * limit
    np.testing.assert_allclose(np.roll(along, -4, 1), still, atol=limit)


def test_rotated_vectors_know_their_distance_around_a_periodic_axis():
    q, k = np.random.default_rng(0).normal(size=(2, 1, 1, 8)).astype("f4")

    def products():
        for boundary in ("periodic", "wall"):
            a, b = (transformer.rotate(jnp.tile(x, (6, 1, 1)), boundary=boundary) for x in (q, k))
            yield a[:, 0] @ b[:, 0].T

    circle, line = map(np.asarray, jax.jit(lambda: list(products()))())
    np.testing.assert_allclose(circle, np.roll(circle, (1, 1), (0, 1)), atol=1e-5)
    np.testing.assert_allclose(line[1:, 1:], line[:-1, :-1], atol=1e-5)
    assert abs(line[0, 5] - line[1, 0]) > 0.1
