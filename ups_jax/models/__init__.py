"""Networks, the only users of Flax. To add one, write a factory and a line of these tables."""

from ups_jax.models import denoisers
from ups_jax.models.functional import Network
from ups_jax.models.operators import fno, resnet

OPERATORS = {"fno": fno, "resnet": resnet}
DENOISERS = {"resnet": denoisers.resnet}
