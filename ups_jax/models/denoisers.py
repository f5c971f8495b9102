"""Networks that see a noisy residual, what it corrects, and how noisy it is.

A factory takes `ndim`, `channels`, `context` (channels beside the noisy ones) and `features`
(numbers that tell parameters and noise level) from the simulator; its other arguments are the keys
of `cfg.denoiser`. A network maps x (..., *s, c), beside (..., *s, context), told (..., features) to
(..., *s, c). Teacher and student are two sets of parameters of one such network.
"""

from collections.abc import Sequence

import jax.numpy as jnp

from ups_jax.models import operators
from ups_jax.models.functional import Network
from ups_jax.types import Array, Params


def resnet(
    *,
    ndim: int,
    channels: int,
    context: int,
    features: int,
    width: int = 48,
    blocks: int = 2,
    dilations: Sequence[int] = (1, 2, 4),
    patch: int = 1,
    matmul: str = "float32",
) -> Network:
    """The operators' dilated ResNet on noisy residual and context together. Good: a small one.

    It is called several times an interval, and has no more to find than where an error may lie.
    """
    net = operators.resnet(
        ndim=ndim,
        channels=channels,
        params=features,
        inputs=channels + context,
        width=width,
        blocks=blocks,
        dilations=dilations,
        patch=patch,
        matmul=matmul,
    )

    def apply(params: Params, x: Array, beside: Array, told: Array) -> Array:
        return net.apply(params, jnp.concatenate([x, beside], -1), told)

    return Network(net.init, apply)
