"""Read tasks with SkyPilot, in its environment, where this library is not installed.

Input is a JSON list of [cloud, YAML] on stdin, output one line of JSON. It needs no network.
"""

import importlib
import json
import sys
from importlib.metadata import PackageNotFoundError, version


def main() -> None:
    """Print the result of `read` for every task."""
    print("\n" + json.dumps([read(cloud, text) for cloud, text in json.load(sys.stdin)]))


def read(cloud: str, text: str) -> dict[str, str]:
    """Return SkyPilot's version and the resources that it read, or its error."""
    try:
        sky = importlib.import_module("sky")
        (box,) = sky.Task.from_yaml_str(text).resources
    except Exception as error:  # SkyPilot's packages raise many types; the message is passed on.
        return {"error": " ".join(str(error).split()) or type(error).__name__}
    if box.autostop_config is None or not box.autostop_config.down:
        return {"error": "resources: autostop with down is missing"}
    if cloud == "vast" and (problem := _vast_problem()):
        return {"error": problem}
    return {"version": version("skypilot"), "read": str(box)}


def _vast_problem() -> str | None:
    """Error text for a pair of versions that pip accepts but that loses track of machines."""
    try:
        sdk = version("vastai-sdk")
    except PackageNotFoundError:
        return "vastai-sdk is not installed; rerun `make sky`"
    sky = version("skypilot")
    if _minor(sky) >= (0, 14) and _minor(sdk) >= (1, 9):
        return None
    return (
        f"SkyPilot {sky} with vastai-sdk {sdk} can lose track of machines that cost money; "
        "rerun `make sky` for SkyPilot >= 0.14 with vastai-sdk >= 1.9"
    )


def _minor(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")[:2]))


if __name__ == "__main__":
    main()
