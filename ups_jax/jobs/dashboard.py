"""A W&B workspace for a project's runs, made offline; only `--save` connects, to create a view."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ups_jax import config
from ups_jax.config import base
from ups_jax.experiment.build import build_pde
from ups_jax.experiment.signals import StopFlag
from ups_jax.files import read_json, write_json
from ups_jax.pde.base import PDE
from ups_jax.physics import diagnostic_names
from ups_jax.registry import lookup
from ups_jax.stages import STAGES

VERDICT_KEYS = ("eval/nrmse", "eval/val/nrmse", "eval/physics/conservation_gap", "wall/total_s")
"""Summary keys of the verdict; runs are ordered by the first."""
GATE_KEYS, WORSE_KEY = ("eval/gates/met", "eval/gates/failed"), "eval/regression/worse"
TABLES = ("Evaluation Summary", "Gates", "Leaderboard", "Regressions", "Stage Summary")
PAGES = ("report", "leaderboard")
DASHBOARD_FIGURES = ("gates", "champion", "training", "error_over_time", "spectra", "conserved")


@dataclass(frozen=True, kw_only=True)
class DashboardOptions:
    """The project that a workspace shows, and where its spec goes."""

    workdir: Path | None = None
    project: str | None = None
    entity: str | None = None
    name: str | None = None
    baseline: str | None = None
    """Id of a run, or "entity/project/id"."""
    stages: str | None = None
    """Names separated by commas."""
    out: Path | None = None
    save: bool = False


class Command(NamedTuple):
    """A workspace's spec or address for stdout, and one line about it for stderr."""

    output: str
    line: str


def prepare(options: DashboardOptions, stop: StopFlag) -> Command:
    """Make the workspace, and save it if requested. ValueError for bad input or a W&B error."""
    _import_package()
    cfg, about = _read_run(options.workdir)
    stages = tuple(dict.fromkeys(options.stages.split(","))) if options.stages else cfg.stages
    for stage in stages:
        lookup(STAGES, stage, "stage")
    project = options.project or about.get("project") or cfg.log.project
    entity = options.entity or about.get("entity") or cfg.log.entity or ""
    name = options.name or f"{project}: verdict and training"
    baseline = options.baseline
    with _connect() if options.save else nullcontext() as api:
        if api is not None and not entity:
            entity = api.settings["entity"] or api.default_entity
        if baseline and not entity and "/" not in baseline:
            raise ValueError(f"--baseline {baseline} needs an entity; add --entity NAME")
        view = workspace(
            build_pde(cfg),
            stages,
            pde_keys=list(cfg.pde),
            project=project,
            entity=entity,
            name=name,
            baseline=baseline,
        )
        spec = to_spec(view)
        if options.out is not None:
            write_json(options.out, spec)
        url = view.save().url if api is not None else None
    panels = sum(len(section.panels) for section in view.sections)
    line = f"{name}: {panels} panels, stages {', '.join(stages)}"
    return Command(url or ("" if options.out else json.dumps(spec, indent=2)), line)


def execute(command: Command) -> int:
    """Print the spec or the address -> exit code."""
    print(command.line, file=sys.stderr)
    if command.output:
        print(command.output)
    return 0


def workspace(
    pde: PDE,
    stages: Sequence[str],
    *,
    pde_keys: Sequence[str],
    project: str,
    entity: str,
    name: str,
    baseline: str | None = None,
) -> Any:
    """Return the Workspace of runs that train `stages` on `pde`.

    `pde_keys` are keys of the config's section `pde`. `baseline` is the id of a run, or
    "entity/project/id" for a run of another project.
    """
    ws, _ = _import_package()
    summary = (*VERDICT_KEYS, *GATE_KEYS, WORSE_KEY, "eval/leaderboard/rank")
    # W&B stores a config key `a.b` as `a.value.b`.
    columns = [f"pde.value.{key}" for key in ("name", *pde.params) if key in pde_keys]
    columns = [f"config:{key}" for key in ("selected.value", "seed.value", *columns)]
    runs = ws.RunsetSettings(
        order=[ws.Ordering(ws.Summary(VERDICT_KEYS[0]), ascending=True)],
        pinned_columns=[*(f"summary:{key}" for key in summary), *columns],
        baseline_run=baseline,
    )
    sections = _sections(stages, [name for name in diagnostic_names(pde) if name != "floored"])
    return ws.Workspace(
        entity=entity, project=project, name=name, sections=sections, runset_settings=runs
    )


