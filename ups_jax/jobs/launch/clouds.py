"""Clouds: the command that ends a rented machine from within, and where the account's key lies."""

from pathlib import Path
from typing import NamedTuple

HALT = "sudo -n shutdown -h now || shutdown -h now"
HALT_LATER = "sudo -n shutdown -h +15 || shutdown -h +15"
"""Gives SkyPilot's autostop, which also deletes the disk, time to act first."""
HALT_NOTE = "a halted machine or its disk may still cost money: delete it, or launch by SkyPilot"
END_VAST = (
    'yes | vastai destroy instance "$CONTAINER_ID" --api-key "$CONTAINER_API_KEY" ||'
    ' curl -fsS -X DELETE -H "Authorization: Bearer $CONTAINER_API_KEY"'
    ' "https://console.vast.ai/api/v0/instances/$CONTAINER_ID/"'
)
END_LAMBDA = r"""
url=https://cloud.lambdalabs.com/api/v1
key=${LAMBDA_API_KEY:-$(sed -n 's/^api_key *= *//p' ~/.lambda_cloud/lambda_keys)}
ids='import json, sys
for box in json.load(sys.stdin)["data"]:
    if {box.get("ip"), box.get("private_ip")} & set(sys.argv[1:]): print(box["id"])'
id=$(curl -fsS -u "$key:" "$url/instances" | python3 -c "$ids" $(hostname -I)) && [ -n "$id" ] &&
  curl -fsS -u "$key:" -H 'Content-Type: application/json' \
    -d "{\"instance_ids\": [\"$id\"]}" "$url/instance-operations/terminate"
""".strip()


class Cloud(NamedTuple):
    """A cloud; `end` is a shell command, empty if a machine cannot end its own bill.

    If set, `sky_end` replaces it under SkyPilot. `box` names the machine's variables that it reads.
    SkyPilot reads the account's key from `key_file`; `login` is the command that writes it.
    """

    end: str
    sky_end: str = ""
    key_file: str = ""
    login: str = ""
    box: tuple[str, ...] = ()
    spot: bool = True
    note: str = ""


CLOUDS = {
    "runpod": Cloud(
        end='runpodctl remove pod "$RUNPOD_POD_ID"',
        key_file="~/.runpod/config.toml",
        login="run .venv-sky/bin/runpod config",
        box=("RUNPOD_POD_ID", "RUNPOD_API_KEY"),
    ),
    "lambda": Cloud(
        end=END_LAMBDA,
        key_file="~/.lambda_cloud/lambda_keys",
        login="write 'api_key = KEY' to ~/.lambda_cloud/lambda_keys",
        spot=False,
        note="a halted machine still costs money, so the script terminates it through the API",
    ),
    "vast": Cloud(
        end=END_VAST,
        key_file="~/.config/vastai/vast_api_key",
        login="write the key to ~/.config/vastai/vast_api_key",
        box=("CONTAINER_ID", "CONTAINER_API_KEY"),
        note="SkyPilot needs vastai-sdk >= 1.9, or it loses track of machines that cost money; "
        "--print_onstart, runpod and lambda do not have this risk",
    ),
    "aws": Cloud(HALT, HALT_LATER, note=HALT_NOTE),
    "gcp": Cloud(HALT, HALT_LATER, note=HALT_NOTE),
    "azure": Cloud("", HALT_LATER, note=HALT_NOTE),
}


def missing_credentials(name: str) -> str | None:
    """Return an error text if the key file of a cloud is missing; SkyPilot checks the others."""
    cloud = CLOUDS[name]
    if not cloud.key_file or Path(cloud.key_file).expanduser().is_file():
        return None
    return (
        f"no credentials for {name} in {cloud.key_file}; nothing was launched\n"
        f"{cloud.login}, or choose another --cloud"
    )
