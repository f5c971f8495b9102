"""A job on a Slurm cluster, by submitit: at its time limit it is requeued, and goes on."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ups_jax.jobs.launch.job import Job

REQUEUES = 20
"""Times that a job may meet its time limit."""
DELAY_S = 120
"""Seconds before the limit at which Slurm warns; a checkpoint takes five at most."""
IGNORED_SIGNALS = 'trap "" USR2; exec "$@"'
"""Slurm warns every process of a step; the runner is to hear SIGTERM alone."""


@dataclass
class Training:
    """The runner as what submitit calls and, before a limit or a preemption, checkpoints."""

    command: tuple[str, ...]
    root: str
    process: Any = None

    def __call__(self) -> int:
        """Run it -> its exit code, 0 or that of a failed gate. CalledProcessError for others."""
        words = ["bash", "-c", IGNORED_SIGNALS, "run", sys.executable, *self.command]
        self.process = subprocess.Popen(words, cwd=self.root)
        # No wait(): it holds a lock that `checkpoint`, called from a signal, would need.
        while not self._over():
            time.sleep(0.2)
        code = self.process.wait()
        if code not in (0, 3):
            raise subprocess.CalledProcessError(code, self.command)
        return code

    def checkpoint(self) -> Any:
        """Have the runner write its checkpoint and end -> the job that goes on from there."""
        from submitit.helpers import DelayedSubmission

        self.process.terminate()
        asked = time.monotonic()
        while not self._over() and time.monotonic() - asked < DELAY_S / 2:
            time.sleep(0.1)
        again = tuple(word for word in self.command if word != "--restart")
        return DelayedSubmission(Training(again, self.root))

    def _over(self) -> bool:
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.process.pid, flags) is not None


def executor(job: Job, folder: Path, cluster: str = "slurm") -> Any:
    """submitit's executor with the job's limits; `job.resource` holds further keys of sbatch."""
    try:
        import submitit
    except ModuleNotFoundError as error:
        raise ValueError(
            f"--slurm needs submitit ({error}); pip install 'ups_jax[slurm]'"
        ) from error
    limits: dict[str, Any] = {
        "slurm_signal_delay_s": DELAY_S,
        "slurm_additional_parameters": {"requeue": True, **job.resource},
    }
    if job.gpus:
        limits["slurm_gpus_per_node"] = job.gpus
    try:
        made = submitit.AutoExecutor(folder, cluster=cluster, slurm_max_num_timeout=REQUEUES)
    except RuntimeError as error:
        raise ValueError(
            f"no Slurm here: {error}\nsubmit from a login node, or rent: --cloud"
        ) from error
    made.update_parameters(name=job.name, timeout_min=round(job.max_hours * 60), **limits)
    return made


def submit(job: Job, folder: Path) -> str:
    """Hand the job to Slurm -> its number. Keys reach it as the environment does, by sbatch."""
    submitted = executor(job, folder).submit(Training(job.command, os.getcwd()))
    return submitted.job_id
