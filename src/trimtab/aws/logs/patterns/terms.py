"""`ERROR "out of memory" -timeout`: words that a message must or must not hold; `?ERROR ?WARN`: one of them will do."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from trimtab.errors import Invalid

_TERM: Final = re.compile(r'\s*([?-]?)(?:"((?:[^"\\]|\\.)*)"|([^\s"]+))')
_WORD: Final = re.compile(r"\w+")


def parse(text: str) -> Callable[[str], bool]:
    """Raises Invalid where a term holds what must be quoted. No terms match everything.

    AWS: optional terms count only where all terms are optional; beside others they are ignored.
    """
    required: list[str] = []
    excluded: list[str] = []
    optional: list[str] = []
    kinds = {"": required, "-": excluded, "?": optional}
    at = 0
    while at < len(text):
        found = _TERM.match(text, at)
        if found is None:
            raise Invalid("Invalid filter pattern: a double quotation mark is not closed.")
        kind, quoted, word = found.groups()
        if word is not None and not _WORD.fullmatch(word):
            raise Invalid(f"Invalid character(s) in term '{kind}{word}'{_advice(word)}")
        kinds[kind].append(word if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
        at = found.end()
    if not required and not excluded and optional:
        return lambda message: any(term in message for term in optional)
    return lambda message: all(t in message for t in required) and not any(t in message for t in excluded)


def _advice(word: str) -> str:
    if word.startswith("%"):
        return ": trimtab does not support regular expressions in filter patterns."
    return ": put terms that are not letters, digits and underscores only in double quotation marks."
