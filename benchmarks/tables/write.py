"""Write RESULTS.md, and the tables of README.md and benchmarks/README.md, from the results.

With `--check` nothing is written; the exit code is 1 where a file differs.
"""

from benchmarks.record import ROOT
from benchmarks.tables import joint, measurements, runs
from benchmarks.tables.planes import planes
from benchmarks.tables.questions import questions

BEGIN, END = "<!-- results -->\n", "<!-- end of results -->\n"
PREAMBLE = """# Results

Generated from `benchmarks/results/*.json` by `python -m benchmarks table`; do not edit.

- Protocols: P1 is a rollout from the initial frame, P10 one after ten given frames. nRMSE is the
  error over the truth's RMS, mean over frames and test trajectories, unless a table says otherwise.
- "Solver" is our finite-volume scheme, which made the data, on the evaluation grid. The hybrid
  calls that scheme on half the points: compare it with the solver.
- Errors compare across all tables. Seconds and milliseconds compare within one run only: machines
  differed by a factor of two and more, and some did other work at the same time.
- How the recipes were chosen, and what failed: `benchmarks/RECIPES.md`.
"""


def add_flags(parser):
    parser.add_argument("--check", action="store_true", help="compare only; exit code 1 if stale")


def run(options) -> int:
    stale = []
    for path, text in files().items():
        if not path.exists() or path.read_text() != text:
            stale.append(str(path.relative_to(ROOT)))
            if not options.check:
                path.write_text(text)
    if options.check and stale:
        print(f"{', '.join(stale)}: not up to date; run `python -m benchmarks table`")
    return int(options.check and bool(stale))


def files():
    """Return the text of each file that holds tables."""
    golden = f"{runs.forecasters()}\n\n{runs.forecaster_commands(detailed=False)}"
    golden = "\n\n".join(part for part in (golden, joint.headline()) if part)
    readme, benchmarks = ROOT / "README.md", ROOT / "benchmarks" / "README.md"
    return {
        ROOT / "RESULTS.md": results(),
        readme: replace_block(readme, golden),
        benchmarks: replace_block(benchmarks, questions()),
    }


def results() -> str:
    """Return RESULTS.md: the tables of all runs and benchmarks whose results exist."""
    golden = "## Burgers at Nu = .001\n\nProtocols, commands and costs:\n\n"
    sections = [
        f"{golden}{runs.forecaster_commands(detailed=True)}\n\n{runs.forecasters()}",
        *(runs.ensembles(name) for name in runs.ENSEMBLE_RUNS),
        runs.search("burgers"),
        runs.viscosities(),
        runs.joint_viscosities(),
        runs.apebench_scenarios(),
        runs.apebench(),
        planes(),
        joint.universal(),
        joint.fewshot(),
        *(measurements.render(section) for section in measurements.SECTIONS),
    ]
    return "\n".join([PREAMBLE, *(f"{section}\n" for section in sections if section)])


def replace_block(path, table: str) -> str:
    """Return a file's text with the lines between its markers replaced by a table."""
    text = path.read_text()
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{path} needs the lines {BEGIN.strip()} and {END.strip()}")
    return f"{head}{BEGIN}{table}\n{END}{tail}"
