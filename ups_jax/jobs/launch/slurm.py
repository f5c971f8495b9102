"""A job on a Slurm cluster, through submitit: requeued at its time limit, then resumed."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ups_jax.jobs.launch.job import Job

REQUEUES = 20
"""Highest number of time limits that a job may reach."""
DELAY_S = 120
"""Seconds before the limit at which Slurm sends a signal; a checkpoint takes at most five."""
IGNORED_SIGNALS = 'trap "" USR2; exec "$@"'
"""Slurm signals every process of a step; the run must react to SIGTERM only."""


@dataclass
class Training:
    """The callable that submitit runs, and checkpoints before a limit or a preemption."""

    command: tuple[str, ...]
    root: str
    process: Any = None

    def __call__(self) -> int:
        """Run the command -> exit code 0 or 3 (a failed gate). CalledProcessError for others."""
        words = ["bash", "-c", IGNORED_SIGNALS, "run", sys.executable, *self.command]
        self.process = subprocess.Popen(words, cwd=self.root)
        # wait() would hold a lock that `checkpoint`, called from a signal handler, needs.
        while not self._over():
            time.sleep(0.2)
        code = self.process.wait()
        if code not in (0, 3):
            raise subprocess.CalledProcessError(code, self.command)
        return code

    def checkpoint(self) -> Any:
        """Have the run write its checkpoint and end -> the job that resumes it."""
        from submitit.helpers import DelayedSubmission

        self.process.terminate()
        started = time.monotonic()
        while not self._over() and time.monotonic() - started < DELAY_S / 2:
            time.sleep(0.1)
        command = tuple(word for word in self.command if word != "--restart")
        return DelayedSubmission(Training(command, self.root))

    def _over(self) -> bool:
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.process.pid, flags) is not None


def make_executor(job: Job, folder: Path, cluster: str = "slurm") -> Any:
    """Return submitit's executor with the job's limits; `job.resource` adds keys of sbatch."""
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
    if job.options.gpus:
        limits["slurm_gpus_per_node"] = job.options.gpus
    try:
        executor = submitit.AutoExecutor(folder, cluster=cluster, slurm_max_num_timeout=REQUEUES)
    except RuntimeError as error:
        raise ValueError(
            f"this machine has no Slurm: {error}\nsubmit from a login node, or use --cloud"
        ) from error
    minutes = round(job.options.max_hours * 60)
    executor.update_parameters(name=job.name, timeout_min=minutes, **limits)
    return executor


def submit(job: Job, folder: Path) -> str:
    """Submit the job -> its number. sbatch passes the environment on, with its keys."""
    submitted = make_executor(job, folder).submit(Training(job.command, os.getcwd()))
    return submitted.job_id
