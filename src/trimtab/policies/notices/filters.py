"""Filter policies of subscriptions: checked, and matched with a message. Source: SNS developer guide, "Amazon SNS
subscription filter policies".

A policy is an AND over its keys; a key's conditions are an OR; `$or` is an OR over policies. A key that has many values
(an array) matches when one of them does.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from trimtab.errors import Invalid

MOST_KEYS: Final = 5
MOST_COMBINATIONS: Final = 150
_NUMERIC: Final = {"=", "<", "<=", ">", ">="}
_TEXTS: Final = ("prefix", "suffix", "wildcard", "equals-ignore-case", "cidr")

Values = Sequence[Any]


def check(policy: Any, *, body: bool) -> None:
    """Raises Invalid, in SNS's words, for what is no policy. `body`: keys may be nested (FilterPolicyScope)."""
    if not isinstance(policy, dict):
        raise Invalid("FilterPolicy: must be a JSON object")
    leaves = list(_leaves(policy, body=body))
    if len(leaves) > MOST_KEYS:
        raise Invalid(f"FilterPolicy: Filter policy can not have more than {MOST_KEYS} keys")
    combinations = 1
    for conditions in leaves:
        combinations *= max(1, len(conditions))
        for condition in conditions:
            _check_condition(condition)
    if combinations > MOST_COMBINATIONS:
        raise Invalid("FilterPolicy: Filter policy is too complex")


def _leaves(policy: Mapping[str, Any], *, body: bool) -> list[list[Any]]:
    leaves: list[list[Any]] = []
    for key, value in policy.items():
        if key == "$or" and isinstance(value, list) and len(value) > 1 and all(isinstance(v, dict) for v in value):
            for one in value:
                leaves += _leaves(one, body=body)
        elif isinstance(value, list):
            if not value:
                raise Invalid("FilterPolicy: Empty arrays are not allowed")
            leaves.append(value)
        elif isinstance(value, dict) and body:
            if not value:
                raise Invalid("FilterPolicy: Empty objects are not allowed")
            leaves += _leaves(value, body=body)
        elif isinstance(value, dict):
            raise Invalid("FilterPolicy: Filter policy scope MessageAttributes does not support nested filter policy")
        else:
            raise Invalid(f'FilterPolicy: "{key}" must be an object or an array')
    return leaves


def _check_condition(condition: Any) -> None:
    if not isinstance(condition, dict):
        if isinstance(condition, list):
            raise Invalid("FilterPolicy: Match value must be String, number, true, false, or null")
        return
    if len(condition) != 1:
        raise Invalid("FilterPolicy: Only one key allowed in match expression")
    ((operator, operand),) = condition.items()
    if operator in _TEXTS:
        wrong = not isinstance(operand, str) or (operator == "cidr" and _network(operand) is None)
    elif operator == "exists":
        wrong = not isinstance(operand, bool)
    elif operator == "numeric":
        wrong = not _is_range(operand)
    elif operator == "anything-but":
        wrong = not operand if isinstance(operand, list) else not _is_plain(operand) and not _is_text_match(operand)
    else:
        raise Invalid(f"FilterPolicy: Unrecognized match type {operator}")
    if wrong:
        raise Invalid(f"FilterPolicy: Value of {operator} is invalid")


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _is_text_match(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and len(value) == 1
        and all(key in ("prefix", "suffix", "wildcard") and isinstance(text, str) for key, text in value.items())
    )


def _is_range(operand: Any) -> bool:
    if not isinstance(operand, list) or len(operand) not in (2, 4):
        return False
    pairs = list(zip(operand[::2], operand[1::2], strict=True))
    if not all(isinstance(o, str) and o in _NUMERIC and _number(n) is not None for o, n in pairs):
        return False
    return len(pairs) == 1 or (pairs[0][0] in (">", ">=") and pairs[1][0] in ("<", "<=") and pairs[0][1] < pairs[1][1])


def matches(policy: Mapping[str, Any], document: Mapping[str, Any]) -> bool:
    """Whether a message with these attributes (or this body) passes. `policy` was checked."""
    for key, wanted in policy.items():
        if key == "$or" and isinstance(wanted, list) and all(isinstance(one, dict) for one in wanted):
            if not any(matches(one, document) for one in wanted):
                return False
        elif isinstance(wanted, dict):
            if not any(matches(wanted, inner) for inner in _listed(document.get(key, {})) if isinstance(inner, dict)):
                return False
        elif not _passes(wanted, key in document, _listed(document[key]) if key in document else ()):
            return False
    return True


def _listed(value: Any) -> Values:
    return value if isinstance(value, list) else [value]


def _passes(conditions: Sequence[Any], present: bool, values: Values) -> bool:
    for condition in conditions:
        if isinstance(condition, dict) and "exists" in condition:
            if condition["exists"] is present:
                return True
        elif any(_meets(condition, value) for value in values):
            return True
    return False


def _meets(condition: Any, value: Any) -> bool:
    if not isinstance(condition, dict):
        return _equal(condition, value)
    ((operator, operand),) = condition.items()
    if operator == "anything-but":
        return not any(_meets(one, value) for one in _listed(operand))
    if operator == "numeric":
        number = _number(value)
        return number is not None and all(
            _compare(o, number, n) for o, n in zip(operand[::2], operand[1::2], strict=True)
        )
    return isinstance(value, str) and _text(operator, operand, value)


def _text(operator: str, operand: str, value: str) -> bool:
    match operator:
        case "prefix":
            return value.startswith(operand)
        case "suffix":
            return value.endswith(operand)
        case "equals-ignore-case":
            return value.casefold() == operand.casefold()
        case "wildcard":
            return re.fullmatch(".*".join(map(re.escape, operand.split("*"))), value, re.DOTALL) is not None
        case _:
            network = _network(operand)
            try:
                return network is not None and ipaddress.ip_address(value) in network
            except ValueError:
                return False


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _equal(wanted: Any, value: Any) -> bool:
    """JSON's equality: true is not 1, 1 is 1.0."""
    if isinstance(wanted, bool) or isinstance(value, bool) or wanted is None or value is None:
        return wanted is value
    return bool(wanted == value)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _compare(operator: str, value: float, bound: float) -> bool:
    return {
        "=": value == bound,
        "<": value < bound,
        "<=": value <= bound,
        ">": value > bound,
        ">=": value >= bound,
    }[operator]