def to_spec(workspace: Any) -> dict[str, Any]:
    """Return a workspace as W&B receives it, in plain values."""
    return json.loads(workspace._to_model().model_dump_json(by_alias=True, exclude_none=True))


def _sections(stages: Sequence[str], physics: Sequence[str]) -> list[Any]:
    ws, wr = _import_package()

    def bars(title: str, *keys: str) -> Any:
        return wr.BarPlot(title=title, metrics=list(keys or [title]))

    def curve(series: str, metric: str) -> Any:
        key, log = f"{series}/{metric}", metric.startswith(("loss", "val"))
        return wr.LinePlot(title=key, x=f"{series}/step", y=[key], log_y=log)

    def section(name: str, *panels: Any, columns: int, rows: int = 2, is_open: bool = True) -> Any:
        layout = ws.SectionLayoutSettings(columns=columns, rows=rows)
        return ws.Section(name, list(panels), is_open=is_open, layout_settings=layout)

    best = wr.ScalarChart(title="lowest nRMSE", metric=VERDICT_KEYS[0], groupby_aggfunc="min")
    judged = [bars("gates", *GATE_KEYS), bars("regressed metrics", WORSE_KEY)]
    curves = [
        curve(STAGES[stage].series, metric)
        for stage in stages
        for metric in ("loss", f"val_{STAGES[stage].validate_by}", "lr", "grad_norm")
    ]
    tables = [wr.WeavePanelSummaryTable(table_name=table) for table in TABLES]
    pages = [wr.MediaBrowser(title=page, media_keys=[page]) for page in PAGES]
    keys = [f"figures/{name}" for name in DASHBOARD_FIGURES]
    figures = wr.MediaBrowser(title="figures", media_keys=keys, num_columns=2)
    return [
        section("Verdict", best, *map(bars, VERDICT_KEYS), *judged, columns=4),
        section("Training", *curves, columns=4, rows=len(stages)),
        section("Physics", *(bars(f"eval/physics/{m}") for m in physics), columns=3, is_open=False),
        section("Tables and media", *tables, *pages, figures, columns=2, is_open=False),
    ]


def _read_run(workdir: Path | None) -> tuple[Any, dict[str, Any]]:
    """Config and W&B record of a folder's run; without a folder, the base with every stage."""
    if workdir is None:
        return config.load(base.__file__, {"stages": tuple(STAGES)}), {}
    saved = read_json(workdir / "config.json", None)
    if saved is None:
        raise ValueError(f"{workdir} holds no run: config.json is missing; train one first")
    return config.from_dict(saved), read_json(workdir / "wandb_run.json", {})


def _import_package() -> tuple[Any, Any]:
    try:
        import wandb_workspaces.reports.v2 as wr
        import wandb_workspaces.workspaces as ws
    except ModuleNotFoundError as error:
        raise ValueError(
            f"a dashboard needs wandb-workspaces ({error}); run pip install 'ups_jax[dashboard]'"
        ) from error
    return ws, wr


@contextmanager
def _connect() -> Iterator[Any]:
    """Yield W&B's API from the SDK that the package uses; its errors become ValueErrors."""
    import wandb_workspaces.workspaces.interface as package

    sdk: Any = vars(package)["wandb"]
    try:
        # The package would prompt for a missing key on a terminal.
        host, auth = sdk.setup().settings.base_url, sdk.sdk.lib.wbauth
        if not auth.authenticate_session(host=host, source="", prompt=False, update_session=False):
            raise ValueError(
                "--save needs a W&B key: set WANDB_API_KEY, or run `wandb login`\n"
                "without --save the spec is made offline"
            )
        yield sdk.Api()
    except (sdk.Error, sdk.apis.public.service_api.WandbApiFailedError) as error:
        raise ValueError(f"W&B: {' '.join(str(error).split())}") from error
