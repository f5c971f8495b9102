"""Find a value in a registry table, or say what was meant."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TypeVar

T = TypeVar("T")


def near_miss(name: str, known: list[str]) -> str:
    """Sentence part that suggests the closest known name, or is empty where none is close."""
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ";"


def lookup(table: Mapping[str, T], name: str, kind: str) -> T:
    """`table[name]`, or a ValueError that names the near-miss and every known name."""
    if name in table:
        return table[name]
    known = sorted(table)
    hint = near_miss(str(name), known)
    raise ValueError(f"unknown {kind} {name!r}{hint} known: {', '.join(known)}")
