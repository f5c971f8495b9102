"""One job for a rented box, as plain values: what runs there, on what, for how long, for whom."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ups_jax.experiment.context import RunOptions, default_workdir
from ups_jax.jobs.launch.clouds import CLOUDS, Cloud
from ups_jax.registry import lookup

RENTING = (
    "spot", "max_hourly_cost", "sync", "repo", "print_onstart", "shutdown_cmd", "price", "measured"
)  # fmt: skip
STORE_KEYS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL",
    "AWS_DEFAULT_REGION",
)
"""What the store behind s3:// may ask for."""


PROGRAM = ("-m", "ups_jax")
"""Words after `python` that start a run."""


@dataclass(frozen=True, kw_only=True)
class LaunchOptions(RunOptions):
    """Options of the run, and of the machine that it runs on."""

    cloud: str = "runpod"
    """Name of a cloud, with an optional `/region`."""
    gpus: str | None = None
    """NAME:COUNT; None: no GPU."""
    spot: bool = False
    max_hours: float = 4.0
    max_hourly_cost: float | None = None
    sync: str = ""
    repo: str = ""
    resource: Sequence[str] = ()
    """KEY=VALUE pairs for SkyPilot or sbatch."""
    slurm: bool = False
    print_onstart: bool = False
    shutdown_cmd: str | None = None
    price: float | None = None
    """Dollars per hour."""
    measured: Path | None = None


@dataclass(frozen=True)
class Job:
    """`command` follows `python`; `keys` are names of variables whose values no file may hold."""

    name: str
    command: tuple[str, ...]
    workdir: str
    cloud: str
    infra: str
    gpus: str | None
    spot: bool
    max_hours: float
    max_hourly_cost: float | None
    sync: str
    repo: str
    ref: str
    keys: tuple[str, ...]
    resource: Mapping[str, str]
    shutdown_cmd: str | None

    @property
    def about(self) -> Cloud:
        """What is known of the cloud."""
        return CLOUDS[self.cloud]


def from_options(options: LaunchOptions, environ: Mapping[str, str]) -> Job:
    """The job that flags ask for. ValueError where they do not fit one another."""
    cloud = options.cloud.partition("/")[0]
    about = lookup(CLOUDS, cloud, "cloud")
    if options.spot and not about.spot:
        raise ValueError(f"{cloud} rents no spot boxes; drop --spot")
    if idle := [flag for flag in RENTING if options.slurm and getattr(options, flag)]:
        raise ValueError(f"--slurm rents no box, so it takes no --{idle[0]}")
    if options.max_hours <= 0:
        raise ValueError(f"--max_hours must be above 0, got {options.max_hours:g}")
    workdir = str(options.workdir or default_workdir(options.config))
    if not options.slurm:
        for flag, path in (("config", options.config), ("workdir", workdir)):
            if Path(path).is_absolute() or ".." in Path(path).parts:
                raise ValueError(
                    f"--{flag} {path} is no path inside the checkout, which is all that a box has"
                )
    sync = options.sync.rstrip("/")
    if sync and not re.match(r"s3://|gs://|/|[^/:]+:", sync):
        raise ValueError(
            f"--sync {sync}: give s3://BUCKET/PATH, gs://BUCKET/PATH, HOST:DIR or /MOUNT/DIR"
        )
    repo, _, ref = options.repo.partition("#")
    offline = (options.wandb_mode or environ.get("WANDB_MODE")) in ("offline", "disabled")
    wanted = () if offline else ("WANDB_API_KEY",)
    if offline and not (sync or options.slurm):
        raise ValueError(
            "nothing would leave the box: W&B is offline and --sync is missing\n"
            "give --sync s3://BUCKET/PATH (gs://, HOST:DIR, /MOUNT/DIR), or go online"
        )
    held = tuple(key for key in STORE_KEYS if sync.startswith("s3://") and environ.get(key))
    return Job(
        name="ups-" + re.sub(r"[^a-z0-9]+", "-", Path(workdir).name.lower()).strip("-"),
        command=_command(options, workdir, "offline" if offline else "online"),
        workdir=workdir,
        cloud=cloud,
        infra=options.cloud,
        gpus=options.gpus,
        spot=options.spot,
        max_hours=options.max_hours,
        max_hourly_cost=options.max_hourly_cost,
        sync=sync,
        repo=repo,
        ref=ref,
        keys=wanted + held,
        resource=dict(_pair(each) for each in options.resource),
        shutdown_cmd=options.shutdown_cmd,
    )


def _command(options: LaunchOptions, workdir: str, default: str) -> tuple[str, ...]:
    """The runner's words. A box of a cloud knows no login, so it is told its W&B mode."""
    mode = options.wandb_mode or (None if options.slurm else default)
    flags = [flag for flag in ("restart", "fail_on_gate", "fail_on_regression")
             if getattr(options, flag)]  # fmt: skip
    return (
        *PROGRAM,
        f"--config={options.config}",
        *(f"--config.{key}={value}" for key, value in options.overrides.items()),
        f"--workdir={workdir}",
        *([f"--wandb_mode={mode}"] if mode else []),
        *(f"--{flag}" for flag in flags),
    )


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--resource {text} has no value; write --resource KEY=VALUE")
    return key, value
