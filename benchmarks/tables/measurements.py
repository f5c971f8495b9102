"""Tables of the benchmarks: one section for each results file."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.tables.markdown import number, read, source, table

Record = Mapping[str, Any]


class Section(NamedTuple):
    """A table of one results file: title, protocol, columns, and a row's keys or cells."""

    file: str
    title: str
    protocol: str
    columns: Sequence[str]
    cells: Callable[[Record], list[list[str]]]


def keys(*names: str, missing: str = "") -> Callable[[Record], list[list[str]]]:
    """Return cells that are values of each row."""

    def cell(value: Any) -> str:
        return value if isinstance(value, str) else number(value, missing)

    return lambda record: [[cell(row.get(name)) for name in names] for row in record["rows"]]


def _transfer(record: Record) -> list[list[str]]:
    names = ("solver", "burgers", "burgers-hybrid")
    return [
        [row["row"], *(number(row[name], "diverged") for name in names)] for row in record["rows"]
    ]


def _generator(record: Record) -> list[list[str]]:
    return [
        [f"{row['nu']:g}", f"{row['code']}, {row['setting']}", number(row["nrmse"], "not valid"),
         number(row["ms"]), f"{row['per_second']:.0f}"]
        for row in record["rows"]
    ]  # fmt: skip


def _time_to_target(record: Record) -> list[list[str]]:
    def seconds(row: Record) -> list[str]:
        start = row["curve_s"][0] if row["curve_step"][0] == 0 else None
        return [
            "" if s is None else f"{s:.0f}{'*' if s == start else ''}" for s in row["reached_s"]
        ]

    return [
        [row["row"], number(row["parameters"]), number(row["updates"]), *seconds(row),
         number(row["final"])]
        for row in record["rows"]
    ]  # fmt: skip


def _step_time(record: Record) -> list[list[str]]:
    return [
        [f"{row['network']}, {row['task']}, batch {row['batch']}", row["contender"],
         number(row["parameters"]), number(row["ms"]), number(row["ratio_to_pytorch"]),
         number(row.get("bar"))]
        for row in record["rows"]
    ]  # fmt: skip


def _refinement(record: Record) -> list[list[str]]:
    return [
        [row["row"], number(row["mean"]), ", ".join(number(v) for v in row["values"])]
        for row in record["rows"]
    ]


def _sampler(record: Record) -> list[list[str]]:
    cells: dict[tuple[str, ...], list[str]] = {}
    for part in ("rows", "mixtures", "before"):
        for row in record[part]:
            name = row["config"] + ", before" * (part == "before")
            key = (name, row["sampler"], str(row["steps"]), str(row["calls"]))
            cells.setdefault(key, []).append(number(row["ratio"]))
    return [[*key, *ratios] for key, ratios in cells.items()]


def _scaling(record: Record) -> list[list[str]]:
    return [
        [row["row"], ", ".join(map(str, row["sizes"])),
         ", ".join(f"{s * 1e3:.3g}" for s in row["seconds"]), f"{row['seconds_slope']:.2f}",
         ", ".join(f"{b / 2**20:.3g}" for b in row["bytes"]), f"{row['bytes_slope']:.2f}"]
        for row in record["rows"]
    ]  # fmt: skip


def _devices(record: Record) -> list[list[str]]:
    return [
        [row["row"], *(number(row.get(key)) for key in (
            "updates_per_s", "rollouts_per_s", "ms", "efficiency", "bytes_per_step",
            "collectives_per_step"))]
        for row in record["rows"]
    ]  # fmt: skip


def _sweep(record: Record) -> list[list[str]]:
    labels = {
        "runners": f"wall seconds, one process over {len(record['lrs'])} processes (`:smoke`)",
        "golden": "seconds, side by side over one after another (golden operator)",
    }
    return [[labels[row["row"]], number(row["ratio"])] for row in record["rows"]]


def _streaming(record: Record) -> list[list[str]]:
    rows = {row["row"]: row for row in record["rows"]}
    memory = rows.pop("memory", None)
    cells = [
        [f"updates a second from disk over those from memory, {name}", number(row["ratio"])]
        for name, row in rows.items()
    ]
    if memory:
        label = f"peak MiB over an idle process, {memory['file_gb']:.0f} GB file"
        cells.append([label, number(memory["over_idle_mib"])])
    return cells


