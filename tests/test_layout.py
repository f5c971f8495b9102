"""House rules that a machine can check: imports, lengths, constants and words."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIBRARY = ROOT / "ups_jax"
FILES = sorted(LIBRARY.rglob("*.py"))
SCRIPTS = [path for name in ("configs", "runners") for path in sorted((ROOT / name).glob("*.py"))]
BENCHMARKS = sorted((ROOT / "benchmarks").rglob("*.py"))
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "benchmarks").glob("*.md")),
]

ROWS = (
    {"values"},
    {"types"},
    {"registry", "sharding", "files", "arrays", "progress", "tables"},
    {"pde", "models", "diffusion", "search", "optim"},
    {"data", "physics", "metrics", "rewards"},
    {"emulator"},
    {"forecast", "flops"},
    {"evaluate"},
    {"stages"},
    {"train"},
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
    "exponax": ("pde/apebench",),
    "wandb_workspaces": ("jobs/dashboard",),
    "optuna": ("jobs/sweep",),
    "submitit": ("jobs/launch",),
}


# A name after a dot is exempt: `study.tell` is Optuna's; so are lines that end in `# key map`.
BANNED = re.compile(
    r"(?<![a-z.])(nought|dear|told|tells?|said|beside|asked|hangs?~on|goes~on|of~which|fate"
    r"|strangers?|rivalry|ship(?:s|ped)?(?!~configs?)|members~go|as~one~sees)(?![a-z])".replace(
        "~", r"[\s#_\"']+"
    ),
    re.IGNORECASE,
)
QUESTION = re.compile(r"(What|How|Which|Who|Whether|Where)\b")


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room(path: Path) -> str:
    return path.relative_to(LIBRARY).parts[0].removesuffix(".py")


def row(name: str) -> int:
    return next(i for i, names in enumerate(ROWS) if name in names)


def imports(path: Path, *, lazy: bool = True) -> list[str]:
    """List the modules that a file imports; with `lazy`, inside functions too."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if lazy else tree.body
    modules = []
    for node in nodes:
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            base = node.module or ""
            deeper = [f"{base}.{alias.name}" for alias in node.names]
            modules += deeper if base == "ups_jax" else [base]
    return modules


def constants(path: Path) -> list[tuple[str, str]]:
    """List the module-level constants of a file: name and value as source text."""
    pairs = []
    for node in ast.parse(path.read_text()).body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            names, values = [target], [node.value]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                names, values = target.elts, node.value.elts
            pairs += [(ast.unparse(n), ast.unparse(v)) for n, v in zip(names, values, strict=True)]
    return [(name, value) for name, value in pairs if re.fullmatch("[A-Z][A-Z0-9_]+", name)]


def test_the_table_of_rooms_knows_every_room():
    rooms = {room(path) for path in FILES} - {"__init__", "__main__"}
    assert rooms <= set().union(*ROWS)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(LIBRARY)))
def test_a_room_imports_only_lower_rows(path):
    here = room(path)
    if here in ("__init__", "__main__"):
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


@pytest.mark.parametrize("path", [*FILES, *SCRIPTS, *BENCHMARKS], ids=relative)
def test_a_file_is_at_most_300_lines(path):
    assert len(path.read_text().splitlines()) <= 300


def test_no_room_holds_more_than_a_fifth_of_the_package():
    lines = dict.fromkeys(map(room, FILES), 0)
    for path in FILES:
        lines[room(path)] += len(path.read_text().splitlines())
    assert max(lines.values()) <= sum(lines.values()) / 5, lines


def test_a_constant_has_one_meaning_in_the_package():
    values: dict[str, dict[str, list[str]]] = {}
    for path in FILES:
        for name, value in constants(path):
            values.setdefault(name, {}).setdefault(value, []).append(relative(path))
    several = {name: sorted(sum(v.values(), [])) for name, v in values.items() if len(v) > 1}
    assert not several


@pytest.mark.parametrize("path", [*FILES, *SCRIPTS, *BENCHMARKS, *PAGES], ids=relative)
def test_prose_uses_the_words_of_the_field(path):
    text = path.read_text()
    hits = [(text.count("\n", 0, m.start()) + 1, m[0]) for m in BANNED.finditer(text)]
    lines = text.splitlines()
    hits = [(line, word) for line, word in hits if not lines[line - 1].endswith("# key map")]
    if path.suffix == ".py":
        strings = [node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Expr)]
        docs = [x for x in strings if isinstance(x, ast.Constant) and isinstance(x.value, str)]
        hits += [(x.lineno, m[0]) for x in docs if (m := QUESTION.match(x.value))]
    assert not hits, "\n".join(f"{relative(path)}:{line}: {word!r}" for line, word in hits)


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


def test_every_benchmark_is_in_the_list():
    argv = [sys.executable, "-m", "benchmarks", "--list"]
    listed = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    modules = [path for path in BENCHMARKS if "def run(options)" in path.read_text()]
    names = {path.stem for path in modules} - {"write"}
    assert names | {"table"} == {line.split()[0] for line in listed.splitlines()[2:]}


def test_result_tables_match_the_json_files():
    argv = [sys.executable, "-m", "benchmarks", "table", "--check"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
