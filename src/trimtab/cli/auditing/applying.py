"""`--apply ID`: show what a fix would change, ask, carry it out, say how to undo it."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Any

import typer
from msgspec import to_builtins

from trimtab.advisor.audit.applying.apply import Done, carry_out, look, undoing
from trimtab.advisor.audit.applying.change import Caller, Change, Refused
from trimtab.advisor.audit.findings import KINDS
from trimtab.advisor.audit.words import as_python
from trimtab.advisor.finding import Audit, Finding
from trimtab.cli.auditing.page import amount
from trimtab.cli.render import CliError, emit, say


def apply(
    audit: Audit, ids: Sequence[str], caller: Caller, *, yes: bool = False, looked_at: Collection[str] = ()
) -> None:
    """Carry out the fixes of these findings, each after it was shown and agreed to (`yes`: agreed to beforehand).

    What the audit no longer finds on one of the resources that it has `looked_at` is mended: that is said, and is no
    error, so that the same command can be given again. CliError: there is no such finding nor resource, its fix is not
    one to carry out, or the account refused.
    """
    findings = [finding for name in ids if (finding := named(audit, name, looked_at)) is not None]
    for finding in findings:  # all of them, before the first is changed
        _looked(finding, caller)
    for finding in findings:
        _apply(finding, caller, yes=yes)


def applied(
    audit: Audit, ids: Sequence[str], caller: Caller, *, looked_at: Collection[str] = ()
) -> dict[str, list[dict[str, Any]]]:
    """The same for a program, which has agreed to all of it: for each finding what was there, what was called, what
    became of it, and the calls that undo it. Ends with the first finding of which a call was refused."""
    findings = {name: named(audit, name, looked_at, quiet=True) for name in ids}
    for finding in findings.values():  # all of them, before the first is changed
        if finding is not None:
            _looked(finding, caller)
    told: list[dict[str, Any]] = []
    for name, finding in findings.items():
        told.append(_carried_out(name, finding, caller))
        if told[-1]["failed"]:
            break
    return {"applied": told}


def _carried_out(name: str, finding: Finding | None, caller: Caller) -> dict[str, Any]:
    try:  # looked at again: what was changed before may have changed the same thing
        changes = () if finding is None else _looked(finding, caller)
    except CliError as error:
        return {"id": name, "failed": str(error), "changes": [], "undo": []}
    done = list(carry_out(changes, caller))
    failed = next((one.failed for one in done if one.failed), "")
    undo = [to_builtins(call) for call in undoing(done)]
    return {"id": name, "failed": failed, "changes": [_document(one) for one in done], "undo": undo}


def _document(one: Done) -> dict[str, Any]:
    return {
        "before": one.change.before,
        "call": to_builtins(one.change.call),
        "failed": one.failed,
        "is_seen": one.is_seen,
        "undo_note": one.change.undo_note,
    }


def named(audit: Audit, name: str, looked_at: Collection[str] = (), *, quiet: bool = False) -> Finding | None:
    """The finding of this id; None where it is mended, which is said unless `quiet`. CliError, with those that sound
    like it, where it never was."""
    for finding in audit.findings:
        if finding.id == name:
            return finding
    kind, _, rest = name.partition("/")
    if kind in KINDS and any(rest == resource or rest.startswith(f"{resource}/") for resource in looked_at):
        if not quiet:
            emit(f"nothing to change: the audit does not find {name} (any more)")
        return None
    if kind not in KINDS:
        near = get_close_matches(kind, KINDS)
        hint = f"Did you mean {' or '.join(near)}?" if near else "`trimtab audit` lists the ids of what it finds."
        raise CliError(f"No audit finds {name!r}: an id begins with the kind of the finding.", hint)
    near = [one.id for one in audit.findings if one.kind == kind or (rest and rest in one.id)][:5]
    hint = f"There are {', '.join(near)}." if near else "`trimtab audit` lists what there is."
    raise CliError(f"The audit finds no {name!r}, and has looked at nothing of that name.", hint)


def _apply(finding: Finding, caller: Caller, *, yes: bool) -> None:
    changes = _looked(finding, caller)
    _show(finding, changes)
    if all(change.is_done for change in changes):
        emit("nothing to change: it is so already")
        return
    if not yes:
        _ask()
    done = []
    for one in carry_out(changes, caller):
        done.append(one)
        emit(_told(one))
    _show_undo(done)
    if failed := next((one for one in done if one.failed), None):
        call = failed.change.call
        raise CliError(
            f"{finding.id}: {call.service} {call.operation} was refused: {failed.failed}",
            "What was changed before it stands above, with the calls that undo it. Applying again goes on from there.",
        )


def _looked(finding: Finding, caller: Caller) -> tuple[Change, ...]:
    try:
        return look(finding, caller)
    except Refused as error:
        raise CliError(f"{finding.id}: what is there now cannot be seen: {error.code}: {error}") from error


def _show(finding: Finding, changes: Sequence[Change]) -> None:
    is_of_money = finding.saves_micro_usd_per_month != 0
    emit(f"{finding.title}  ({f'{amount(finding)} a month, ' if is_of_money else ''}risk {finding.risk})")
    if finding.fix is not None:
        emit(f"{finding.fix.title}:")
    for change in changes:
        emit("")
        emit(f"  now: {change.before}{'; nothing to change' if change.is_done else ''}")
        if not change.is_done:
            emit(_indented(as_python(change.call)))
    emit("")


def _ask() -> None:
    if not sys.stdin.isatty():
        raise CliError("Nobody is there to ask whether to make these calls.", "--yes makes them without asking.")
    if not typer.confirm("Make these calls?", default=False, err=True):
        raise CliError("Nothing was changed.")


def _told(one: Done) -> str:
    what = f"{one.change.call.service} {one.change.call.operation}"
    if one.failed:
        return f"refused: {what}: {one.failed}"
    return f"done: {what}{'' if one.is_seen else ' (answered, but not yet to be seen)'}"


def _show_undo(done: Sequence[Done]) -> None:
    calls = undoing(done)
    if calls:
        emit("")
        emit("to undo it:")
        for call in calls:
            emit(_indented(as_python(call)))
    for note in dict.fromkeys(one.change.undo_note for one in done if one.change.undo_note and not one.failed):
        say(f"note: {note}")


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
