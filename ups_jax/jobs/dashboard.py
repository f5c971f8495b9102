"""The W&B workspace of a project: what runs log, laid out so that they can be compared.

A value of the optional package `wandb-workspaces`, made and written as JSON without a network.
`--save` alone talks to W&B, and makes a view, never a run. The baseline is the package's own
`RunsetSettings.baseline_run`: always shown, and drawn apart in line plots.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ups_jax import config
from ups_jax.config import base
from ups_jax.emulator import Emulator
from ups_jax.experiment.build import build
from ups_jax.experiment.signals import StopFlag
from ups_jax.files import read_json, write_json
from ups_jax.pde.base import PDE
from ups_jax.physics import diagnostics
from ups_jax.registry import lookup
from ups_jax.stages import STAGES
from ups_jax.tracking import Schema

VERDICT = ("eval/nrmse", "eval/val/nrmse", "eval/physics/conservation_gap", "wall/total_s")
"""What a run is judged by; the first orders the runs."""
GATES, WORSE = ("eval/gates/met", "eval/gates/failed"), "eval/regression/worse"
RANK = "eval/leaderboard/rank"
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
    """Lay out the workspace and, where asked for, save it. ValueError on whatever hinders that."""
    _package()
    cfg, about = _subject(options.workdir)
    stages = (
        tuple(dict.fromkeys(options.stages.split(","))) if options.stages else tuple(cfg.stages)
    )
    for stage in stages:
        lookup(STAGES, stage, "stage")
    # A flag may name stages that the workdir's run did not have.
    with cfg.unlocked():
        cfg.stages = tuple(STAGES)
    project = options.project or about.get("project") or cfg.log.project
    entity = options.entity or about.get("entity") or cfg.log.entity or ""
    name = options.name or f"{project}: verdict and training"
    with _online() if options.save else nullcontext() as api:
        if api is not None and not entity:
            entity = api.settings["entity"] or api.default_entity
        if options.baseline and not entity and "/" not in options.baseline:
            raise ValueError(f"--baseline {options.baseline} is a run of some entity: add --entity")
        about = {"project": project, "entity": entity, "name": name, "baseline": options.baseline}
        made = workspace(build(cfg), cfg, stages, **about)
        spec = spec_of(made)
        if options.out is not None:
            write_json(options.out, spec)
        url = made.save().url if api is not None else None
    panels = sum(len(section.panels) for section in made.sections)
    line = f"{name}: {panels} panels, stages {', '.join(stages)}"
    return Command(url or ("" if options.out else json.dumps(spec, indent=2)), line)


def execute(board: Command) -> int:
    """Say what was made -> exit code."""
    print(board.line, file=sys.stderr)
    if board.output:
        print(board.output)
    return 0


def workspace(
    emulator: Emulator,
    cfg: Any,
    stages: Sequence[str],
    *,
    project: str,
    entity: str,
    name: str,
    baseline: str | None = None,
) -> Any:
    """Return the Workspace of runs that train `stages`, all of them networks of `emulator`.

    `baseline` is a run's id, or "entity/project/id" of a run elsewhere.
    """
    ws, _ = _package()
    # W&B keeps a config key `a.b` as `a.value.b`.
    own = [f"config:pde.value.{key}" for key in ("name", *emulator.pde.params) if key in cfg.pde]
    results = [f"summary:{key}" for key in (*VERDICT, *GATES, WORSE, RANK)]
    runs = ws.RunsetSettings(
        order=[ws.Ordering(ws.Summary(VERDICT[0]), ascending=True)],
        pinned_columns=[*results, "config:ship.value", "config:seed.value", *own],
        baseline_run=baseline,
    )
    sections = _sections(series(emulator, cfg, stages), checks(emulator.pde), stages)
    return ws.Workspace(
        entity=entity, project=project, name=name, sections=sections, runset_settings=runs
    )


def series(emulator: Emulator, cfg: Any, stages: Sequence[str]) -> dict[str, str]:
    """Keys of the curves of each stage, in its order, and the key of each one's own x-axis."""
    axes, found = Schema(tuple(stages)).axes(), []
    for stage in stages:
        judged = STAGES[stage].validate_by
        found += [f"{stage}/{metric}" for metric in ("loss", f"val_{judged}", "lr", "grad_norm")]
    return {key: axes[key] for key in found}


