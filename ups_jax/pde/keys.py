"""Keys that draw the numbers of JAX before 0.5, for data sets that were published with it.

Since 0.5 `jax_threefry_partitionable` is on, and the same key draws other numbers.
"""

from math import prod

import jax
import jax.numpy as jnp
from jax.extend import random

from ups_jax.types import Array, Key


def as_before_jax_0_5(key: Key) -> Key:
    """Return the key whose `split`, `uniform` and so on equal those of JAX before 0.5.

    It equals `jax.threefry_partitionable(False)`, inside a traced function too. Raises ValueError
    on a key of a generator other than threefry2x32.
    """
    if key.dtype == jax.random.key(0, impl=ORIGINAL).dtype:
        return key
    if str(jax.random.key_impl(key)) != "threefry2x32":
        raise ValueError(
            f"the key is of generator {jax.random.key_impl(key)}; this data set was published with "
            "jax_default_prng_impl=threefry2x32"
        )
    return jax.random.wrap_key_data(jax.random.key_data(key), impl=ORIGINAL)


def published_sample_keys(key: Key, i: Array) -> tuple[Key, Key]:
    """Return the keys of sample i as in exponax's `build_ic_set`, which splits them in sequence."""
    first = as_before_jax_0_5(key)
    rest = jax.lax.fori_loop(0, i, lambda _, key: jax.random.split(key)[0], first)
    sample_key = jax.random.split(rest)[1]
    return sample_key, sample_key


def _split(key: Array, shape: tuple[int, ...]) -> Array:
    counts = jnp.arange(2 * prod(shape), dtype=jnp.uint32)
    return random.threefry_2x32(key, counts).reshape(*shape, 2)


def _random_bits(key: Array, bit_width: int, shape: tuple[int, ...]) -> Array:
    if bit_width != 32:
        raise NotImplementedError(f"{bit_width} random bits; only 32 are defined")
    return random.threefry_2x32(key, jnp.arange(prod(shape), dtype=jnp.uint32)).reshape(shape)


ORIGINAL = random.define_prng_impl(
    key_shape=(2,),
    seed=random.threefry_prng_impl.seed,
    split=_split,
    random_bits=_random_bits,
    fold_in=random.threefry_prng_impl.fold_in,
    name="threefry2x32_original",
    tag="fry0",
)
