"""`a = 1 && (b != "x*" || c IS NULL)`: the conditions that JSON and space-delimited patterns share."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from typing import Any, Final

from lark import Lark, Token, Transformer, UnexpectedInput
from lark.exceptions import VisitError

from trimtab.errors import Invalid

ABSENT: Final = object()
Lookup = Callable[[Any], Any]  # in a message's fields: the value, or ABSENT
Condition = Callable[[Any], bool]

_PARSER: Final = Lark(
    r"""
    ?start: either
    ?either: both ("||" both)*
    ?both: atom ("&&" atom)*
    ?atom: "(" either ")"
         | FIELD OPERATOR (STRING | BARE) -> comparison
         | FIELD "IS"i "NULL"i            -> is_null
         | FIELD "IS"i "TRUE"i            -> is_true
         | FIELD "IS"i "FALSE"i           -> is_false
         | FIELD "NOT"i "EXISTS"i         -> is_absent
         | FIELD "EXISTS"i                -> is_present
    FIELD: /\$?(?:[\w@.-]|\[(?:\d+|'[^'\]]*'|"[^"\]]*")\])+/
    OPERATOR: "=" | "!=" | "<=" | ">=" | "<" | ">"
    STRING: /"(?:[^"\\]|\\.)*"/
    BARE: /[^\s"()&|{}\[\],=<>!]+/
    %import common.WS
    %ignore WS
    """,
    parser="lalr",
)
_ORDERS: Final = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def parse(text: str, lookup: Callable[[str], Lookup]) -> Condition:
    """A condition on fields, which `lookup` finds by their names. Raises Invalid saying where it is wrong."""
    try:
        return _Build(lookup).transform(_PARSER.parse(text))
    except UnexpectedInput as error:
        near = text[error.pos_in_stream or 0 :][:20]
        where = f"what begins with {near!r} does not fit there" if near else "it ends too early"
        raise Invalid(f"Invalid filter pattern: {where}.") from None
    except VisitError as error:
        raise error.orig_exc from None


class _Build(Transformer[Token, Condition]):
    """The parser's tree as functions. Parentheses leave no trace in it: patterns of AWS's length nest little."""

    def __init__(self, lookup: Callable[[str], Lookup]) -> None:
        super().__init__()
        self._lookup = lookup

    def either(self, parts: list[Condition]) -> Condition:
        return lambda fields: any(part(fields) for part in parts)

    def both(self, parts: list[Condition]) -> Condition:
        return lambda fields: all(part(fields) for part in parts)

    def comparison(self, parts: list[Token]) -> Condition:
        field, sign, literal = map(str, parts)
        return _present(self._lookup(field), _compare(sign, literal))

    def is_null(self, parts: list[Token]) -> Condition:
        return _present(self._lookup(str(parts[0])), lambda value: value is None)

    def is_true(self, parts: list[Token]) -> Condition:
        return _present(self._lookup(str(parts[0])), lambda value: value is True)

    def is_false(self, parts: list[Token]) -> Condition:
        return _present(self._lookup(str(parts[0])), lambda value: value is False)

    def is_absent(self, parts: list[Token]) -> Condition:
        find = self._lookup(str(parts[0]))
        return lambda fields: find(fields) is ABSENT

    def is_present(self, parts: list[Token]) -> Condition:
        return _present(self._lookup(str(parts[0])), lambda value: True)


def _present(find: Lookup, test: Callable[[Any], bool]) -> Condition:
    def condition(fields: Any) -> bool:
        value = find(fields)
        return value is not ABSENT and test(value)

    return condition


def _compare(sign: str, literal: str) -> Callable[[Any], bool]:
    quoted = literal.startswith('"')
    if literal.startswith("%"):
        raise Invalid("Invalid filter pattern: trimtab does not support regular expressions in filter patterns.")
    text = unquoted(literal) if quoted else literal
    number = None if quoted else number_of(text)
    if sign in _ORDERS:
        if number is None:
            raise Invalid(f"Invalid filter pattern: {sign} compares numbers, and {literal!r} is none.")
        order, bound = _ORDERS[sign], number
        return lambda value: (n := _numeric(value)) is not None and order(n, bound)
    fits = wildcard(text)

    def equal(value: Any) -> bool:
        return (number is not None and _numeric(value) == number) or fits(_text(value))

    return equal if sign == "=" else lambda value: not equal(value)


def unquoted(literal: str) -> str:
    """What stands between double quotation marks, its backslashes resolved."""
    return re.sub(r"\\(.)", r"\1", literal[1:-1])


def wildcard(pattern: str) -> Callable[[str], bool]:
    """Whether a text is `pattern`, in which `*` stands for anything. Never slower than text times parts."""
    first, *rest = pattern.split("*")
    if not rest:
        return lambda text: text == pattern
    *middle, last = rest

    def fits(text: str) -> bool:
        if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
            return False
        at, end = len(first), len(text) - len(last)
        for part in middle:
            at = text.find(part, at, end)
            if at < 0:
                return False
            at += len(part)
        return True

    return fits


def number_of(text: str) -> float | None:
    """A number as a pattern or a field spells it; None for anything else, NaN and infinity included."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


class Word(str):
    """A field that is text only because everything in its message is: it may be a number all the same."""


def _numeric(value: Any) -> float | None:
    if isinstance(value, Word):
        return number_of(value)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    return str(value) if isinstance(value, str | int | float) else ""  # a structure meets `*` only
