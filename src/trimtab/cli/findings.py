"""What a check found: fine, a warning, or a problem with its cure."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence

from msgspec import Struct

from trimtab.cli.render import emit, emit_json, styled


class Level(enum.StrEnum):
    """How bad."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that was looked at. `cure` says what to do; it may be a command."""

    level: Level
    subject: str
    message: str
    cure: str = ""


def ok(subject: str, message: str, cure: str = "") -> Finding:
    """All is well; `cure` may still say how to have more."""
    return Finding(level=Level.OK, subject=subject, message=message, cure=cure)


def warning(subject: str, message: str, cure: str = "") -> Finding:
    """It works, but not as well as it could, or perhaps not elsewhere."""
    return Finding(level=Level.WARNING, subject=subject, message=message, cure=cure)


def problem(subject: str, message: str, cure: str = "") -> Finding:
    """It will not work."""
    return Finding(level=Level.PROBLEM, subject=subject, message=message, cure=cure)


def problems(findings: Iterable[Finding]) -> list[Finding]:
    """Those that keep it from working."""
    return [finding for finding in findings if finding.level is Level.PROBLEM]


def print_findings(findings: Sequence[Finding], *, as_json: bool) -> None:
    """A line each, the cure below it; or one JSON document."""
    if as_json:
        document = [
            {"level": f.level.value, "subject": f.subject, "message": f.message, **({"cure": f.cure} if f.cure else {})}
            for f in findings
        ]
        emit_json({"findings": document, "problems": len(problems(findings))})
        return
    colours = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "red"}
    width = max((len(finding.subject) for finding in findings), default=0)
    for finding in findings:
        level = styled(f"{finding.level.value:8}", fg=colours[finding.level], bold=finding.level is not Level.OK)
        emit(f"{level} {finding.subject:{width}}  {finding.message}")
        if finding.cure:
            emit(f"{'':8} {'':{width}}  -> {finding.cure}")
