"""The script that a rented box runs, and ends itself with: a header of values over `onstart.sh`."""

import base64
import gzip
import re
import shlex
from pathlib import Path

from ups_jax.jobs.launch.job import Job

BODY = Path(__file__).with_name("onstart.sh")
LONGEST = 4000
"""Characters that Vast takes as an on-start script: 4,048, with a margin."""
PIP = "python3 -m pip install --quiet --user"
STORES = {
    "s3://": f"""command -v aws >/dev/null || {PIP} awscli >&2 ||
    {PIP} --break-system-packages awscli >&2
  PATH=$HOME/.local/bin:$PATH aws s3 cp --only-show-errors "$1" "$2\"""",
    "gs://": 'gcloud storage cp "$1" "$2"',
    "/": 'mkdir -p "$(dirname "$2")" && cp "$1" "$2.part" && mv "$2.part" "$2"',
    "": 'rsync -a -e \'ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new\' "$1" "$2"',
}
"""How one file is copied to or from where results are kept, by how its name begins."""


def script(job: Job, *, under_sky: bool = False) -> str:
    """The whole bash script. Keys come from the box's environment; none is in it.

    `under_sky`: SkyPilot watches the box too. ValueError where nothing on the box could end it.
    """
    end = job.shutdown_cmd or (job.about.sky_end if under_sky else job.about.end)
    if not end:
        raise ValueError(
            f"a box of {job.cloud} cannot end its own bill\n"
            "give the command that deletes it, --shutdown_cmd 'COMMAND', or launch by SkyPilot"
        )
    if not under_sky and not job.repo:
        raise ValueError(
            "--print_onstart needs --repo URL[#REF]: a box rented by hand has no checkout"
        )
    copy = next(text for start, text in STORES.items() if job.sync.startswith(start))
    values = {
        "NAME": job.name,
        "WORKDIR": job.workdir,
        "REPO": job.repo,
        "REF": job.ref,
        "SYNC": job.sync,
        "BOX": " ".join((*job.about.box, *job.keys)),
    }
    lines = [
        "#!/usr/bin/env bash",
        *(f"{name}={shlex.quote(value)}" for name, value in values.items()),
        f"LIMIT_S={round(job.max_hours * 3600)}",
        f"RUN=({shlex.join(job.command)})",
        f"SHUTDOWN_CMD=${{SHUTDOWN_CMD:-$(cat <<'END'\n{end}\nEND\n)}}",
        f"copy() {{\n  {copy}\n}}",
    ]
    return "\n".join(lines) + "\n" + BODY.read_text(encoding="utf-8")


def pack_workdir(job: Job) -> str:
    """The script as Vast takes it: short enough, unpacking itself. ValueError where it is not."""
    bare = re.sub(r"^ *#(?!!).*\n|(?<=\{) # .*", "", script(job), flags=re.MULTILINE)
    held = base64.b64encode(gzip.compress(bare.encode(), mtime=0)).decode()
    end = job.shutdown_cmd or job.about.end
    text = (
        "#!/usr/bin/env bash\n"
        f"echo {held} | base64 -d | gzip -d >/tmp/launch.sh && exec bash /tmp/launch.sh\n{end}\n"
    )
    if len(text) > LONGEST:
        raise ValueError(
            f"the on-start script has {len(text)} characters and Vast takes {LONGEST}\n"
            "put overrides into a variant of the config"
        )
    return text
