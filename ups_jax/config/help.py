"""The page of keys that `--help` prints, read from the comments of ups_jax/config/base.py."""

import inspect
import re
import textwrap
from typing import Any

from ups_jax.config import base
from ups_jax.config.schema import FACTORY_SECTIONS, arguments
from ups_jax.files import flatten

LINE = re.compile(r"^\s+(cfg|fit)\.([\w.]+) = .*?  # (.+)$", re.MULTILINE)
STAGE = "fit.<stage>."


def comments() -> dict[str, str]:
    """Comment of every key and section of the base config; a stage's keys as fit.<stage>.*."""
    found = LINE.findall(inspect.getsource(base))
    return {(STAGE if owner == "fit" else "") + key: text for owner, key, text in found}


def describe() -> str:
    """Every key with its default and comment, then the arguments of each factory."""
    values = flatten(base.get_config()) | flatten(base.fit(), STAGE)
    told = comments()
    lines = ["keys (--config.KEY=VALUE; lists as a,b; none where it is the default):"]
    for key, text in told.items():
        if key not in values:
            lines.append(f"  {key}: {text}")
            continue
        lines.append(f"  {key + '=' + format_value(values[key]):<35}  {text}")
        section = key.removesuffix(".name")
        if section in FACTORY_SECTIONS:
            lines.extend(_factories(section))
    return "\n".join(lines) + "\n"


def format_value(value: Any) -> str:
    """A value as the command line takes it."""
    if isinstance(value, list | tuple):
        return ",".join(map(format_value, value))
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _factories(section: str) -> list[str]:
    component = FACTORY_SECTIONS[section]
    lines = []
    for name in sorted(component.table()):
        own = arguments(section, name).items()
        parts = [f"{k}={format_value(e.default)}" for k, e in own if k not in component.beside]
        text = f"{section}.name={name}: {' '.join(parts)}"
        lines += textwrap.wrap(text, 96, initial_indent=" " * 4, subsequent_indent=" " * 6)
    for key, (value, text) in component.beside.items():
        lines.append(f"    any {section}: {key}={format_value(value)}  {text}")
    return lines
