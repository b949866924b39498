"""`[ip, ..., status = 4*, bytes > 1000]`: conditions on the words of a message, in their order.

Words are parted by spaces; what stands in double quotation marks or square brackets is one word.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from trimtab.aws.logs.patterns.conditions import Condition, Lookup, Word
from trimtab.aws.logs.patterns.conditions import parse as parse_condition
from trimtab.errors import Invalid

_WORDS: Final = re.compile(r'"([^"]*)"|\[([^\]]*)\]|(\S+)')
_FIELD: Final = re.compile(r'(?:^|,)((?:"(?:[^"\\]|\\.)*"|[^",])*)')
_NAME: Final = re.compile(r"\s*\(*\s*([\w$@.-]+)\s*")
_REST: Final = "..."


def parse(text: str) -> Callable[[str], bool]:
    """Raises Invalid. Without `...` a message must have as many words as the pattern has fields."""
    if not text.endswith("]"):
        raise Invalid("Invalid filter pattern: a space-delimited pattern ends with ].")
    found = list(_FIELD.finditer(text[1:-1]))
    if sum(len(field[0]) for field in found) != len(text) - 2:
        raise Invalid("Invalid filter pattern: a double quotation mark is not closed.")
    fields = [field[1].strip() for field in found]
    if fields.count(_REST) > 1:
        raise Invalid("Invalid filter pattern: ... can stand for words in one place only.")
    ahead = fields.index(_REST) if _REST in fields else len(fields)
    before = [_condition(field) for field in fields[:ahead]]
    after = [_condition(field) for field in fields[ahead + 1 :]]
    exact = ahead == len(fields)

    def matches(message: str) -> bool:
        words = [Word(next(filter(None, found.groups()), "")) for found in _WORDS.finditer(message)]
        if len(words) < len(before) + len(after) or (exact and len(words) != len(before)):
            return False
        tests = [*zip(before, words, strict=False), *zip(reversed(after), reversed(words), strict=False)]
        return all(test(word) for test, word in tests)

    return matches


def _condition(field: str) -> Condition:
    name = _NAME.match(field)
    if name is None:
        raise Invalid(f"Invalid filter pattern: {field!r} has no name to begin with.")
    if name.end() == len(field):
        return lambda word: True

    def lookup(used: str) -> Lookup:
        if used != name[1]:
            raise Invalid(f"Invalid filter pattern: {used!r} stands in the field {name[1]!r}.")
        return _itself

    return parse_condition(field, lookup)


def _itself(word: Any) -> Any:
    return word
