"""Statistics of the training split, and random windows drawn on the device."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.arrays import as_float32, per_channel, spatial_axes
from ups_jax.data.lengths import own_frames
from ups_jax.types import Array, Key, Trajectories


def block_rows(shape: tuple[int, ...]) -> int:
    """Return the trajectories per block of float32 fields (n, t, *s, c): 1 to 256, about 64 MiB."""
    return max(1, min(256, 2**26 // (4 * int(np.prod(shape[1:])))))


def fit_normalizer(
    train: Trajectories,
    features: Callable[[Array], Array],
    *,
    base_step: Callable[[Array, Array], Array] | None = None,
    to_frame: Callable[[Array], Array] | None = None,
    units: Callable[[Array], tuple[Array, Array]] | None = None,
) -> dict[str, np.ndarray]:
    """Return float32 statistics of the fields, of their increments, and of `features(cond)`.

    `mean`, `std`, `increment_std` (c,) and, if there are parameters, `cond_mean`, `cond_std` (p,),
    over samples, frames and space, in float64. A deviation of zero is replaced by one. An increment
    is a frame minus `base_step(u, cond)` of the frame before, or minus that frame. `mean` and `std`
    are those of `to_frame(u)`, or of u. `units` maps cond to a unit of each sample's fields, which
    they are divided by, and to the cond of the quotients. Inputs have no increment. NaN, a missing
    value, is left out, as is an increment from or to it. Steady data have a `mean_field` (*s, c),
    the mean of the solutions.
    """
    channels, c = train.u.shape[-1], len(train.predicted)
    if train.u.shape[1] < 2:
        raise ValueError(f"u has shape {train.u.shape}; expected at least two frames")
    rows = block_rows(train.u.shape)
    unit, conds = units(as_float32(train.cond)) if units else (None, train.cond)

    def blocks() -> Iterable[np.ndarray]:
        for i, u in enumerate(_blocks(train)):
            own = None if unit is None else np.asarray(unit)[i * rows : i * rows + len(u)]
            yield u if own is None else u / own.reshape(-1, *(1,) * (u.ndim - 1))

    def increments() -> Iterable[np.ndarray]:
        predict = jax.jit(base_step) if base_step else None
        for i, u in enumerate(blocks()):
            before, cond = u[:, :-1], np.asarray(conds)[i * rows : i * rows + len(u)]
            if predict:
                cond = np.repeat(cond[:, None], before.shape[1], axis=1)
                before = np.stack([predict(*pair) for pair in zip(before, cond, strict=True)])
            change = (u[:, 1:].astype(np.float64) - before)[..., :c]
            yield own_frames(train, change, i * rows, skip=1).reshape(-1, c)

    transform = jax.jit(to_frame) if to_frame else lambda u: u
    frames = (
        own_frames(train, np.asarray(transform(u)), i * rows).reshape(-1, channels)
        for i, u in enumerate(blocks())
    )
    mean, std, _ = _accumulate_moments(frames)
    _, increment_std, pairs = _accumulate_moments(increments())
    if not np.all(pairs):
        name = train.predicted[int(np.argmin(pairs))]
        raise ValueError(
            f"channel {name!r} has no point that is observed in two consecutive frames, so its "
            "increments have no deviation; keep every k-th frame by data.time_stride"
        )
    stats = dict(mean=mean, std=std, increment_std=increment_std)
    if train.steady:
        stats["mean_field"] = np.asarray(train.u[:, 1])[..., :c].mean(0, dtype=np.float64)
    inputs = np.asarray(features(as_float32(conds)))
    if inputs.shape[-1]:
        stats["cond_mean"], stats["cond_std"], _ = _accumulate_moments([inputs])
    zero_to_one = {k: np.where(v > 0, v, 1.0) for k, v in stats.items() if k.endswith("std")}
    return {k: v.astype(np.float32) for k, v in (stats | zero_to_one).items()}


def field_std(data: Trajectories) -> np.ndarray:
    """Return the deviation of each predicted channel (c,) over samples, frames and space, float32.

    A channel that does not vary takes the largest deviation of the others, or one.
    """
    rows = block_rows(data.u.shape)
    std = _accumulate_moments(
        own_frames(data, u, i * rows).reshape(-1, u.shape[-1]) for i, u in enumerate(_blocks(data))
    )[1]
    std = std[: len(data.predicted)]
    return np.where(std > 0, std, std.max() or 1.0).astype(np.float32)


def _blocks(data: Trajectories) -> Iterable[np.ndarray]:
    rows = block_rows(data.u.shape)
    for i in range(0, len(data), rows):
        yield np.asarray(data.u[i : i + rows])


def _accumulate_moments(blocks: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray, Any]:
    """Mean, deviation and number of the values in columns of blocks (m, k), without their NaN.

    Chan, Golub and LeVeque (1979).
    """
    count, mean, square = 0, np.zeros(1), np.zeros(1)
    for block in blocks:
        block = block.astype(np.float64)
        m, block_mean, within = _block_moments(block)
        total = np.maximum(count + m, 1)
        delta = block_mean - mean
        square = square + within + delta**2 * (count * m / total)
        mean = mean + delta * (m / total)
        count = count + m
    return mean, np.sqrt(square / np.maximum(count, 1)), count


def _block_moments(block: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray]:
    """Return the number, mean and sum of squared deviations of each column (m, k) -> (k,)."""
    seen = ~np.isnan(block)
    if seen.all():
        mean = block.mean(axis=0)
        return len(block), mean, ((block - mean) ** 2).sum(axis=0)
    m = seen.sum(axis=0)
    mean = np.where(seen, block, 0).sum(axis=0) / np.maximum(m, 1)
    return m, mean, (np.where(seen, block - mean, 0) ** 2).sum(axis=0)


def normalize(stats: Mapping[str, Any], u: Array) -> Array:
    """Return (u - mean) / std for each channel: (..., *s, c) -> (..., *s, c)."""
    return (u - per_channel(stats["mean"], u)) / per_channel(stats["std"], u)


def condition(stats: Mapping[str, Any], features: Array) -> Array:
    """Normalize the features of the PDE's parameters: (..., p) -> (..., p)."""
    if not features.shape[-1]:
        return features
    mean, std = (per_channel(stats[name], features) for name in ("cond_mean", "cond_std"))
    return (features - mean) / std


