"""Rules of `data.missing=mask`: what needs whole fields is refused before anything is run."""

from ups_jax.config.base import Config
from ups_jax.config.bounds import require
from ups_jax.config.from_file import pde_of_config
from ups_jax.data.missing import MASK
from ups_jax.forecast import FORECASTERS, is_deterministic
from ups_jax.metrics.losses import OBSERVED_LOSSES
from ups_jax.stages import STAGES

WITH_MASK = "with data.missing=mask"


def check_missing_rules(cfg: Config) -> None:
    """Raise ValueError on the first key that cannot be combined with missing values."""
    if cfg.data.missing != MASK:
        return
    with_file = cfg.data.path is not None
    require(with_file, "data.missing", MASK, "'refuse' without a file in data.path")
    supported = [name for name in STAGES if STAGES[name].observed]
    allowed = f"stages whose loss takes missing values, {WITH_MASK}: {', '.join(supported)}"
    require(all(STAGES[name].observed for name in cfg.stages), "stages", cfg.stages, allowed)
    for name in cfg.stages:
        loss, known = cfg.fit[name].loss, ", ".join(OBSERVED_LOSSES)
        require(loss in OBSERVED_LOSSES, f"fit.{name}.loss", loss, f"one of {known} {WITH_MASK}")
    names = cfg.eval.forecasters
    single = [name for name in names if name in FORECASTERS and is_deterministic(name)]
    allowed = f"without members or a search {WITH_MASK}: {','.join(single)}"
    require(len(single) == len(names), "eval.forecasters", names, allowed)
    for key, value, off in (
        ("operator.base", cfg.operator.base, "identity"),
        ("operator.galilean", cfg.operator.galilean, False),
        ("data.observed_stride", cfg.data.observed_stride, None),
    ):
        require(value == off, key, value, f"{str(off).lower()} {WITH_MASK}: it needs whole fields")
    allowed = "'refuse' for pairs of a static problem; fill their gaps"
    require(not pde_of_config(cfg).steady, "data.missing", MASK, allowed)
