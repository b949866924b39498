"""`{ $.latency > 100 && $.user.id = "a*" }`: conditions on the fields of messages that are JSON objects."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from trimtab.aws.logs.patterns.conditions import ABSENT, Lookup
from trimtab.aws.logs.patterns.conditions import parse as parse_condition
from trimtab.errors import Invalid

_STEP: Final = re.compile(r"""\.?\[(?:(\d+)|'([^']*)'|"([^"]*)")\]|\.([\w@-]+)""")


def parse(text: str) -> Callable[[str], bool]:
    """Raises Invalid. A message that is no JSON object matches nothing."""
    if not text.endswith("}"):
        raise Invalid("Invalid filter pattern: a JSON pattern ends with }.")
    condition = parse_condition(text[1:-1], _lookup)
    decode = msgspec.json.Decoder().decode

    def matches(message: str) -> bool:
        if not message.lstrip().startswith("{"):
            return False
        try:
            return condition(decode(message))
        except (ValueError, RecursionError):  # not JSON after all, or nested beyond reason
            return False

    return matches


def _lookup(selector: str) -> Lookup:
    steps: list[int | str] = []
    at = 1
    while at < len(selector):
        found = _STEP.match(selector, at)
        if found is None:
            break
        index, *names = found.groups()
        steps.append(int(index) if index is not None else next(name for name in names if name is not None))
        at = found.end()
    if not selector.startswith("$") or at < len(selector) or not steps:
        raise Invalid(f"Invalid filter pattern: {selector!r} is no field of a JSON event; write $.name or $.list[0].")

    def find(value: Any) -> Any:
        for step in steps:
            if isinstance(step, int):
                if not isinstance(value, list) or step >= len(value):
                    return ABSENT
                value = value[step]
            else:
                value = value.get(step, ABSENT) if isinstance(value, dict) else ABSENT
        return value

    return find
