"""One job for a rented box, as plain values: what runs there, on what, for how long, for whom."""

import re
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ups_jax.jobs.launch.clouds import CLOUDS, Cloud
from ups_jax.registry import lookup

RUNNER = "runners/fast_to_sota.py"
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


def from_args(args: Namespace, environ: Mapping[str, str]) -> Job:
    """The job that flags ask for. ValueError where they do not fit one another."""
    cloud = args.cloud.partition("/")[0]
    about = lookup(CLOUDS, cloud, "cloud")
    if args.spot and not about.spot:
        raise ValueError(f"{cloud} rents no spot boxes; drop --spot")
    if idle := [flag for flag in RENTING if args.slurm and getattr(args, flag)]:
        raise ValueError(f"--slurm rents no box, so it takes no --{idle[0]}")
    if args.max_hours <= 0:
        raise ValueError(f"--max_hours must be above 0, got {args.max_hours:g}")
    workdir = str(args.workdir)
    if not args.slurm:
        for flag, path in (("config", args.config), ("workdir", workdir)):
            if Path(path).is_absolute() or ".." in Path(path).parts:
                raise ValueError(
                    f"--{flag} {path} is no path inside the checkout, which is all that a box has"
                )
    sync = args.sync.rstrip("/")
    if sync and not re.match(r"s3://|gs://|/|[^/:]+:", sync):
        raise ValueError(
            f"--sync {sync}: give s3://BUCKET/PATH, gs://BUCKET/PATH, HOST:DIR or /MOUNT/DIR"
        )
    repo, _, ref = args.repo.partition("#")
    offline = (args.wandb_mode or environ.get("WANDB_MODE")) in ("offline", "disabled")
    wanted = () if offline else ("WANDB_API_KEY",)
    if offline and not (sync or args.slurm):
        raise ValueError(
            "nothing would leave the box: W&B is offline and --sync is missing\n"
            "give --sync s3://BUCKET/PATH (gs://, HOST:DIR, /MOUNT/DIR), or go online"
        )
    held = tuple(key for key in STORE_KEYS if sync.startswith("s3://") and environ.get(key))
    return Job(
        name="ups-" + re.sub(r"[^a-z0-9]+", "-", Path(workdir).name.lower()).strip("-"),
        command=_command(args, workdir, "offline" if offline else "online"),
        workdir=workdir,
        cloud=cloud,
        infra=args.cloud,
        gpus=args.gpus,
        spot=args.spot,
        max_hours=args.max_hours,
        max_hourly_cost=args.max_hourly_cost,
        sync=sync,
        repo=repo,
        ref=ref,
        keys=wanted + held,
        resource=dict(_pair(each) for each in args.resource),
        shutdown_cmd=args.shutdown_cmd,
    )


def _command(args: Namespace, workdir: str, default: str) -> tuple[str, ...]:
    """The runner's words. A box of a cloud knows no login, so it is told its W&B mode."""
    mode = args.wandb_mode or (None if args.slurm else default)
    flags = [flag for flag in ("restart", "fail_on_gate", "fail_on_regression")
             if getattr(args, flag)]  # fmt: skip
    return (
        RUNNER,
        f"--config={args.config}",
        *(f"--config.{key}={value}" for key, value in args.overrides.items()),
        f"--workdir={workdir}",
        *([f"--wandb_mode={mode}"] if mode else []),
        *(f"--{flag}" for flag in flags),
    )


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--resource {text} has no value; write --resource KEY=VALUE")
    return key, value
