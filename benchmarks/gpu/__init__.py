"""Measurements of one GPU: parts that fit into a budget of minutes."""

import os
import time

STARTED = time.monotonic()
# The contenders of part `full` are processes of their own on the same GPU.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
# Part `correctness` compares with the CPU of the same process.
if "cpu" not in (platforms := os.environ.get("JAX_PLATFORMS") or "cpu"):
    os.environ["JAX_PLATFORMS"] = f"{platforms},cpu"
