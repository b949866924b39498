"""What verbs print: data on stdout, everything said to a person on stderr. Nothing needs colour to be understood."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

_WIDE = 10_000  # columns where there is no terminal: rows go to files and pipes whole


class CliError(Exception):
    """A verb cannot go on. Shown as `error: message` and `hint: hint`; never as a traceback."""

    def __init__(self, message: str, hint: str = "", *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.hint = hint
        self.exit_code = exit_code


def say(text: str) -> None:
    """A message to the person: stderr."""
    typer.echo(text, err=True)


def say_error(message: str, hint: str = "") -> None:
    """`error: ...`, and what to do about it."""
    say(f"{styled('error:', fg='red')} {message}")
    if hint:
        say(f"{styled('hint:', fg='cyan')} {hint}")


def styled(text: str, *, fg: str, bold: bool = True) -> str:
    """In colour, for `say` and `emit`, which take it away where there is no terminal; not with NO_COLOR set."""
    return text if os.environ.get("NO_COLOR") else typer.style(text, fg=fg, bold=bold)


def emit(text: str) -> None:
    """Data for people: stdout."""
    typer.echo(text)


def emit_json(document: Any) -> None:
    """Data for programs: one JSON document on stdout, indented for whoever looks."""
    typer.echo(json.dumps(document, indent=2, default=str))


def console(*, err: bool = False) -> Console:
    """A rich console on stdout (or stderr), as wide as the terminal."""
    from rich.console import Console

    stream = sys.stderr if err else sys.stdout
    return Console(file=stream, width=None if stream.isatty() else _WIDE, highlight=False, soft_wrap=False)


def columns_wide() -> int:
    """How many columns stdout's terminal has; very many where it is none."""
    return console().width


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    whole: Sequence[str] = (),
    title: str = "",
) -> None:
    """Print a table without borders. `right` names the columns of numbers, `whole` those that are never folded.

    On a terminal that is too narrow, cells are wrapped between words; where that is not enough, a row takes several
    lines (`narrow`).
    """
    from rich.text import Text

    from trimtab.cli.narrow import fitted

    screen = console()
    head, *others = fitted(columns, rows, width=screen.width, right=right, whole=whole, styles=_STYLES)
    if title:
        head.insert(0, Text(title))
    for line in head:
        line.stylize("bold")
    with screen.capture() as captured:
        for line in (*head, *(line for lines in others for line in lines)):
            screen.print(line, soft_wrap=True)
    for text in captured.get().splitlines():
        typer.echo(text)


def one_line(text: str) -> str:
    """What a model or a library has said, without line ends and without codes that a terminal would obey."""
    return "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))


def shortened(text: str, width: int) -> str:
    """Cut in the middle: both ends of a name tell it from others."""
    if len(text) <= width:
        return text
    kept = width - 1
    return f"{text[: kept - kept // 3]}~{text[len(text) - kept // 3 :]}"


def first_line(text: str) -> str:
    """The first line, for a table's cell."""
    return text.splitlines()[0] if text else ""


# Colour is an extra: the word itself says it.
_STYLES = {
    "InService": "green",
    "Ready": "green",
    "ok": "green",
    "Failed": "red",
    "problem": "red",
    "Creating": "yellow",
    "Updating": "yellow",
    "RollingBack": "yellow",
    "Deleting": "yellow",
    "Starting": "yellow",
    "Draining": "yellow",
    "warning": "yellow",
}


def style_of(word: str) -> str:
    """The style of a status word; "" for any other."""
    return _STYLES.get(word, "")


def milliseconds(seconds: float | None) -> str:
    """`0.0123` as `12.3`; a dash where nothing was measured."""
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.1f}" if seconds < 1 else f"{seconds * 1000:,.0f}"


def ago(then_s: float, now_s: float | None = None) -> str:
    """How long ago, in one unit: `45s`, `12m`, `3h`, `8d`."""
    seconds = max(0, int((time.time() if now_s is None else now_s) - then_s))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def at(then_s: float) -> str:
    """The local time of day, with the date unless it is today."""
    moment = time.localtime(then_s)
    today = time.localtime()[:3] == moment[:3]
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S", moment)


def size(count_bytes: float) -> str:
    """Bytes for people: `512 B`, `1.4 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count_bytes < 1000:
            return f"{count_bytes:.0f} {unit}" if unit == "B" else f"{count_bytes:.1f} {unit}"
        count_bytes /= 1000
    return f"{count_bytes:.1f} TB"


def member(document: Mapping[str, Any], path: str, default: str = "-") -> str:
    """`a.b` of nested mappings as text, or `default`."""
    value: Any = document
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return default if value in (None, "") else str(value)


def debugging() -> bool:
    """TRIMTAB_DEBUG=1: tracebacks are wanted."""
    return os.environ.get("TRIMTAB_DEBUG", "") not in ("", "0")
