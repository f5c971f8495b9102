"""Runs under the python of SkyPilot's own environment, where this library is not installed.

Reads tasks as JSON from stdin and answers in one line of JSON; it asks no network and no cloud.
"""

import importlib
import json
import sys
from importlib.metadata import PackageNotFoundError, version


def main() -> None:
    """Say, for each [cloud, YAML] of the list on stdin, whether SkyPilot can read it, and what."""
    print("\n" + json.dumps([read(cloud, text) for cloud, text in json.load(sys.stdin)]))


def read(cloud: str, text: str) -> dict[str, str]:
    """Version and resources that SkyPilot read, or its error."""
    try:
        sky = importlib.import_module("sky")
        (box,) = sky.Task.from_yaml_str(text).resources
    except Exception as error:  # What SkyPilot's packages raise is theirs; it is told, not judged.
        return {"error": " ".join(str(error).split()) or type(error).__name__}
    found = {"version": version("skypilot"), "read": str(box)}
    if box.autostop_config is None or not box.autostop_config.down:
        return {"error": "resources: autostop with down is missing"}
    if cloud == "vast" and (wrong := _vast(found["version"])):
        return {"error": wrong}
    return found


def _vast(own: str) -> str | None:
    """The trap: SkyPilot and vastai-sdk changed hands at 0.14 and 1.0, and pip allows any pair."""
    try:
        sdk = version("vastai-sdk")
    except PackageNotFoundError:
        return "vastai-sdk is not installed beside SkyPilot"
    new = tuple(map(int, own.split(".")[:2])) >= (0, 14)
    if new != (tuple(map(int, sdk.split(".")[:2])) >= ((1, 9) if new else (1, 0))):
        wanted = ">= 1.9" if new else "< 1"
        return f"SkyPilot {own} needs vastai-sdk {wanted}, found {sdk}: it would lose its boxes"
    return None


if __name__ == "__main__":
    main()