def checks(pde: PDE) -> list[str]:
    """Names of the physics metrics of a PDE's forecasts, without computing one."""
    field = (*pde.points, len(pde.channels))
    shapes = ((1, *field), (1, 2, *field), (1, len(pde.params)))
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return list(jax.eval_shape(lambda *fields: diagnostics(pde, *fields), *arrays))


def spec_of(workspace: Any) -> dict[str, Any]:
    """What a save sends to W&B, as plain values."""
    return json.loads(workspace._to_model().model_dump_json(by_alias=True, exclude_none=True))


def _sections(curves: dict[str, str], physics: list[str], stages: Sequence[str]) -> list[Any]:
    ws, wr = _package()

    def bars(title: str, *keys: str) -> Any:
        return wr.BarPlot(title=title, metrics=list(keys or [title]))

    def section(name: str, *panels: Any, columns: int, rows: int = 2, is_open: bool = True) -> Any:
        layout = ws.SectionLayoutSettings(columns=columns, rows=rows)
        return ws.Section(name, list(panels), is_open=is_open, layout_settings=layout)

    best = wr.ScalarChart(title="lowest nRMSE", metric=VERDICT[0], groupby_aggfunc="min")
    judged = [bars("gates", *GATES), bars("metrics that got worse", WORSE)]
    lines = [
        wr.LinePlot(title=key, x=axis, y=[key], log_y=key.split("/")[1].startswith(("loss", "val")))
        for key, axis in curves.items()
    ]
    each = len(lines) // len(stages)
    tables = [wr.WeavePanelSummaryTable(table_name=table) for table in TABLES]
    pages = [wr.MediaBrowser(title=page, media_keys=[page]) for page in PAGES]
    figures = [f"figures/{name}" for name in DASHBOARD_FIGURES]
    seen = wr.MediaBrowser(title="figures", media_keys=figures, num_columns=2)
    return [
        section("Verdict", best, *map(bars, VERDICT), *judged, columns=4),
        section("Training", *lines, columns=each, rows=len(stages)),
        section("Physics", *(bars(f"eval/physics/{m}") for m in physics), columns=3, is_open=False),
        section("Tables and media", *tables, *pages, seen, columns=2, is_open=False),
    ]


def _subject(workdir: Path | None) -> tuple[Any, dict[str, Any]]:
    """Config and W&B record of a folder's run; without one, the base's, with every stage."""
    if workdir is None:
        return config.load(base.__file__, {"stages": tuple(STAGES)}), {}
    saved = read_json(workdir / "config.json", None)
    if saved is None:
        raise ValueError(f"{workdir} holds no run: config.json is missing; train one first")
    return config.from_dict(saved), read_json(workdir / "wandb_run.json", {})


def _package() -> tuple[Any, Any]:
    try:
        import wandb_workspaces.reports.v2 as wr
        import wandb_workspaces.workspaces as ws
    except ModuleNotFoundError as error:
        raise ValueError(
            f"a dashboard needs wandb-workspaces ({error}); pip install 'ups_jax[dashboard]'"
        ) from error
    return ws, wr


@contextmanager
def _online() -> Iterator[Any]:
    """W&B's API, by the SDK that the package talks through; a refusal becomes a ValueError."""
    import wandb_workspaces.workspaces.interface as package

    sdk: Any = vars(package)["wandb"]
    try:
        # Told not to prompt for a key, as the package would on a terminal.
        host, auth = sdk.setup().settings.base_url, sdk.sdk.lib.wbauth
        if not auth.authenticate_session(host=host, source="", prompt=False, update_session=False):
            raise ValueError(
                "--save needs a W&B key: set WANDB_API_KEY, or run `wandb login`\n"
                "without --save the spec is made offline"
            )
        yield sdk.Api()
    except (sdk.Error, sdk.apis.public.service_api.WandbApiFailedError) as error:
        raise ValueError(f"W&B: {' '.join(str(error).split())}") from error
