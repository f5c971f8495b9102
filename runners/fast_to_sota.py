"""Train and judge an emulator in one process and one W&B run: data, stages, evaluation, report."""

import sys

from ups_jax.jobs import cli

DESCRIPTION = "From a config to a trained, evaluated and reported emulator, in one run."


def main(argv: list[str] | None = None) -> int:
    """Exit code of `fast_to_sota.py`; see `--help`."""
    args = cli.parse(
        argv, prog="fast_to_sota.py", description=DESCRIPTION, extra=cli.add_distributed_flags
    )
    args.workdir = args.workdir or cli.default_workdir(args.config)
    from ups_jax.experiment import pipeline

    return cli.run_main(args, pipeline.prepare, pipeline.execute)


if __name__ == "__main__":
    sys.exit(main())
