"""Networks: the only room that knows Flax. A network is a factory and a line in these tables."""

from ups_jax.models import denoisers
from ups_jax.models.functional import Network
from ups_jax.models.operators import fno, resnet

OPERATORS = {"fno": fno, "resnet": resnet}
DENOISERS = {"resnet": denoisers.resnet}

__all__ = ["DENOISERS", "OPERATORS", "Network", "fno", "resnet"]
