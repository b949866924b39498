"""Evaluate one expression over what the other queries of its request gave."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from trimtab.errors import Invalid, NotSupported
from trimtab.metrics.math import functions, syntax
from trimtab.metrics.math.series import Grid, Series
from trimtab.metrics.math.syntax import Array, Binary, Call, Negated, Node, Number, Reference, String, Word
from trimtab.metrics.math.values import Value, combined, named, negated

NOT_SUPPORTED: Final = frozenset(
    ("ANOMALY_DETECTION_BAND", "INSIGHT_RULE_METRIC", "SERVICE_QUOTA", "DB_PERF_INSIGHTS", "LAMBDA")
)


class Scope(Protocol):
    """What an expression can reach."""

    @property
    def grid(self) -> Grid:
        """The range that is asked for."""
        ...

    @property
    def period_s(self) -> int:
        """Of series that are made of nothing (TIME_SERIES)."""
        ...

    def result(self, id: str) -> Value:
        """What the query `id` gave."""
        ...

    def metrics(self, containing: str) -> tuple[Series, ...]:
        """The metrics of the request whose ids contain `containing`."""
        ...

    def search(self, pattern: str, stat: str, period_s: int) -> tuple[Series, ...]:
        """SEARCH. `period_s` 0: the query's own."""
        ...

    def charge(self, value: Value) -> Value:
        """Count what was computed; Invalid when a request computes too much."""
        ...


def evaluate(node: Node, scope: Scope) -> Value:
    """The value of an expression. Raises Invalid for what does not fit, NotSupported for functions of AWS's own."""
    if isinstance(node, Number):
        return node.value
    if isinstance(node, Reference):
        return scope.result(node.id)
    if isinstance(node, Binary):
        first, steps = syntax.chain(node)
        value = evaluate(first, scope)
        for step in steps:
            value = scope.charge(combined(step.operator, value, evaluate(step.right, scope)))
        return value
    if isinstance(node, Negated):
        return scope.charge(negated(evaluate(node.of, scope)))
    if isinstance(node, Array):
        return _array(node, scope)
    if isinstance(node, Call):
        return scope.charge(_call(node, scope))
    if isinstance(node, String):
        raise Invalid(f"A string ({node.value[:40]!r}) can only be an argument of METRICS and SEARCH.")
    raise Invalid(f"{node.name} is a function, or a keyword of one; it needs its parentheses, or another place.")


def _array(node: Array, scope: Scope) -> tuple[Series, ...]:
    items: list[Series] = []
    for item in node.items:
        value = evaluate(item, scope)
        if isinstance(value, float):
            raise Invalid("An array holds time series, not scalars; TIME_SERIES() makes a series of a scalar.")
        items.extend(value if isinstance(value, tuple) else (value,))
    return tuple(items)


def _call(node: Call, scope: Scope) -> Value:
    if node.name in NOT_SUPPORTED:
        raise NotSupported(node.name, f"trimtab does not support the metric math function {node.name}.")
    found = _FUNCTIONS.get(node.name)
    if found is None:
        raise Invalid(f"Function '{node.name[:60]}' not found.")
    least, most, function = found
    if not least <= len(node.arguments) <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        raise Invalid(f"{node.name} takes {wanted} argument{'s' * (most != 1)}, not {len(node.arguments)}.")
    return function(node, scope)


def _value(node: Call, index: int, scope: Scope) -> Value:
    return evaluate(node.arguments[index], scope)


def _optional(node: Call, index: int, scope: Scope) -> Value | None:
    return _value(node, index, scope) if len(node.arguments) > index else None


def _scalar(node: Call, index: int, scope: Scope) -> float:
    return functions.only_scalar(node.name, _value(node, index, scope))


def _optional_scalar(node: Call, index: int, scope: Scope) -> float | None:
    return _scalar(node, index, scope) if len(node.arguments) > index else None


def _list(node: Call, scope: Scope) -> tuple[Series, ...]:
    return functions.only_array(node.name, _value(node, 0, scope))


