"""The command line: `python -m ups_jax --config burgers:smoke`, or `python -m ups_jax COMMAND`."""

import sys

from ups_jax.jobs.commands import main

if __name__ == "__main__":
    sys.exit(main())
