"""Command line of all benchmarks: `python -m benchmarks NAME [--quick] [--out FILE] [flags]`."""

import argparse
import ast
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parent
BENCHMARKS = {
    "ablation": "accuracy.ablation",
    "apebench": "accuracy.apebench",
    "apebench_families": "peers.apebench_families",
    "convolution": "speed.convolution",
    "faults": "faults.faults",
    "fewshot": "accuracy.fewshot",
    "generator": "accuracy.generator",
    "gpu": "gpu.gpu",
    "joint_cost": "speed.joint_cost",
    "multi_device": "speed.multi_device",
    "refinement": "accuracy.refinement",
    "rollout": "accuracy.rollout",
    "sampler": "accuracy.sampler",
    "scaling": "speed.scaling",
    "search_cost": "speed.search_cost",
    "startup": "speed.startup",
    "step_time": "speed.step_time",
    "streaming": "speed.streaming",
    "sweep": "speed.sweep",
    "time_to_target": "accuracy.time_to_target",
    "transfer": "accuracy.transfer",
    "universal": "accuracy.universal",
    "viscosities": "accuracy.viscosities",
}
"""Modules with `run(options) -> result` and, where they have flags, `add_flags(parser)`.

A result holds `rows`. `options.out` is the results file, None if nothing is to be written.
"""
COMMANDS = {"collect": "collect", "table": "tables.write"}
"""Modules with `add_flags(parser)` and `run(options)` that make results files or tables of them."""


def main(argv: list[str] | None = None) -> int:
    """Run one benchmark or command and return its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    modules = {**BENCHMARKS, **COMMANDS}
    if not argv or argv[0] not in modules:
        if argv and not argv[0].startswith("-"):
            print(f"unknown benchmark {argv[0]!r}; choose one of these", file=sys.stderr)
        print("python -m benchmarks NAME [--help] [--quick] [--out FILE] [flags]\n")
        for name, module in modules.items():
            print(f"  {name:18} {summary(module)}")
        return 0 if argv in ([], ["--list"], ["--help"], ["-h"]) else 2
    name, *rest = argv
    module, options = parse(name, rest)
    if name in COMMANDS:
        return module.run(options) or 0
    return measure(name, module, options)


def parse(name: str, argv: list[str]) -> tuple[ModuleType, argparse.Namespace]:
    """Return the module of a benchmark or command, and its flags; a mistake exits 2."""
    module = import_module(f"benchmarks.{(BENCHMARKS | COMMANDS)[name]}")
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if name in BENCHMARKS:
        parser.add_argument(
            "--quick", action="store_true", help="smallest sizes; writes only with --out"
        )
        parser.add_argument("--out", type=Path, help=f"default: benchmarks/results/{name}.json")
    if hasattr(module, "add_flags"):
        module.add_flags(parser)
    return module, parser.parse_args(argv)


def measure(name, module, options) -> int:
    """Run a benchmark and write its result."""
    from benchmarks.record import PACKAGES, RESULTS, write

    if options.out is None and not options.quick:
        file = module.file_name(options) if hasattr(module, "file_name") else name
        options.out = RESULTS / f"{file}.json"
    if options.out is not None:
        if options.out.is_dir():
            print(f"--out is {options.out}, a folder; name a file", file=sys.stderr)
            return 2
        options.out.parent.mkdir(parents=True, exist_ok=True)
    result = module.run(options)
    if result is not None and options.out is not None:
        print(write(options.out, result, getattr(module, "PACKAGES", PACKAGES)))
    return 0


def summary(module: str) -> str:
    """Return the first line of a module's docstring, without importing it."""
    tree = ast.parse((FOLDER / f"{module.replace('.', '/')}.py").read_text())
    return (ast.get_docstring(tree) or "").splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
