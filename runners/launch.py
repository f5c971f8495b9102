"""Rent a machine or queue a job; same as `python -m ups_jax launch`."""

import signal
import sys

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while importing prints no traceback.
try:
    from ups_jax.jobs import commands
except ModuleNotFoundError as error:
    sys.exit(f"error: {error}; run `make smoke` once, then `source .venv/bin/activate`")


def main(argv: list[str] | None = None) -> int:
    """Run `launch.py` and return its exit code; see `--help`."""
    return commands.run("launch", argv, prog="launch.py")


if __name__ == "__main__":
    sys.exit(main())
