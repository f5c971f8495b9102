"""Networks: the only room that knows Flax. An operator is a factory and a line in this table."""

from ups_jax.models.functional import Fns
from ups_jax.models.operators import fno, resnet

OPERATORS = {"fno": fno, "resnet": resnet}

__all__ = ["OPERATORS", "Fns", "fno", "resnet"]