TARGET_TEXT = "Seconds from process start, without validation, until validation error is at most "
SECTIONS = (
    Section(
        "rollout", "Error against milliseconds",
        "Test trajectories of `configs/burgers.py`; the 1,024-cell solver made the data. "
        "Break-even: rollouts after which training has paid off against the fastest solver of no "
        "larger error.",
        ("forecaster", "P1 nRMSE", "P10 nRMSE", "ms (batch 16)", "ms alone", "break-even"),
        keys("row", "p1", "p10", "ms", "ms_alone", "break_even"),
    ),
    Section(
        "transfer", "Transfer to other data",
        "P1 nRMSE of trained operators without retraining, 200 trajectories a case.",
        ("data", "solver", "operator", "hybrid"), _transfer,
    ),
    Section(
        "refinement", "Ensembles, student and search over three seeds",
        "Ratios on the test split; student against teacher on 64 validation trajectories. Runs of "
        "the recipe before `operator.equivariant`.",
        ("quantity", "mean", "seeds"), _refinement,
    ),
    Section(
        "sampler", "Deviation of diffusion samples",
        "Deviation of samples over the true one, with the exact denoiser of a Gaussian of "
        "deviation s, or of two narrow peaks; at the steps of forecasts, and of distillation.",
        ("config", "sampler", "steps", "calls", "s = 2", "1", "0.5", "0.2", "0.1", "two peaks"),
        _sampler,
    ),
    Section(
        "time_to_target", "Time to target on Burgers",
        TARGET_TEXT + "the target. A star: reached before the first update.",
        ("network", "parameters", "updates", "{targets}", "final"), _time_to_target,
    ),
    Section(
        "time_to_target_apebench", "Time to target on APEBench",
        TARGET_TEXT + "the target (GMean100).",
        ("network", "parameters", "updates", "{targets}", "final"), _time_to_target,
    ),
    Section(
        "ablation", "Ablation of the golden recipe",
        "Validation P1 nRMSE at equal training seconds, mean and deviation over three seeds.",
        ("choice", "P1 nRMSE", "deviation", "updates", "ms an update", "train s", "parameters"),
        keys("row", "p1", "sd", "updates", "ms", "train_s", "parameters"),
    ),
    Section(
        "generator", "Data generator against exponax",
        "Mean nRMSE of 8 trajectories against the exact solution; valid: finite, and total "
        "variation never exceeds the initial one.",
        ("Nu", "solver", "nRMSE", "ms a trajectory", "trajectories a second"), _generator,
    ),
    Section(
        "step_time", "Step time against PyTorch and pdequinox",
        "Medians in turns at equal architecture and size; ratio to the fastest PyTorch. Measured "
        "before rollouts used `lax.conv`.",
        ("task", "contender", "parameters", "ms", "ratio", "bar"), _step_time,
    ),
    Section(
        "search_cost", "Cost of ensembles and search over their network calls",
        "Milliseconds a sample and step, 8 members, batch 16.",
        ("forecaster", "ms", "network calls alone, ms", "ratio"),
        keys("row", "ms", "calls_ms", "ratio"),
    ),
    Section(
        "scaling", "Scaling of seconds and memory",
        "Slope of the logarithms: 1 is linear.",
        ("program", "sizes", "ms", "slope", "MiB", "slope"), _scaling,
    ),
    Section(
        "streaming", "Training from disk", "Golden operator; file in PDEBench's layout.",
        ("quantity", "value"), _streaming,
    ),
    Section(
        "multi_device", "Several devices",
        "Updates of one step, P1 rollouts; golden run. `model` rows are computed on paper.",
        (
            "setting", "updates a second", "rollouts a second", "ms", "efficiency", "bytes a step",
            "collectives a step",
        ),
        _devices,
    ),
    Section(
        "sweep", "Sixteen learning rates at once", "Ratios of seconds.", ("quantity", "ratio"),
        _sweep,
    ),
    Section(
        "startup", "Start-up", "Seconds from process start of `:smoke`, empty and warm caches.",
        ("mark", "cold s", "warm s", "ratio"), keys("row", "cold_s", "warm_s", "ratio"),
    ),
    Section(
        "joint_cost", "Cost of joint training",
        "Milliseconds of a one-step update of the network of `configs/universal.py`, in turns. "
        "Ratio: that of ten equations over this.",
        ("data", "ms an update", "ratio"), keys("row", "ms", "ratio"),
    ),
    Section(
        "faults", "Faults that a run survives",
        "A tiny run with all stages, disturbed and run again. Survived: the undisturbed run's "
        "results to the bit, or at most two lines on stderr with the right exit code. The command "
        "is that of the last part; the file has each row's commit.",
        ("fault", "tried", "survived"), keys("kind", "tried", "survived"),
    ),
    Section(
        "convolution", "Convolution inside `scan`",
        "Forward and gradient of one layer, width 64, 128 sites, batch 8.",
        ("convolution", "ms a step"), keys("row", "ms"),
    ),
)  # fmt: skip


def render(section: Section) -> str:
    """Return one section in Markdown, "" if its file does not exist."""
    record = read(section.file)
    if record is None:
        return ""
    columns: list[str] = []
    for column in section.columns:
        columns += [f"{t:g}" for t in record["targets"]] if column == "{targets}" else [column]
    return (
        f"## {section.title}\n\nProtocol: {section.protocol}\nCommand: {source(record)}.\n\n"
        + table(columns, section.cells(record))
    )
