"""What is known of each cloud: how a box of it ends itself, whose keys it asks for, its traps."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

HALT = "sudo -n shutdown -h now || shutdown -h now"
LATER = "sudo -n shutdown -h +15 || shutdown -h +15"
"""Where SkyPilot's own autostop, which also deletes the disk, is given the first word."""
VAST = (
    'yes | vastai destroy instance "$CONTAINER_ID" --api-key "$CONTAINER_API_KEY" ||'
    ' curl -fsS -X DELETE -H "Authorization: Bearer $CONTAINER_API_KEY"'
    ' "https://console.vast.ai/api/v0/instances/$CONTAINER_ID/"'
)
LAMBDA = r"""
url=https://cloud.lambdalabs.com/api/v1
key=${LAMBDA_API_KEY:-$(sed -n 's/^api_key *= *//p' ~/.lambda_cloud/lambda_keys)}
own='import json, sys
for box in json.load(sys.stdin)["data"]:
    if {box.get("ip"), box.get("private_ip")} & set(sys.argv[1:]): print(box["id"])'
id=$(curl -fsS -u "$key:" "$url/instances" | python3 -c "$own" $(hostname -I)) && [ -n "$id" ] &&
  curl -fsS -u "$key:" -H 'Content-Type: application/json' \
    -d "{\"instance_ids\": [\"$id\"]}" "$url/instance-operations/terminate"
""".strip()


class Cloud(NamedTuple):
    """A cloud: `end` ends a rented box from within, `sky_end` one that SkyPilot looks after too.

    `box` names variables of the box's first process that `end` needs. SkyPilot finds a right to
    rent in one of `files`, or in one of the `variables` of the environment; `login` makes it.
    """

    end: str
    sky_end: str
    files: tuple[str, ...]
    login: str
    variables: tuple[str, ...] = ()
    box: tuple[str, ...] = ()
    spot: bool = True
    note: str = ""


CLOUDS = {
    "runpod": Cloud(
        end='runpodctl remove pod "$RUNPOD_POD_ID"',
        sky_end='runpodctl remove pod "$RUNPOD_POD_ID"',
        files=("~/.runpod/config.toml",),
        login=".venv-sky/bin/runpod config",
        box=("RUNPOD_POD_ID", "RUNPOD_API_KEY"),
    ),
    "lambda": Cloud(
        end=LAMBDA,
        sky_end=LAMBDA,
        files=("~/.lambda_cloud/lambda_keys",),
        login="put 'api_key = KEY' into ~/.lambda_cloud/lambda_keys",
        spot=False,
        note="a box that is merely halted goes on costing: the script asks the API to end it",
    ),
    "vast": Cloud(
        end=VAST,
        sky_end=VAST,
        files=("~/.config/vastai/vast_api_key",),
        login="put the key into ~/.config/vastai/vast_api_key",
        box=("CONTAINER_ID", "CONTAINER_API_KEY"),
        note="SkyPilot >= 0.14 needs vastai-sdk >= 1.9, older ones < 1; with a wrong pair boxes run"
        " that SkyPilot does not see. Safer: --print_onstart, or runpod or lambda",
    ),
    "aws": Cloud(
        end=HALT,
        sky_end=LATER,
        files=("~/.aws/credentials", "~/.aws/config"),
        login="aws configure",
        variables=("AWS_ACCESS_KEY_ID", "AWS_PROFILE"),
        note="without SkyPilot, rent it with --instance-initiated-shutdown-behavior terminate, or"
        " its disk stays",
    ),
    "gcp": Cloud(
        end=HALT,
        sky_end=LATER,
        files=("~/.config/gcloud/application_default_credentials.json",),
        login="gcloud auth application-default login",
        variables=("GOOGLE_APPLICATION_CREDENTIALS",),
        note="without SkyPilot, a halted box costs nothing but its disk stays: delete it",
    ),
    "azure": Cloud(
        end="",
        sky_end=LATER,
        files=("~/.azure/msal_token_cache.json",),
        login="az login",
        note="a box that is merely halted goes on costing: SkyPilot's autostop must end it",
    ),
}


def refusal(name: str, environ: Mapping[str, str]) -> str | None:
    """Why a cloud would refuse us, as seen from here without asking it; None where it may not."""
    cloud = CLOUDS[name]
    known = any(Path(os.path.expanduser(file)).is_file() for file in cloud.files)
    if known or any(environ.get(variable) for variable in cloud.variables):
        return None
    places = " or ".join((*cloud.files, *(f"${each}" for each in cloud.variables)))
    return (
        f"no credentials for {name} in {places}; nothing was launched\n"
        f"{cloud.login}, or name another --cloud"
    )
