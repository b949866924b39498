"""Look at what a fix would change; carry it out; look whether it is so.

Looking changes nothing, so that a fix can be shown before anybody is asked. Carried out again, it finds itself done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct

from trimtab.advisor.audit.applying import scaling, storing
from trimtab.advisor.audit.applying.change import Answer, Caller, Change, Operation, Refused
from trimtab.advisor.finding import Call, Finding
from trimtab.errors import Invalid

_OPERATIONS: Final = {**scaling.OPERATIONS, **storing.OPERATIONS}


class Done(Struct, frozen=True, kw_only=True):
    """What became of one change. `failed`: what the account answered; the changes after it were not begun."""

    change: Change
    failed: str = ""
    is_seen: bool = False  # it was looked at again, and is so


def look(finding: Finding, caller: Caller) -> tuple[Change, ...]:
    """What its fix would change. Raises Invalid where it is not one to carry out, and Refused where looking is."""
    fix = finding.fix
    if fix is None or not fix.calls:
        raise Invalid(f"{finding.id}: there is no call that mends it: a person must decide what to do.")
    if not fix.is_safe:
        raise Invalid(
            f"{finding.id}: its fix may change answers or lose something (risk {finding.risk}), so it is not carried "
            "out from here. The report has the calls, for you to make."
        )
    return tuple(_looked(finding.id, call, caller) for call in fix.calls)


def carry_out(changes: Sequence[Change], caller: Caller) -> Iterator[Done]:
    """Make the calls of those that are not done, in their order, and look at each again; ends at one that fails."""
    for change in changes:
        if change.is_done:
            continue
        try:
            caller.call(change.call)
        except Refused as error:
            yield Done(change=change, failed=f"{error.code}: {error}")
            return
        operation = _OPERATIONS[change.call.service, change.call.operation]
        try:
            is_seen = operation.change(change.call, _read(operation, change.call, caller)).is_done
        except Refused:
            is_seen = False
        yield Done(change=change, is_seen=is_seen)


def undoing(done: Sequence[Done]) -> list[Call]:
    """The calls that take back what was done: the last first."""
    return [call for one in reversed(done) if not one.failed for call in one.change.undo]


def _looked(name: str, call: Call, caller: Caller) -> Change:
    operation = _OPERATIONS.get((call.service, call.operation))
    if operation is None:
        raise Invalid(
            f"{name}: {call.service} {call.operation} is not a call that trimtab knows how to undo, so it makes none. "
            "The report has the call, for you to make."
        )
    answer = _read(operation, call, caller)
    change = operation.change(call, answer)
    if not change.is_done and (danger := operation.danger(call, answer)):
        raise Invalid(f"{name}: {call.service} {call.operation} is not carried out: {danger}.")
    return change


def _read(operation: Operation, call: Call, caller: Caller) -> Answer | None:
    try:
        return caller.call(operation.read(call))
    except Refused as error:
        if error.code in operation.absent:
            return None
        raise
