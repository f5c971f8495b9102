"""Look up a value in a registry table; an unknown name is an error with a suggestion."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TypeVar

T = TypeVar("T")


def near_miss(name: str, known: list[str]) -> str:
    """Return "; did you mean NAME?" with the closest known name, or ";" if none is close."""
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ";"


def lookup(table: Mapping[str, T], name: str, kind: str) -> T:
    """Return `table[name]`; ValueError with the closest and all known names if it is missing."""
    if name in table:
        return table[name]
    known = sorted(table)
    hint = near_miss(str(name), known)
    raise ValueError(f"unknown {kind} {name!r}{hint} known: {', '.join(known)}")
