"""Neural PDE operators, diffusion refinement and physics metrics in JAX.

Importing this module loads no W&B, Orbax, Matplotlib or config library; names that need one load
it on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ups_jax.data import (
    DataSplits,
    cut,
    from_xarray,
    load_pdebench,
    mask_ends,
    save_npz,
    simulate,
    simulate_splits,
)
from ups_jax.data import load as load_data
from ups_jax.data.forcing import with_forcing
from ups_jax.data.lengths import padded
from ups_jax.data.static import pairs, with_static
from ups_jax.emulator import Emulator, base_step, init, num_params, states, step
from ups_jax.evaluate import Report, evaluate
from ups_jax.forecast import FORECASTERS, Forecast, Forecaster, forecast
from ups_jax.metrics import ENSEMBLE_METRICS, METRICS, Metric
from ups_jax.models import DENOISERS, OPERATORS, Network
from ups_jax.pde import PDES
from ups_jax.pde.base import PDE
from ups_jax.pde.data import pde_of
from ups_jax.rewards import REWARDS
from ups_jax.search import beam_search
from ups_jax.stages import STAGES
from ups_jax.train import Hooks, Recipe, Validation, train
from ups_jax.types import Stage, Trajectories

if TYPE_CHECKING:
    from ups_jax.config import load as load_config
    from ups_jax.experiment.build import build
    from ups_jax.experiment.export import export
    from ups_jax.experiment.pretrained import pretrained
    from ups_jax.experiment.trained import finetune, load, save
    from ups_jax.report import FIGURES, animate, plot, plot_forecast

__version__ = "0.1.0"
LAZY = {
    "animate": "ups_jax.report",
    "FIGURES": "ups_jax.report",
    "build": "ups_jax.experiment.build",
    "export": "ups_jax.experiment.export",
    "finetune": "ups_jax.experiment.trained",
    "load": "ups_jax.experiment.trained",
    "load_config": "ups_jax.config",
    "plot": "ups_jax.report",
    "plot_forecast": "ups_jax.report",
    "pretrained": "ups_jax.experiment.pretrained",
    "save": "ups_jax.experiment.trained",
}
"""Names that bring a heavy library with them, and their modules."""

__all__ = [
    "DENOISERS",
    "ENSEMBLE_METRICS",
    "FIGURES",
    "FORECASTERS",
    "METRICS",
    "OPERATORS",
    "PDE",
    "PDES",
    "REWARDS",
    "STAGES",
    "DataSplits",
    "Emulator",
    "Forecast",
    "Forecaster",
    "Hooks",
    "Metric",
    "Network",
    "Recipe",
    "Report",
    "Stage",
    "Trajectories",
    "Validation",
    "__version__",
    "animate",
    "base_step",
    "beam_search",
    "build",
    "cut",
    "evaluate",
    "export",
    "finetune",
    "forecast",
    "from_xarray",
    "init",
    "load",
    "load_config",
    "load_data",
    "load_pdebench",
    "mask_ends",
    "num_params",
    "padded",
    "pairs",
    "pde_of",
    "plot",
    "plot_forecast",
    "pretrained",
    "save",
    "save_npz",
    "simulate",
    "simulate_splits",
    "states",
    "step",
    "train",
    "with_forcing",
    "with_static",
]


def __getattr__(name: str) -> Any:
    """Load a name of LAZY on first use."""
    if name not in LAZY:
        raise AttributeError(f"module 'ups_jax' has no attribute {name!r}")
    return getattr(import_module(LAZY[name]), "load" if name == "load_config" else name)


def __dir__() -> list[str]:
    """List the public names, those loaded on first use included."""
    return sorted([*__all__, "__doc__"])
