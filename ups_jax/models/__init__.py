"""Networks, the only users of Flax. To add one, write a factory and a line of these tables.

Operators map a normalised field and PDE features to the increment of one interval. The emulator
gives a factory `ndim`, `channels`, `params`, `inputs` (input channels, if not `channels`), `noise`
(noise channels) and `boundary` (the boundary condition of each axis, periodic for None). Other
arguments are the keys of `cfg.operator`. A network maps u (..., *s, inputs), cond (..., p) and,
with noise channels, z (..., *s, noise) to (..., *s, c). Except for the layer `noise`, its
parameters do not depend on `noise`.
"""

from ups_jax.models import denoisers, dilated, fno, resnet, transformer, unet
from ups_jax.models.functional import Network

OPERATORS = {
    "dilated": dilated.dilated,
    "fno": fno.fno,
    "resnet": resnet.resnet,
    "transformer": transformer.transformer,
    "unet": unet.unet,
}
DENOISERS = {"resnet": denoisers.resnet}
