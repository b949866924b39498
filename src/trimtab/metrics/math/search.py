"""SEARCH expressions: `{Namespace,Dimension,...} terms`. Source: CloudWatch user guide, "search expression syntax".

A term matches partly (`InstanceType=micro`: all its tokens are tokens of the text, whatever the case) or exactly
(`MetricName="CPUUtilization"`). Terms are joined by AND (also by mere blanks), OR, NOT and parentheses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from typing import Any, TypeAlias

from lark import Lark, Token, Transformer, UnexpectedInput, v_args

from trimtab.errors import Invalid, NotSupported
from trimtab.metrics.store import MetricKey

Test: TypeAlias = Callable[[MetricKey], bool]

_MAX_CHARS = 1024  # AWS: of a search expression's query
_MAX_TERMS = 100
_GRAMMAR = r"""
start: [schema] [or_]
schema: "{" name ("," name)* "}"
?name: text
?or_: and_ | or_ "OR" and_ -> either
?and_: not_ | and_ ["AND"] not_ -> both
?not_: atom | "NOT" not_ -> none
?atom: "(" or_ ")" | text "=" value -> of_name | text -> anywhere
?value: text | "(" value_or ")"
?value_or: text ("OR" text)* -> texts
?text: WORD -> word | STRING -> quoted
WORD: /[^\s(){}",=]+/
STRING: /"[^"]*"/
%ignore /\s+/
"""
_TERM = re.compile(r'[^\s(){}",=]+|"[^"]*"')
_TOKENS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_]+")


class _Text(str):
    """A searched text; `exact` when it stood in quotes."""

    exact: bool = False


class _Exact(_Text):
    exact = True


@lru_cache(maxsize=256)
def parse_search(text: str) -> tuple[str, Test]:
    """The namespace that is searched ("": any) and what a metric must be. Raises Invalid with the place."""
    if len(text) > _MAX_CHARS:
        raise Invalid(f"A search expression may have {_MAX_CHARS} characters, not {len(text)}.")
    if (terms := len(_TERM.findall(text))) > _MAX_TERMS:
        raise Invalid(f"A search expression may have {_MAX_TERMS} names and terms, not {terms}.")
    try:
        found: tuple[str, Test] = _parser().parse(text)  # type: ignore[assignment] # what the transformer makes
    except UnexpectedInput as error:
        position: int | None = error.pos_in_stream
        place = f"at character {position + 1}" if position is not None and 0 <= position < len(text) else "at its end"
        raise Invalid(f"Syntax error in the search expression {place}.") from None
    return found


def _texts(key: MetricKey) -> Iterator[str]:
    yield key.namespace
    yield key.name
    for name, value in key.dimensions:
        yield name
        yield value


def _named_texts(key: MetricKey, name: str) -> list[str]:
    if name == "MetricName":
        return [key.name]
    if name == "Namespace":
        return [key.namespace]
    return [value for dimension, value in key.dimensions if dimension == name]


@lru_cache(maxsize=8192)
def _tokens(text: str) -> frozenset[str]:
    return frozenset(token.lower() for token in _TOKENS.findall(text)) | {text.lower()}


def _matches(wanted: _Text, text: str) -> bool:
    if wanted.exact:
        return wanted == text
    return wanted.lower() == text.lower() or (
        (parts := frozenset(token.lower() for token in _TOKENS.findall(wanted))) <= _tokens(text) and bool(parts)
    )


@v_args(inline=True)
class _Tests(Transformer[Token, Any]):
    def start(self, schema: tuple[str, Test] | None, terms: Test | None) -> tuple[str, Test]:
        if schema is None and terms is None:
            raise Invalid("A search expression needs a schema ({Namespace,Dimension}) or a term.")
        namespace, fits = schema or ("", lambda key: True)
        return namespace, (lambda key: fits(key) and (terms is None or terms(key)))

    def schema(self, namespace: _Text, *dimensions: _Text) -> tuple[str, Test]:
        wanted = frozenset(str(name) for name in dimensions)
        return (
            str(namespace),
            lambda key: (
                key.namespace == namespace
                and len(key.dimensions) == len(wanted)
                and all(name in wanted for name, _ in key.dimensions)
            ),
        )

    def either(self, left: Test, right: Test) -> Test:
        return lambda key: left(key) or right(key)

    def both(self, left: Test, right: Test) -> Test:
        return lambda key: left(key) and right(key)

    def none(self, of: Test) -> Test:
        return lambda key: not of(key)

    def of_name(self, name: _Text, wanted: _Text | tuple[_Text, ...]) -> Test:
        if name.startswith(":aws."):
            raise NotSupported(f"SEARCH {name}", f"trimtab has one account: SEARCH does not support {name[:60]}.")
        choices = wanted if isinstance(wanted, tuple) else (wanted,)
        return lambda key: any(_matches(one, text) for text in _named_texts(key, str(name)) for one in choices)

    def anywhere(self, wanted: _Text) -> Test:
        return lambda key: any(_matches(wanted, text) for text in _texts(key))

    def texts(self, *all_of: _Text) -> tuple[_Text, ...]:
        return all_of

    def word(self, token: Token) -> _Text:
        return _Text(token)

    def quoted(self, token: Token) -> _Text:
        return _Exact(token[1:-1])


@cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", transformer=_Tests(), maybe_placeholders=True)
