"""A run that starts from a trained emulator: its network, trained on the data of a config."""

from dataclasses import dataclass, replace
from pathlib import Path

from ups_jax.experiment import pipeline
from ups_jax.experiment.context import RunContext, RunOptions, default_workdir
from ups_jax.experiment.pipeline import execute as execute
from ups_jax.experiment.signals import StopFlag
from ups_jax.experiment.trained import read_operator
from ups_jax.files import flatten


@dataclass(frozen=True, kw_only=True)
class FinetuneOptions(RunOptions):
    """Settings of a run that starts from a trained emulator."""

    source: Path
    """Folder of a finished run or of `ups.save`, or the name of a pretrained emulator."""


def prepare(options: FinetuneOptions, stop: StopFlag) -> RunContext:
    """Return the run of a config with the operator of the source, except for what is overridden.

    Raises ValueError as a run does, and on a source that `load_source` refuses.
    """
    network = {}
    if "operator.name" not in options.overrides:
        network = flatten({"operator": read_operator(options.source)})
    overrides = {**network, "init_from": str(options.source), **options.overrides}
    default = default_workdir(options.config)
    workdir = options.workdir or default.with_name(f"{default.name}-finetuned")
    return pipeline.prepare(replace(options, overrides=overrides, workdir=workdir), stop)
