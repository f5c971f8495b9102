"""Settings of the documentation site: `make docs` builds it into `build/docs`."""

import os
import re
from pathlib import Path

import ups_jax

DOCS = Path(__file__).parent
ROOT = DOCS.parent

project = "ups_jax"
author = "the authors of ups_jax"
version = release = ups_jax.__version__
html_title = f"ups_jax {release}"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_copybutton"]
exclude_patterns = ["_build"]
nitpicky = False

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
highlight_language = "text"

# Notebooks of the gallery run once and again when they change, in a folder of their own.
nb_execution_mode = "cache"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_output_stderr = "remove"
nb_merge_streams = True
os.environ.setdefault("JAX_PLATFORMS", "cpu")

autodoc_typehints = "none"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}

# Pages of the repository that the site shows too: a link to the file is a link to the page.
MIRRORED = {
    ROOT / "RESULTS.md": DOCS / "results.md",
    ROOT / "benchmarks" / "README.md": DOCS / "benchmarks.md",
    ROOT / "benchmarks" / "RECIPES.md": DOCS / "recipes.md",
    ROOT / "benchmarks" / "GPU.md": DOCS / "gpu.md",
}
# A link whose text is the name of a page shows the page's title instead.
NAMED = re.compile(r"\[[\w/]+\.md\]\((?=\S+\.md)")
INCLUDE = re.compile(r"^```\{include\} (\S+)\n```$", re.MULTILINE)
LINK = re.compile(r"(?<=\]\()([^()#\s]+)(?=[)#])")


def read_page(app, docname: str, source: list[str]) -> None:
    """Include the files that a page names, and point links at the pages of the site."""
    folder = (DOCS / docname).parent

    def relink(text: str, base: Path) -> str:
        def target(match: re.Match[str]) -> str:
            path = (base / match[1]).resolve()
            found = path.exists()
            return os.path.relpath(MIRRORED.get(path, path), folder) if found else match[0]

        return LINK.sub(target, NAMED.sub("[](", text))

    def include(match: re.Match[str]) -> str:
        path = (folder / match[1]).resolve()
        return relink(path.read_text(), path.parent)

    source[0] = INCLUDE.sub(include, relink(source[0], folder))


def write_docstring(app, what, name, value, options, lines: list[str]) -> None:
    """Turn a docstring of plain text into reStructuredText: `code`, and symbols as they stand."""
    for i, line in enumerate(lines):
        spans = line.split("`")
        spans[::2] = [re.sub(r"([*|\\]|_(?=\W|$))", r"\\\1", text) for text in spans[::2]]
        lines[i] = "``".join(spans)


def write_signature(app, what, name, value, options, signature, returns):
    """Shorten defaults that are functions to their name, or to an ellipsis."""
    if signature is None:
        return None
    signature = re.sub(r"<function (\w+)>|<function [^>]*>+|<factory>", r"\1", signature)
    signature = re.sub(r"=lambda ?[^:]*: [^,)]*|=(?=[,)])", "=...", signature)
    return signature, returns


def skip_field(app, what, name, value, skip, options) -> bool | None:
    """Skip the fields of a NamedTuple, which its docstring describes."""
    return True if type(value).__name__ == "_tuplegetter" else None


def setup(app) -> None:
    """Connect the functions above."""
    app.connect("source-read", read_page)
    app.connect("autodoc-process-docstring", write_docstring)
    app.connect("autodoc-process-signature", write_signature)
    app.connect("autodoc-skip-member", skip_field)
