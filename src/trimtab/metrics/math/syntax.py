"""The grammar of metric math, and expressions as trees. Source: CloudWatch user guide, "Using math expressions".

Binds tightest first: `^` (to the right), unary `-`, `* /`, `+ -`, comparisons, AND, OR.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any, TypeAlias

from lark import Lark, Token, Transformer, UnexpectedInput, UnexpectedToken, v_args
from msgspec import Struct

from trimtab.errors import Invalid

MAX_DEPTH = 60  # of nested operations; `a + b + c` is one level, however long
MAX_CHARS = 2048  # AWS: of an expression

_GRAMMAR = r"""
?start: or_
?or_: and_ | or_ ("OR" | "||") and_ -> op_or
?and_: compared | and_ ("AND" | "&&") compared -> op_and
?compared: sum | compared COMPARISON sum -> binary
?sum: product | sum SUM_SIGN product -> binary
?product: unary | product PRODUCT_SIGN unary -> binary
?unary: power | SUM_SIGN unary -> signed
?power: atom | atom "^" unary -> op_power
?atom: NUMBER -> number
     | STRING -> string
     | ID -> reference
     | NAME "(" [or_ ("," or_)*] ")" -> call
     | NAME -> word
     | "[" or_ ("," or_)* "]" -> array
     | "(" or_ ")"
COMPARISON: "==" | "!=" | "<=" | ">=" | "<" | ">"
SUM_SIGN: "+" | "-"
PRODUCT_SIGN: "*" | "/"
NUMBER.2: /(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?/
ID: /[a-z][a-zA-Z0-9_]*/
NAME: /[A-Z][A-Z0-9_]*/
STRING: /"[^"]*"|'[^']*'/
%ignore /\s+/
"""


class Number(Struct, frozen=True):
    """A scalar."""

    value: float
    depth: int = 1


class String(Struct, frozen=True):
    """What stands between quotes: an argument of METRICS and SEARCH."""

    value: str
    depth: int = 1


class Reference(Struct, frozen=True):
    """The result of another query."""

    id: str
    depth: int = 1


class Word(Struct, frozen=True):
    """A bare name in capitals: REPEAT, ASC, or a function as an argument of SORT."""

    name: str
    depth: int = 1


class Call(Struct, frozen=True):
    """A function with its arguments."""

    name: str
    arguments: tuple[Node, ...]
    depth: int


class Binary(Struct, frozen=True):
    """`left operator right`; operators are spelled + - * / ^ == != <= >= < > AND OR."""

    operator: str
    left: Node
    right: Node
    depth: int


class Negated(Struct, frozen=True):
    """Unary minus."""

    of: Node
    depth: int


class Array(Struct, frozen=True):
    """`[m1, m2]`."""

    items: tuple[Node, ...]
    depth: int


Node: TypeAlias = Number | String | Reference | Word | Call | Binary | Negated | Array


@lru_cache(maxsize=1024)
def parse(expression: str) -> Node:
    """The tree of `expression`. Raises Invalid that says where it cannot be read."""
    if len(expression) > MAX_CHARS:
        raise Invalid(f"An expression may have {MAX_CHARS} characters, not {len(expression)}.")
    try:
        tree: Node = _parser().parse(expression)  # type: ignore[assignment] # what the transformer makes
    except UnexpectedInput as error:
        raise Invalid(_unexpected(error, expression)) from None
    return tree


def references(node: Node) -> frozenset[str]:
    """The ids that an expression names."""
    return frozenset(found.id for found in _all(node) if isinstance(found, Reference))


def calls(node: Node) -> frozenset[str]:
    """The functions that an expression calls."""
    return frozenset(found.name for found in _all(node) if isinstance(found, Call))


def chain(node: Binary) -> tuple[Node, list[Binary]]:
    """`a + b - c` as `a` and what is then done to it, first thing first: a walk without recursion."""
    steps = [node]
    while isinstance(left := steps[-1].left, Binary):
        steps.append(left)
    return left, steps[::-1]


def _all(node: Node) -> Iterator[Node]:
    waiting = [node]
    while waiting:
        yield (found := waiting.pop())
        waiting.extend(children(found))


def children(node: Node) -> tuple[Node, ...]:
    """The operands of a node."""
    if isinstance(node, Call):
        return node.arguments
    if isinstance(node, Binary):
        return (node.left, node.right)
    if isinstance(node, Negated):
        return (node.of,)
    return node.items if isinstance(node, Array) else ()


def _unexpected(error: UnexpectedInput, expression: str) -> str:
    token = str(error.token) if isinstance(error, UnexpectedToken) else expression[error.pos_in_stream :][:1]
    if not token:
        return f"The expression ends too early, after {expression.strip()[-40:]!r}."
    position = error.pos_in_stream or 0
    return f"Syntax error at character {position + 1}: {token[:40]!r} is not expected there."


def _depth(*nodes: Node) -> int:
    depth = 1 + max((node.depth for node in nodes), default=0)
    if depth > MAX_DEPTH:
        raise Invalid(f"The expression is nested more than {MAX_DEPTH} levels deep.")
    return depth


def _binary(operator: str, left: Node, right: Node) -> Binary:
    depth = max(left.depth, _depth(right)) if isinstance(left, Binary) else _depth(left, right)
    return Binary(operator, left, right, depth)


@v_args(inline=True)
class _Trees(Transformer[Token, Any]):
    def number(self, token: Token) -> Number:
        value = float(token)
        if not math.isfinite(value):
            raise Invalid(f"The number {token[:40]} is too large.")
        return Number(value)

    def string(self, token: Token) -> String:
        return String(token[1:-1])

    def reference(self, token: Token) -> Reference:
        return Reference(str(token))

    def word(self, token: Token) -> Word:
        return Word(str(token))

    def call(self, name: Token, *arguments: Node | None) -> Call:
        given = tuple(argument for argument in arguments if argument is not None)
        return Call(str(name), given, _depth(*given))

    def array(self, *items: Node) -> Array:
        return Array(items, _depth(*items))

    def binary(self, left: Node, sign: Token, right: Node) -> Binary:
        return _binary(str(sign), left, right)

    def signed(self, sign: Token, of: Node) -> Node:
        return Negated(of, _depth(of)) if sign == "-" else of

    def op_power(self, left: Node, right: Node) -> Binary:
        return _binary("^", left, right)

    def op_and(self, left: Node, right: Node) -> Binary:
        return _binary("AND", left, right)

    def op_or(self, left: Node, right: Node) -> Binary:
        return _binary("OR", left, right)


@cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", transformer=_Trees(), maybe_placeholders=False)


_ID = re.compile(r"[a-z][a-zA-Z0-9_]*")


def is_id(text: str) -> bool:
    """Whether `text` can name a query."""
    return _ID.fullmatch(text) is not None
