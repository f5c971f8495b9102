"""The house rules that a machine can check: who imports whom, and how long a file may be."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIBRARY = ROOT / "ups_jax"
FILES = sorted(LIBRARY.rglob("*.py"))

ROWS = (
    {"types", "registry", "sharding", "files", "arrays", "progress"},
    {"pde", "models", "diffusion", "search", "optim"},
    {"data", "physics", "metrics", "rewards"},
    {"emulator"},
    {"train", "forecast", "stages", "flops"},
    {"evaluate"},
    {"config", "tracking", "leaderboard", "report"},
    {"experiment"},
    {"jobs"},
)
# A library, and the only places that may import it.
HOMES = {
    "wandb": ("tracking",),
    "orbax": ("experiment/checkpoint",),
    "flax": ("models/",),
    "ml_collections": ("config/",),
    "matplotlib": ("report/",),
    "exponax": ("pde/exponax",),
    "wandb_workspaces": ("jobs/dashboard",),
    "optuna": ("jobs/sweep",),
    "submitit": ("jobs/launch",),
}


def room(path: Path) -> str:
    return path.relative_to(LIBRARY).parts[0].removesuffix(".py")


def row(name: str) -> int:
    return next(i for i, names in enumerate(ROWS) if name in names)


def imports(path: Path, *, lazy: bool = True) -> list[str]:
    """Every module that a file imports, those of functions too unless told otherwise."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if lazy else tree.body
    found = []
    for node in nodes:
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            base = node.module or ""
            deeper = [f"{base}.{alias.name}" for alias in node.names]
            found += deeper if base == "ups_jax" else [base]
    return found


def test_the_table_of_rooms_knows_every_room():
    rooms = {room(path) for path in FILES} - {"__init__"}
    assert rooms <= set().union(*ROWS)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(LIBRARY)))
def test_a_room_imports_only_lower_rows(path):
    here = room(path)
    if here == "__init__":
        return
    for name in imports(path):
        if not name.startswith("ups_jax."):
            continue
        other = name.split(".")[1]
        assert other == here or row(other) < row(here), f"{here} imports {other}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(LIBRARY)))
def test_a_library_is_imported_in_its_home_only(path):
    place = path.relative_to(LIBRARY).as_posix()
    for name in imports(path):
        homes = HOMES.get(name.split(".")[0])
        assert homes is None or place.startswith(homes), f"{place} imports {name}"


@pytest.mark.parametrize("path", [*FILES, *sorted((ROOT / "runners").glob("*.py"))], ids=str)
def test_a_file_is_at_most_300_lines(path):
    assert len(path.read_text().splitlines()) <= 300


def test_runners_hold_no_learning():
    for path in (ROOT / "runners").glob("*.py"):
        heavy = [n for n in imports(path) if n.split(".")[0] in ("jax", "optax", *HOMES)]
        assert not heavy, f"{path.name} imports {heavy}"


def test_importing_the_library_is_light():
    code = "import sys, ups_jax; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "jax" in loaded
    assert not {"wandb", "orbax", "matplotlib", "ml_collections"} & set(loaded)


def test_the_results_in_the_readme_are_those_of_the_json_files():
    argv = [sys.executable, "benchmarks/table.py", "--check"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr or "run python benchmarks/table.py"
