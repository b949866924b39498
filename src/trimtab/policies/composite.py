"""Composite alarms: rules over the states of other alarms. Pure.

Source: API reference, PutCompositeAlarm, AlarmRule: ALARM(name), OK(name), INSUFFICIENT_DATA(name), TRUE, FALSE, AND,
OR, NOT and parentheses; names may be ARNs and stand in double quotes. Of an alarm that is not there, nothing holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Any, Final

from lark import Lark, Token, Transformer, UnexpectedInput, v_args
from msgspec import Struct

from trimtab.errors import Invalid
from trimtab.resources.alarm import AlarmState

MAX_CHILDREN: Final = 100  # AWS
MAX_ELEMENTS: Final = 500  # AWS
_MAX_CHARS: Final = 10_240  # AWS

_GRAMMAR = r"""
?start: or_
?or_: and_ | or_ "OR" and_ -> either
?and_: not_ | and_ "AND" not_ -> both
?not_: atom | "NOT" not_ -> none
?atom: STATE "(" NAME ")" -> child
     | STATE "(" QUOTED ")" -> child
     | "TRUE" -> always
     | "FALSE" -> never
     | "(" or_ ")"
STATE: "ALARM" | "OK" | "INSUFFICIENT_DATA"
NAME: /[^\s()"]+/
QUOTED: /"[^"]+"/
%ignore /\s+/
"""
_ELEMENT = re.compile(r'"[^"]*"|[^\s()]+|[()]')

States = Mapping[str, AlarmState]
_Test = Callable[[States], bool]


class Rule(Struct, frozen=True):
    """A rule that can be read: when it holds, the composite alarm is in ALARM."""

    children: tuple[str, ...]  # names of the alarms that it looks at, in their order
    holds: _Test


@lru_cache(maxsize=1024)
def parse_rule(text: str) -> Rule:
    """Raises Invalid with the place of what cannot be read."""
    if len(text) > _MAX_CHARS or len(_ELEMENT.findall(text)) > 2 * MAX_ELEMENTS:
        raise Invalid(f"An AlarmRule may have {MAX_ELEMENTS} elements and {_MAX_CHARS} characters.")
    try:
        found: Rule = _parser().parse(text)  # type: ignore[assignment] # what the transformer makes
    except UnexpectedInput as error:
        position: int | None = error.pos_in_stream
        place = f"at character {position + 1}" if position is not None and 0 <= position < len(text) else "at its end"
        raise Invalid(f"The AlarmRule contains invalid syntax {place}.") from None
    if len(found.children) > MAX_CHILDREN:
        raise Invalid(f"An AlarmRule may look at {MAX_CHILDREN} alarms, not {len(found.children)}.")
    return found


def in_order(rules: Mapping[str, Rule]) -> list[str]:
    """Composite alarms after those that they look at. Those in a circle, and those that look at them, are left out
    (AWS: they are not evaluated)."""
    waits = {name: {child for child in rule.children if child in rules} for name, rule in rules.items()}
    parents: dict[str, list[str]] = {}
    for name, children in waits.items():
        for child in children:
            parents.setdefault(child, []).append(name)
    order = [name for name in sorted(waits) if not waits[name]]
    for done in order:  # grows
        for parent in parents.get(done, ()):
            waits[parent].discard(done)
            if not waits[parent]:
                order.append(parent)
    return order


def _joined(*rules: Rule) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for rule in rules for name in rule.children))


@v_args(inline=True)
class _Rules(Transformer[Token, Any]):
    def either(self, left: Rule, right: Rule) -> Rule:
        return Rule(_joined(left, right), lambda states: left.holds(states) or right.holds(states))

    def both(self, left: Rule, right: Rule) -> Rule:
        return Rule(_joined(left, right), lambda states: left.holds(states) and right.holds(states))

    def none(self, of: Rule) -> Rule:
        return Rule(of.children, lambda states: not of.holds(states))

    def child(self, state: Token, name: Token) -> Rule:
        text = str(name).strip('"')
        plain = text.split(":alarm:", 1)[1] if text.startswith("arn:") and ":alarm:" in text else text
        wanted = AlarmState(str(state))
        return Rule((plain,), lambda states: states.get(plain) is wanted)

    def always(self) -> Rule:
        return Rule((), lambda states: True)

    def never(self) -> Rule:
        return Rule((), lambda states: False)


@cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", transformer=_Rules(), maybe_placeholders=False)
