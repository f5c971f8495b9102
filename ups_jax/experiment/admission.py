"""Admission of a run: its config, workdir, data and checkpoints, before anything is trained."""

import sys
import time
from contextlib import ExitStack
from typing import Any

from ups_jax import config, tracking
from ups_jax.experiment import (
    distributed,
    dry_run,
    environment,
    schedule,
    training,
    verdict,
    workdir,
)
from ups_jax.experiment.build import build
from ups_jax.experiment.context import (
    RunContext,
    RunOptions,
    default_workdir,
    resume_command,
)
from ups_jax.experiment.datasets import load_splits
from ups_jax.experiment.signals import StopFlag
from ups_jax.experiment.trained import read_origin
from ups_jax.progress import ProgressBar


def prepare(options: RunOptions, stop: StopFlag) -> RunContext:
    """Check the config and the workdir, load the data. Raises ValueError on bad input."""
    with distributed.exit_on_lost_process(resume_command()):
        context = _context(options, stop)
        if not options.dry_run:
            _admit(context, stop)
        # Bad input has one error, and no notes before it.
        for note in context.notes:
            distributed.print_once(f"note: {note}", sys.stderr)
        if context.splits is not None and context.cfg.log.progress:
            line = environment.mesh_line(context.cfg, context.mesh)
            distributed.print_once(line, sys.stderr)
        return context


def _context(options: RunOptions, stop: StopFlag) -> RunContext:
    """Return the context of a run whose config is valid and the same on every process."""
    began = time.monotonic()
    if not distributed.address_of(options):
        environment.use_every_core()
    environment.enable_compilation_cache()
    distributed.initialize(options)
    cfg, notes = distributed.all_succeed(
        lambda: config.load_adapted(options.config, options.overrides)
    )
    shared = [config.fingerprint(cfg), *cfg.mesh.items(), options.restart, options.dry_run]
    remedy = "start all with the same command, except for --process_id"
    distributed.require_equal("config", str(shared), remedy)
    mesh = environment.mesh_of(cfg)
    no_gates = not any(gate.metric for gate in cfg.gates.values())
    if options.fail_on_gate and no_gates and not options.dry_run:
        distributed.print_once("warning: --fail_on_gate: the config has no gates", sys.stderr)
    emulator = build(cfg)
    for stage in cfg.stages:
        schedule.recipe_of(emulator, cfg, stage)
    distributed.all_succeed(lambda: dry_run.require_memory(cfg, emulator))
    origin = None
    if cfg.init_from is not None:
        origin = distributed.all_succeed(lambda: read_origin(cfg.init_from, emulator))
        notes = [*notes, *(f"init_from: {note}" for note in origin.record["notes"])]
    return RunContext(
        cfg,
        emulator,
        options.workdir or default_workdir(options.config),
        options,
        distributed.shared_stop(stop),
        began,
        ProgressBar(on=cfg.log.progress and distributed.is_primary()),
        mesh,
        notes=notes,
        origin=origin,
    )


def _admit(context: RunContext, stop: StopFlag) -> None:
    """Lock the workdir, load the data and the checkpoints; leave the data out of a finished run.

    The primary process decides: once for the workdir, and once for its checkpoints, which must
    match the data.
    """
    cfg, options = context.cfg, context.options
    stop.resume = f"resume with: {resume_command()}"
    stop.line = f"interrupted; {stop.resume}"
    with ExitStack() as until_admitted:

        def reserve() -> bool:
            replaced = options.restart and workdir.holds_run(context.workdir)
            if not replaced and workdir.is_finished_run(context.workdir, cfg):
                return False
            until_admitted.enter_context(workdir.lock(context.workdir))
            verdict.check_board(cfg, context.workdir)
            log, mode = config.to_dict(cfg)["log"], options.wandb_mode
            tracking.check(context.workdir, log, mode=mode, restart=options.restart)
            return True

        def open_workdir() -> dict[str, dict[str, Any]]:
            workdir.create(context.workdir, cfg, restart=options.restart)
            context.resumed = training.load_checkpoints(context)
            return {name: saved.meta for name, saved in context.resumed.saved.items()}

        if not distributed.broadcast_from_primary(reserve):
            return
        context.splits = distributed.all_succeed(
            lambda: load_splits(
                cfg, context.emulator.pde, mesh=context.mesh, stop=stop, progress=context.bar
            ),
            stop,
        )
        data_hash = str(context.splits.record["hash"])
        distributed.require_equal("data", data_hash, "share a data cache (UPS_DATA), or one file")
        context.wall["data_s"] = time.monotonic() - context.began
        notes = distributed.broadcast_from_primary(open_workdir)
        context.resumed = training.share_checkpoints(context, notes)
        context.lock = until_admitted.pop_all()
