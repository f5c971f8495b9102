"""What a config key takes: told by an annotation or a default, parsed from text or checked."""

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
"""Most digits of a whole number written with an exponent: 1e999999999 must not fill the memory."""


class KeyType(NamedTuple):
    """Values of one `element` type: alone (`one`), in a tuple (`many`), left out (`optional`)."""

    element: type
    one: bool = True
    many: bool = False
    optional: bool = False

    def __str__(self) -> str:
        """Words of an error message."""
        one, many = WORDS[self.element]
        parts = [one] * self.one + [many] * self.many + ["none"] * self.optional
        return " or ".join(parts)

    def check(self, key: str, value: Any) -> Any:
        """`value` in this kind's own types (lists as tuples, numpy as python), or ValueError."""
        plain = _plain(value)
        if plain is None and self.optional:
            return None
        if self.many and isinstance(plain, list | tuple | range):
            items = tuple(_as_exact(self.element, _plain(item)) for item in plain)
            if None not in items:
                return items
        elif self.one and (item := _as_exact(self.element, plain)) is not None:
            return item
        raise ValueError(f"{key} is {value!r}; it must be {self}")

    def parse(self, key: str, text: str) -> Any:
        """The value that `text` from a command line stands for, or ValueError. `a,b` is a tuple."""
        bare = text.strip()
        if self.optional and bare.lower() == "none":
            return None
        bracketed = bare[:1] + bare[-1:] in ("()", "[]")
        if self.many and (not self.one or bracketed or "," in bare):
            inner = (bare[1:-1] if bracketed else bare).strip().removesuffix(",")
            words = inner.split(",") if inner else []
            items = tuple(_parse(self.element, word.strip()) for word in words)
            if None not in items:
                return items
        elif self.one and (item := _parse(self.element, text)) is not None:
            return item
        raise ValueError(f"{key} is {text!r}; it must be {self}")

    def read(self, key: str, value: Any) -> Any:
        """Strings are parsed, as from a command line; any other value is checked as it is."""
        return self.parse(key, value) if isinstance(value, str) else self.check(key, value)


def key_type_of(default: Any, hint: Any = None) -> KeyType:
    """Kind told by an annotation, or by the default where the annotation is no plain type.

    Raises TypeError where neither tells: the factory's author has to annotate.
    """
    if (told := _annotated(hint)) is not None:
        return told
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
    found, shapes = set(), set()
    for part in parts:
        origin, args = get_origin(part), get_args(part)
        if part is type(None):
            shapes.add("optional")
        elif part in WORDS:
            found.add(part)
            shapes.add("one")
        elif origin is Literal:
            found.update(type(value) for value in args)
            shapes.add("one")
        elif origin in (Sequence, tuple, list) and args:
            found.update(arg for arg in args if arg is not Ellipsis)
            shapes.add("many")
        else:
            return None
    elements = {float} if found == {int, float} else found
    if len(elements) != 1 or not elements <= WORDS.keys():
        return None
    return KeyType(elements.pop(), "one" in shapes, "many" in shapes, "optional" in shapes)


def _plain(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.tolist() if hasattr(value, "tolist") else value


def _as_exact(element: type, value: Any) -> Any:
    """`value` as `element` without a change of its number; None where it is no such thing."""
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
