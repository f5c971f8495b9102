"""The script that a rented machine runs and that ends it: values, then `onstart.sh`."""

import base64
import gzip
import re
import shlex
from pathlib import Path

from ups_jax.jobs.launch.job import Job

BODY = Path(__file__).with_name("onstart.sh").read_text(encoding="utf-8")
VAST_LIMIT = 4000
"""Characters of a Vast on-start script: 4,048 are allowed."""
PIP = "python3 -m pip install --quiet --user"
COPY_COMMANDS = {
    "s3://": f"""command -v aws >/dev/null || {PIP} awscli >&2 ||
    {PIP} --break-system-packages awscli >&2
  PATH=$HOME/.local/bin:$PATH aws s3 cp --only-show-errors "$1" "$2\"""",
    "gs://": 'gcloud storage cp "$1" "$2"',
    "/": 'mkdir -p "$(dirname "$2")" && cp "$1" "$2.part" && mv "$2.part" "$2"',
    "": 'rsync -a -e \'ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new\' -- "$1" "$2"',
}
"""Commands that copy one file to or from the --sync target, by the target's prefix."""


def script(job: Job, *, under_sky: bool = False) -> str:
    """Return the bash script of a job. It holds no key: the machine's environment has them.

    `under_sky`: SkyPilot also watches the machine. ValueError if no command could end it.
    """
    repo, _, ref = job.options.repo.partition("#")
    sky_end = job.about.sky_end if under_sky else ""
    end = job.options.shutdown_cmd or sky_end or job.about.end
    if not end:
        raise ValueError(
            f"a machine of {job.cloud} cannot end its own bill\n"
            "give the command that deletes it, --shutdown_cmd 'COMMAND', or launch by SkyPilot"
        )
    if not under_sky and not repo:
        raise ValueError("--print_onstart needs --repo URL[#REF], which the machine clones")
    copy = next(text for prefix, text in COPY_COMMANDS.items() if job.sync.startswith(prefix))
    values = {
        "NAME": job.name,
        "WORKDIR": job.workdir,
        "REPO": repo,
        "REF": ref,
        "SYNC": job.sync,
        "BOX": " ".join((*job.about.box, *job.keys)),
    }
    lines = [
        "#!/usr/bin/env bash",
        *(f"{name}={shlex.quote(value)}" for name, value in values.items()),
        f"LIMIT_S={round(job.options.max_hours * 3600)}",
        f"RUN=({shlex.join(job.command)})",
        f'[ -n "${{SHUTDOWN_CMD:-}}" ] || SHUTDOWN_CMD={shlex.quote(end)}',
        f"copy() {{\n  {copy}\n}}",
    ]
    return "\n".join(lines) + f"\n{BODY}"


def packed_script(job: Job) -> str:
    """Return the script compressed for Vast, unpacking itself. ValueError if it is too long."""
    bare = re.sub(r"^ *#.*\n|(?<=\{) # .*", "", BODY, flags=re.MULTILINE)
    bare = script(job).removesuffix(BODY) + bare
    packed = base64.b64encode(gzip.compress(bare.encode(), mtime=0)).decode()
    end = job.options.shutdown_cmd or job.about.end
    text = (
        "#!/usr/bin/env bash\n"
        f"echo {packed} | base64 -d | gzip -d >/tmp/launch.sh && exec bash /tmp/launch.sh\n"
        f"bash -c {shlex.quote(end)}\n"
    )
    if len(text) > VAST_LIMIT:
        raise ValueError(
            f"the on-start script has {len(text)} characters; Vast allows {VAST_LIMIT}\n"
            "move overrides into a variant of the config"
        )
    return text
