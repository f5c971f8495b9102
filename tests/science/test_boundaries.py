"""Boundaries: ghost cells, Laplacian, spectra, jumps and symmetries between walls."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

from ups_jax import physics
from ups_jax.data import simulate
from ups_jax.pde import PDES, symmetries
from ups_jax.pde import finite_volume as fv
from ups_jax.pde.base import random_translation

LINE = np.arange(1, 5, dtype=np.float32)[:, None]
MODES = {
    "periodic": lambda k, x: np.sin(2 * np.pi * k * x),
    "neumann": lambda k, x: np.cos(np.pi * k * x),
    "wall": lambda k, x: np.cos(np.pi * k * x),
    "dirichlet": lambda k, x: np.sin(np.pi * k * x),
}
"""Eigenfunctions of the Laplacian of an interval of length 1."""


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def centres(n):
    return (np.arange(n) + 0.5) / n


@pytest.mark.parametrize(
    "boundary, first, last",
    [
        ("periodic", [3, 4], [1, 2]),
        ("neumann", [2, 1], [4, 3]),
        ("wall", [2, 1], [4, 3]),
        ("dirichlet", [-2, -1], [-4, -3]),
    ],
)
def test_ghost_cells_continue_a_field_beyond_its_boundary(boundary, first, last):
    extend = jax.jit(fv.extend, static_argnums=(1, 2, 3))
    wide = np.asarray(extend(LINE, 2, -2, boundary))[:, 0]
    np.testing.assert_array_equal(wide, [*first, 1, 2, 3, 4, *last])
    velocity = extend(np.repeat(LINE, 2, 1), 1, -2, "wall", np.array([[1, -1]], np.float32))
    np.testing.assert_array_equal(np.asarray(velocity)[0], [1, -1])


@pytest.mark.parametrize("boundaries", [("neumann", "dirichlet"), ("periodic", "wall")])
def test_the_laplacian_has_the_exact_modes_of_its_boundaries(boundaries):
    points, waves = (12, 16), (2, 3)
    parts = [MODES[b](k, centres(n)) for b, k, n in zip(boundaries, waves, points, strict=True)]
    u = (parts[0][:, None] * parts[1])[..., None].astype(np.float32)
    rate = 0.0
    for b, k, n in zip(boundaries, waves, points, strict=True):
        angle = np.pi * k / n * (1 if b == "periodic" else 0.5)
        rate -= (2 * n * np.sin(angle)) ** 2
    dx = [1 / n for n in points]
    laplacian = jax.jit(partial(fv.laplacian, dx=dx, boundary=boundaries))
    np.testing.assert_allclose(laplacian(u), rate * u, atol=1e-4 * abs(rate))
    np.testing.assert_array_equal(np.asarray(laplacian(np.stack([u, 2 * u])))[0], laplacian(u))


def test_fluxes_of_muscl_states_are_conserved_between_walls_without_velocity():
    u = noise(3, 8, 1)

    @jax.jit
    def values(u):
        zero = fv.flux_difference(u, lambda a, b: a - b, axis=-2, boundary="wall")
        return zero, *fv.face_states(u, fv.minmod, -2, "neumann")

    zero, left, right = map(np.asarray, values(u))
    np.testing.assert_array_equal(left[:, 0], right[:, 0])
    np.testing.assert_allclose(zero.sum((-2, -1)), 0.0, atol=1e-5)


@pytest.mark.parametrize("boundary", ["neumann", "dirichlet"])
def test_a_coarse_grid_is_refined_symmetrically_between_boundaries(boundary):
    u = noise(6, 1)
    prolong = jax.jit(fv.prolong, static_argnums=(1, 2, 3))
    fine = np.asarray(prolong(u, 3, -2, boundary))
    np.testing.assert_allclose(fv.restrict(fine, 3, -2), u, atol=1e-6)
    mirrored = prolong(np.flip(u, -2), 3, -2, boundary)
    np.testing.assert_allclose(mirrored, np.flip(fine, -2), atol=1e-6)


@pytest.mark.parametrize("boundary", [("neumann",), ("dirichlet",), ("wall", "periodic")])
def test_the_spectrum_between_boundaries_sums_to_the_mean_energy(boundary):
    ndim = len(boundary)
    u = noise(2, *(10, 8)[:ndim], 2)
    spectrum = jax.jit(partial(physics.energy_spectrum, ndim=ndim, boundary=boundary))
    energy = 0.5 * np.mean(u**2, tuple(range(1, ndim + 1))).sum(-1)
    np.testing.assert_allclose(np.sum(spectrum(u), -1), energy, rtol=1e-5)
    half = MODES[boundary[0]](3, centres(10)).reshape(10, *(1,) * ndim)
    half = np.broadcast_to(half, (10, *(8,)[: ndim - 1], 1)).astype(np.float32)
    lone = np.asarray(spectrum(half))
    np.testing.assert_allclose(lone[1], lone.sum(), rtol=1e-5)  # three half periods: k = 1


def test_a_jump_is_measured_along_periodic_axes_only():
    plane = PDES["advection"](points=(4, 6), cells=(4, 6))
    first, frames = noise(2, 4, 6, 1), noise(2, 3, 4, 6, 1, seed=1)
    jump = jax.jit(physics.boundary_jump, static_argnums=2, static_argnames="periodic")
    whole = jump(first, frames, 2)
    one = [np.asarray(jump(first, frames, 2, periodic=p)) for p in ((True, False), (False, True))]
    np.testing.assert_allclose(whole, (one[0] + one[1]) / 2, rtol=1e-6)
    box = replace(plane, boundary=("neumann", "wall"))
    names = physics.diagnostic_names(box)
    values = jax.jit(partial(physics.diagnostics, box))(first, frames, np.ones((2, 2), "f4"))
    assert "boundary_jump" not in names and set(names) == values.keys()
    assert "boundary_jump" in physics.diagnostic_names(
        replace(plane, boundary=("wall", "periodic"))
    )


def test_windows_are_not_translated_across_a_wall():
    u, cond = noise(2, 6, 8, 1), np.zeros(0, np.float32)
    shift = jax.jit(random_translation(2, periodic=(True, False)))
    moved = [np.asarray(shift(jax.random.key(i), u, cond)[0]) for i in range(8)]
    rows = [int(np.argmax((m == u[:, :1]).all((0, 2, 3)))) for m in moved]
    assert len(set(rows)) > 2
    for m, row in zip(moved, rows, strict=True):
        np.testing.assert_array_equal(m, np.roll(u, row, 1))


def test_reflections_and_transposition_commute_with_the_laplacian():
    boundary, dx = ("neumann", "neumann"), (0.1, 0.1)
    u, cond = noise(2, 6, 6, 2), np.zeros(0, np.float32)
    laplacian = jax.jit(partial(fv.laplacian, dx=dx, boundary=boundary))
    mirrors = symmetries.isotropic((6, 6), [(-1, 1), (1, -1)], order=(1, 0))
    group = [jax.jit(symmetries.at_random(mirror)) for mirror in mirrors]
    assert len(group) == 3 and len(symmetries.isotropic((6, 8), [(1,), (1,)])) == 2
    for change in group:
        results = [np.asarray(change(jax.random.key(i), u, cond)[0]) for i in range(6)]
        different = [i for i, v in enumerate(results) if (v != u).any()]
        assert 0 < len(different) < 6
        key, image = jax.random.key(different[0]), results[different[0]]
        after = change(key, laplacian(u), cond)[0]
        np.testing.assert_allclose(laplacian(image), after, atol=1e-3)
        twice = change(key, image, cond)[0]
        np.testing.assert_array_equal(twice, u)


def test_a_galilean_frame_is_refused_between_walls():
    with pytest.raises(ValueError, match="moves fields through boundary"):
        replace(PDES["burgers"](points=8, cells=8), boundary=("wall",))


def test_points_between_walls_are_means_of_cells():
    pde = PDES["advection"](points=(4, 4), cells=(8, 8), dt=0.01)
    channel = replace(pde, boundary=("periodic", "wall"), step=lambda u, cond: u, laws={})
    u = simulate(channel, jax.random.key(0), n=1, steps=1, cache=False).u[0, 0]
    fine = simulate(
        replace(channel, points=(8, 8)), jax.random.key(0), n=1, steps=1, cache=False
    ).u[0, 0]
    np.testing.assert_allclose(u, fine[::2].reshape(4, 4, 2, 1).mean(2), atol=1e-6)


def test_data_begin_after_the_warmup():
    pde = PDES["advection"](points=16, cells=16)
    late = simulate(replace(pde, warmup=3), jax.random.key(0), n=2, steps=2, cache=False)
    whole = simulate(pde, jax.random.key(0), n=2, steps=5, cache=False)
    np.testing.assert_allclose(late.u, whole.u[:, 3:], atol=1e-6)
