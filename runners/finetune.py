"""Train a finished run's network on other data; same as `python -m ups_jax finetune`."""

import signal
import sys

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while importing prints no traceback.
try:
    from ups_jax.jobs import commands
except ModuleNotFoundError as error:
    sys.exit(f"error: {error}; run `make smoke` once, then `source .venv/bin/activate`")


def main(argv: list[str] | None = None) -> int:
    """Run `finetune.py` and return its exit code; see `--help`."""
    return commands.run("finetune", argv, prog="finetune.py")


if __name__ == "__main__":
    sys.exit(main())
