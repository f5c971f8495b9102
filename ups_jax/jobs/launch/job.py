"""A job for a rented machine or a cluster: the checked options, and what follows from them."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from ups_jax.experiment.context import RunOptions, default_workdir
from ups_jax.jobs.launch.clouds import CLOUDS, Cloud
from ups_jax.registry import lookup

PROGRAM = ("-m", "ups_jax")
"""Words after `python` that start a run."""
RENTAL_FLAGS = (
    "spot", "max_hourly_cost", "sync", "repo", "print_onstart", "shutdown_cmd", "price", "measured"
)  # fmt: skip
FORMS = {
    "gpus": (r"([a-zA-Z][\w.-]*:)?[1-9]\d{0,2}|[a-zA-Z][\w.-]*", "NAME:COUNT, such as H100:1"),
    "sync": (r"(s3|gs)://[^/].*|/+[^/].*|[^/:-][^/:]*:(?!//).+",
             "s3://BUCKET/PATH, gs://BUCKET/PATH, HOST:DIR or /MOUNT/DIR"),
    "repo": (r"[^-#\n][^#\n]*(#[^-].*)?", "URL[#REF]"),
    "resource": (r"[a-zA-Z][\w-]*=.+", "KEY=VALUE"),
    "shutdown_cmd": (r"(?s).*\S.*", "the command that ends the machine"),
}  # fmt: skip
"""Pattern of each text flag, and its form in words. No value starts as an option of a program."""
S3_KEYS = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL",
    "AWS_DEFAULT_REGION",
)  # fmt: skip


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
    """URL[#REF]; empty: SkyPilot sends the current folder."""
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
    """`command` follows `python`; `keys` are names of secret variables, never their values."""

    options: LaunchOptions
    name: str
    command: tuple[str, ...]
    workdir: str
    cloud: str
    sync: str
    keys: tuple[str, ...]
    resource: Mapping[str, str]

    @property
    def about(self) -> Cloud:
        """The entry of the job's cloud."""
        return CLOUDS[self.cloud]


def from_options(options: LaunchOptions, environ: Mapping[str, str]) -> Job:
    """Return the job of checked options. ValueError if they contradict each other."""
    cloud = options.cloud.partition("/")[0]
    workdir = str(options.workdir or default_workdir(options.config))
    sync = options.sync.rstrip("/")
    offline = (options.wandb_mode or environ.get("WANDB_MODE")) in ("offline", "disabled")
    lookup(CLOUDS, cloud, "cloud")
    _check(options, cloud, workdir)
    if offline and not (sync or options.slurm):
        raise ValueError(
            "W&B is offline and --sync is missing, so no result would leave the machine\n"
            "add --sync s3://BUCKET/PATH (gs://, HOST:DIR, /MOUNT/DIR), or go online"
        )
    name = re.sub(r"[^a-z0-9]+", "-", Path(workdir).name.lower()).strip("-")[:24]
    digest = sha256(os.fsencode(Path(workdir))).hexdigest()
    keys = () if offline else ("WANDB_API_KEY",)
    keys += tuple(key for key in S3_KEYS if sync.startswith("s3://") and environ.get(key))
    return Job(
        options=options,
        # Archives of two workdirs must differ; the same workdir must find its archive again.
        name="-".join(filter(None, ("ups", name, digest[:8]))),
        command=_command(options, workdir, "offline" if offline else "online"),
        workdir=workdir,
        cloud=cloud,
        sync=sync,
        keys=keys,
        resource=dict(text.split("=", 1) for text in options.resource),
    )


def _check(options: LaunchOptions, cloud: str, workdir: str) -> None:
    if options.spot and not CLOUDS[cloud].spot:
        raise ValueError(f"{cloud} has no spot machines; remove --spot")
    if unused := [flag for flag in RENTAL_FLAGS if options.slurm and getattr(options, flag)]:
        raise ValueError(f"--slurm rents no machine; remove --{unused[0]}")
    for flag, (pattern, form) in FORMS.items():
        value = getattr(options, flag)
        for text in (value,) if isinstance(value, str) else value or ():
            if text and not re.fullmatch(pattern, text):
                raise ValueError(f"--{flag} is {text!r}; write {form}")
    url = urlsplit(options.repo)
    if url.password or url.query or (url.username and url.scheme in ("http", "https")):
        raise ValueError(
            "--repo holds a password or a token, which files of the launch would keep\n"
            "give the URL without it, an ssh URL, or no --repo: SkyPilot sends the current folder"
        )
    for flag, path in (("config", options.config), ("workdir", workdir)):
        parts = Path(path).parts
        if not options.slurm and (not parts or parts[0][0] in "/~" or ".." in parts):
            raise ValueError(
                f"--{flag} {path} is outside the checkout, which is all that the machine gets; "
                "give a relative path without '..'"
            )


def _command(options: LaunchOptions, workdir: str, default_mode: str) -> tuple[str, ...]:
    """Words of the run. A rented machine has no W&B login, so its mode is always explicit."""
    mode = options.wandb_mode or (None if options.slurm else default_mode)
    flags = ("restart", "fail_on_gate", "fail_on_regression")
    return (
        *PROGRAM,
        f"--config={options.config}",
        *(f"--config.{key}={value}" for key, value in options.overrides.items()),
        f"--workdir={workdir}",
        *([f"--wandb_mode={mode}"] if mode else []),
        *(f"--{flag}" for flag in flags if getattr(options, flag)),
    )
