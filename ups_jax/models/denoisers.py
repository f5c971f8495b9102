"""Denoisers: networks that estimate a clean residual from a noisy one.

The emulator gives a factory `ndim`, `channels`, `context` (channels of the context fields),
`features` (number of features of the PDE parameters and sigma) and `boundary` (that of each axis).
Other arguments are the keys of `cfg.denoiser`. A network maps x (..., *s, c), context
(..., *s, context) and features (..., features) to (..., *s, c).
Teacher and student are two sets of parameters of one network.
"""

from collections.abc import Sequence

import jax.numpy as jnp

from ups_jax.models import resnet as operator
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
    boundary: Sequence[str] | None = None,
) -> Network:
    """The operators' dilated ResNet, applied to the noisy residual and the context.

    A small network suffices: it is called several times an interval, for a small correction.
    """
    net = operator.resnet(
        ndim=ndim,
        channels=channels,
        params=features,
        inputs=channels + context,
        width=width,
        blocks=blocks,
        dilations=dilations,
        patch=patch,
        matmul=matmul,
        boundary=boundary,
    )

    def apply(params: Params, x: Array, context: Array, features: Array) -> Array:
        return net.apply(params, jnp.concatenate([x, context], -1), features)

    return Network(net.init, apply)
