"""The page of keys that `--help` prints, read from the comments of ups_jax/config/base.py."""

import inspect
import re
import textwrap

from ups_jax.config import base
from ups_jax.config.schema import FACTORY_SECTIONS, arguments, format_value
from ups_jax.files import flatten

LINE = re.compile(r"^\s+(cfg|fit)\.([\w.]+) = .*?  # (.+)$", re.MULTILINE)
STAGE = "fit.<stage>."


def comments() -> dict[str, str]:
    """Return the comment of every key and section of the base; a stage's keys as fit.<stage>.*."""
    lines = LINE.findall(inspect.getsource(base))
    return {(STAGE if root == "fit" else "") + key: text for root, key, text in lines}


def describe() -> str:
    """Return every key with its default and comment, then the arguments of each factory."""
    values = flatten(base.get_config()) | flatten(base.fit(), STAGE)
    lines = ["keys (--config.KEY=VALUE; lists as a,b; none where it is the default):"]
    for key, text in comments().items():
        if key not in values:
            lines.append(f"  {key}: {text}")
            continue
        lines.append(f"  {key + '=' + format_value(values[key]):<35}  {text}")
        section = key.removesuffix(".name")
        if section in FACTORY_SECTIONS:
            lines.extend(_factories(section))
    return "\n".join(lines) + "\n"


def _factories(section: str) -> list[str]:
    spec = FACTORY_SECTIONS[section]
    lines = []
    for name in sorted(spec.table):
        keys = arguments(section, name).items()
        parts = [f"{k}={format_value(key.default)}" for k, key in keys if k not in spec.extra]
        text = f"{section}.name={name}: {' '.join(parts)}"
        lines += textwrap.wrap(text, 96, initial_indent=" " * 4, subsequent_indent=" " * 6)
    for key, (value, text) in spec.extra.items():
        lines.append(f"    any {section}: {key}={format_value(value)}  {text}")
    return lines