def sample_windows(
    key: Key,
    u: Array,
    cond: Array,
    cumulative: Array | None = None,
    *,
    batch: int,
    length: int,
    start_bias: float = 1.0,
    history: int = 1,
    lengths: np.ndarray | None = None,
) -> tuple[Array, Array]:
    """Draw random windows: u (n, t, *s, c), cond (n, p) -> (b, length, *s, c), (b, p).

    Samples are uniform, or have the probabilities whose `cumulative` sums (n,) are given. First
    frames are r^`start_bias` of the possible range, r uniform: 1 is uniform, larger values favour
    early frames, whose errors a rollout propagates. `history` - 1 more frames precede a window;
    those before the first one are copies of it. `lengths` (n,) are the frames of each trajectory,
    None: all. Runs inside `scan` on device arrays. Raises ValueError
    if a trajectory is shorter than `length`.
    """
    sample, start = window_index(
        key, u.shape[0], u.shape[1], batch=batch, length=length, start_bias=start_bias,
        lengths=lengths, cumulative=cumulative,
    )  # fmt: skip

    def window(i: Array, t: Array) -> Array:
        if history > 1:
            return u[i, jnp.maximum(t + jnp.arange(1 - history, length), 0)]
        corner = (i, t, *(jnp.zeros((), i.dtype),) * (u.ndim - 2))
        return jax.lax.dynamic_slice(u, corner, (1, length, *u.shape[2:]))[0]

    return jax.vmap(window)(sample, start), cond[sample]


def window_index(
    key: Key,
    n: int,
    frames: int,
    *,
    batch: int,
    length: int,
    start_bias: float,
    lengths: np.ndarray | None = None,
    cumulative: Array | None = None,
) -> tuple[Array, Array]:
    """Return samples and first frames, both (b,), of the windows that `sample_windows` draws."""
    frames = frames if lengths is None else int(np.min(lengths))
    if not 1 <= length <= frames:
        raise ValueError(
            f"windows of {length} frames from trajectories of {frames}; "
            "lower fit.unroll or raise data.steps"
        )
    k_sample, k_start = jax.random.split(key)
    if cumulative is None:
        sample = jax.random.randint(k_sample, (batch,), 0, n, jnp.int32)
    else:
        at = jax.random.uniform(k_sample, (batch,), jnp.float32)
        sample = jnp.searchsorted(cumulative, at, side="right").astype(jnp.int32)
    own: Any = frames if lengths is None else jnp.asarray(lengths, jnp.int32)[sample]
    starts = own - length + 1
    share = jax.random.uniform(k_start, (batch,), jnp.float32) ** start_bias
    return sample, jnp.minimum((share * starts).astype(sample.dtype), starts - 1)


def add_input_noise(
    key: Key, u: Array, noise: Array | float, *, history: int = 1, channels: int | None = None
) -> Array:
    """Add white noise to the given frames of a window (t, *s, c).

    Given are the first `history` frames, in the first `channels` (None: in all). `noise` is in
    deviations over space of each channel of a frame. A rollout feeds a network waves that its data
    lack; unless it has seen some in training, it may amplify them at each step. Sanchez-Gonzalez et
    al. (2020).
    """
    change = _white(key, u[:history, ..., :channels], noise)
    return u.at[:history, ..., :channels].add(change)


def add_short_waves(
    key: Key,
    u: Array,
    noise: float,
    *,
    lowest: int,
    history: int = 1,
    channels: int | None = None,
) -> Array:
    """Add noise of the wavenumbers |k| >= `lowest` alone to the given frames of a window.

    Frames, channels and units are those of `add_input_noise`. The size is log-uniform from a
    hundredth of `noise` to `noise`: a network that has seen short waves of all sizes damps them
    before they grow. What it can remove does not limit its accuracy, so this noise need not fall.
    """
    k_size, k_waves = jax.random.split(key)
    size = noise * 10 ** jax.random.uniform(k_size, (), u.dtype, -2.0, 0.0)
    axes, points = spatial_axes(u.ndim - 2), u.shape[1:-1]
    waves = np.meshgrid(*(np.fft.fftfreq(n, 1 / n) for n in points), indexing="ij")
    short = np.linalg.norm(waves, axis=0)[None, ..., None] >= lowest
    spectrum = jnp.fft.fftn(_white(k_waves, u[:history, ..., :channels], size), axes=axes)
    change = jnp.fft.ifftn(jnp.where(short, spectrum, 0), axes=axes).real
    return u.at[:history, ..., :channels].add(change)


def _white(key: Key, given: Array, noise: Array | float) -> Array:
    """Return noise like frames (t, *s, c), in deviations over space."""
    scale = noise * jnp.std(given, spatial_axes(given.ndim - 2), keepdims=True)
    return scale * jax.random.normal(key, given.shape, given.dtype)
