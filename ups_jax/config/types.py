"""Type of a config key: derived from an annotation or a default; parses text, checks values."""

import os
import types
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

WORDS = {
    bool: ("true or false", "a list of true and false"),
    int: ("a whole number", "a list of whole numbers"),
    float: ("a finite number", "a list of finite numbers"),
    str: ("a string", "a list of strings"),
}
BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
MAX_DIGITS = 30
"""Limit on the digits of an integer: 1e999999999 would exhaust the memory."""


class KeyType(NamedTuple):
    """Values of one `element` type: single (`one`), in a tuple (`many`), or None (`optional`).

    `words` are strings that may take the place of the value.
    """

    element: type
    one: bool = True
    many: bool = False
    optional: bool = False
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Describe the type for an error message."""
        one, many = WORDS[self.element]
        parts = [one] * self.one + [many] * self.many + ["none"] * self.optional
        return " or ".join([*map(repr, self.words), *parts])

    def check(self, key: str, value: Any) -> Any:
        """Return `value` in Python's types, lists as tuples. Raises ValueError."""
        plain = _plain(value)
        if (plain is None and self.optional) or (isinstance(plain, str) and plain in self.words):
            return plain
        is_list = isinstance(plain, list | tuple | range)
        items = tuple(_as_exact(self.element, _plain(v)) for v in (plain if is_list else [plain]))
        if None in items or not (self.many if is_list else self.one):
            raise ValueError(f"{key} is {value!r}; it must be {self}")
        return items if is_list else items[0]

    def parse(self, key: str, text: str) -> Any:
        """Return the value of `text` from a command line; `a,b` is a tuple. Raises ValueError."""
        bare = text.strip()
        if self.optional and bare.lower() == "none":
            return None
        if bare in self.words:
            return bare
        bracketed, words = bare[:1] + bare[-1:] in ("()", "[]"), [text]
        is_list = self.many and (not self.one or bracketed or "," in bare)
        if is_list:
            inner = (bare[1:-1] if bracketed else bare).strip().removesuffix(",")
            words = [word.strip() for word in inner.split(",")] if inner else []
        items = tuple(_parse(self.element, word) for word in words)
        if None in items:
            raise ValueError(f"{key} is {text!r}; it must be {self}")
        return items if is_list else items[0]

    def read(self, key: str, value: Any) -> Any:
        """Parse a string, as from a command line; check any other value as it is."""
        return self.parse(key, value) if isinstance(value, str) else self.check(key, value)


def key_type_of(default: Any, hint: Any = None) -> KeyType:
    """Return the type of an annotation, or of the default where the annotation is no plain type.

    Raises TypeError where neither has a type: the factory's author has to annotate.
    """
    if (annotated := _annotated(hint)) is not None:
        return annotated
    if isinstance(default, list | tuple):
        return KeyType(type(default[0]) if default else str, one=False, many=True)
    if type(default) in WORDS:
        return KeyType(type(default))
    raise TypeError(
        f"argument with default {default!r} and annotation {hint!r} has no type that a config can "
        "hold; annotate it as bool, int, float, str, or a sequence of one of these"
    )


def _annotated(hint: Any) -> KeyType | None:
    parts = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    elements, shapes, literals = set(), set(), ()
    for part in parts:
        origin, args = get_origin(part), get_args(part)
        if part is type(None):
            shapes.add("optional")
        elif part in WORDS:
            elements.add(part)
            shapes.add("one")
        elif origin is Literal:
            literals += args
        elif origin in (Sequence, tuple, list) and args:
            elements.update(arg for arg in args if arg is not Ellipsis)
            shapes.add("many")
        else:
            return None
    words = literals if elements and {str} == {*map(type, literals)} - elements else ()
    if literals and not words:
        elements.update(map(type, literals))
        shapes.add("one")
    elements = {float} if elements == {int, float} else elements
    if len(elements) != 1 or not elements <= WORDS.keys():
        return None
    return KeyType(elements.pop(), "one" in shapes, "many" in shapes, "optional" in shapes, words)


def _plain(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.tolist() if hasattr(value, "tolist") else value


def _as_exact(element: type, value: Any) -> Any:
    """Return `value` as `element` if that keeps its number, else None."""
    if element in (bool, str) or isinstance(value, bool):
        return value if type(value) is element else None
    if not isinstance(value, int | float) or (isinstance(value, float) and not isfinite(value)):
        return None
    try:
        return element(value) if element(value) == value else None
    except OverflowError:
        return None


def _parse(element: type, text: str) -> Any:
    if element is str:
        return text
    if element is bool:
        return BOOLEANS.get(text.strip().lower())
    try:
        return _as_exact(element, float(text) if element is float else _parse_int(text))
    except (ValueError, InvalidOperation):
        return None


def _parse_int(text: str) -> int | None:
    number = Decimal(text.strip())
    if not number.is_finite() or number.adjusted() > MAX_DIGITS:
        return None
    return int(number) if number == number.to_integral_value() else None