def _text(node: Call, index: int) -> str:
    argument = node.arguments[index]
    if not isinstance(argument, String):
        raise Invalid(f"{node.name} takes a string in quotes as its argument {index + 1}.")
    return argument.value


def _word(node: Call, index: int) -> str:
    argument = node.arguments[index]
    if not isinstance(argument, Word):
        raise Invalid(f"{node.name} takes a keyword as its argument {index + 1}.")
    return argument.name


def _metrics(node: Call, scope: Scope) -> Value:
    return scope.metrics(_text(node, 0) if node.arguments else "")


def _search(node: Call, scope: Scope) -> Value:
    period = _optional_scalar(node, 2, scope)
    return scope.search(_text(node, 0), _text(node, 1), 0 if period is None else functions.whole(node.name, period))


def _period(node: Call, scope: Scope) -> Value:
    one = functions.only_series(node.name, _value(node, 0, scope))
    if not one.is_metric:
        raise Invalid("PERIOD takes a metric, not the result of an expression.")
    return float(one.period_s)


def _fill(node: Call, scope: Scope) -> Value:
    filler = node.arguments[1]
    keyword = filler.name if isinstance(filler, Word) else ""
    return functions.fill(scope.grid, _value(node, 0, scope), keyword or evaluate(filler, scope))


def _sort(node: Call, scope: Scope) -> Value:
    return functions.sort(_list(node, scope), _word(node, 1), _word(node, 2), _optional_scalar(node, 3, scope))


def _metric_count(node: Call, scope: Scope) -> Value:
    return float(len(_list(node, scope)))


def _remove_empty(node: Call, scope: Scope) -> Value:
    return tuple(one for one in _list(node, scope) if len(one))


def _conditional(node: Call, scope: Scope) -> Value:
    return functions.conditional(_value(node, 0, scope), _value(node, 1, scope), _optional(node, 2, scope))


def _of_time(node: Call, scope: Scope) -> Value:
    return functions.of_time(scope.grid, node.name, functions.only_series(node.name, _value(node, 0, scope)))


_Function = tuple[int, int, Callable[[Call, Scope], Value]]  # fewest and most arguments

_FUNCTIONS: Final[Mapping[str, _Function]] = {
    **dict.fromkeys(
        functions.AGGREGATES, (1, 1, lambda node, scope: functions.aggregate(node.name, _value(node, 0, scope)))
    ),
    **dict.fromkeys(
        (*functions.OF_EACH, *functions.OF_EACH_VALUE),
        (1, 1, lambda node, scope: functions.each(node.name, _value(node, 0, scope))),
    ),
    **dict.fromkeys(functions.OF_TIME, (1, 1, _of_time)),
    "METRICS": (0, 1, _metrics),
    "METRIC_COUNT": (1, 1, _metric_count),
    "SEARCH": (2, 3, _search),
    "PERIOD": (1, 1, _period),
    "FILL": (2, 2, _fill),
    "IF": (2, 3, _conditional),
    "SORT": (3, 4, _sort),
    "SLICE": (
        2,
        3,
        lambda node, scope: functions.cut(
            _list(node, scope), _scalar(node, 1, scope), _optional_scalar(node, 2, scope)
        ),
    ),
    "FIRST": (1, 1, lambda node, scope: functions.pick(node.name, _list(node, scope))),
    "LAST": (1, 1, lambda node, scope: functions.pick(node.name, _list(node, scope))),
    "TIME_SERIES": (
        1,
        1,
        lambda node, scope: functions.time_series(scope.grid, scope.period_s, _scalar(node, 0, scope)),
    ),
    "REMOVE_EMPTY": (1, 1, _remove_empty),
}


def checked(value: Value) -> Series | tuple[Series, ...]:
    """The result of a whole expression. Raises Invalid for a scalar: AWS wants series."""
    if isinstance(value, float):
        raise Invalid(f"The result of an expression must be a time series or an array of them, not {named(value)}.")
    return value
