"""Neural PDE operators, diffusion refinement and physics metrics in JAX.

Importing this loads no W&B, Orbax, Matplotlib or config library: what needs them is loaded when it
is first asked for.
"""

from typing import TYPE_CHECKING, Any

from ups_jax.data import load_pdebench, simulate
from ups_jax.emulator import build, init
from ups_jax.evaluate import evaluate
from ups_jax.forecast import forecast
from ups_jax.search import beam_search
from ups_jax.types import Trajectories

if TYPE_CHECKING:
    from ups_jax.config import load as load_config
    from ups_jax.experiment.workdir import load
    from ups_jax.report import plot_forecast

__all__ = [
    "Trajectories",
    "beam_search",
    "build",
    "evaluate",
    "forecast",
    "init",
    "load",
    "load_config",
    "load_pdebench",
    "plot_forecast",
    "simulate",
]


def __getattr__(name: str) -> Any:
    """Load the names that bring a heavy library with them."""
    if name == "load":
        from ups_jax.experiment.workdir import load

        return load
    if name == "load_config":
        from ups_jax.config import load

        return load
    if name == "plot_forecast":
        from ups_jax.report import plot_forecast

        return plot_forecast
    raise AttributeError(f"module 'ups_jax' has no attribute {name!r}")
