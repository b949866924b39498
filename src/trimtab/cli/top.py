"""`trimtab top`: endpoints, variants and replicas, live."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.options import AsJson, DataDir
from trimtab.cli.render import console, emit_json
from trimtab.cli.top_view import View
from trimtab.control.top import Sort

if TYPE_CHECKING:
    from trimtab.aws.client import Client

_SIZE_WITHOUT_TERMINAL = (160, 50)
_READ_TIMEOUT_S = 8.0  # gateways hold a call for 5 s while control is away


def top(
    name: Annotated[str, typer.Argument(metavar="[ENDPOINT]", help="Only this endpoint.", show_default=False)] = "",
    interval: Annotated[float, typer.Option(min=0.2, max=60.0, help="Seconds between two frames.")] = 1.0,
    window: Annotated[int, typer.Option(min=1, max=60, help="Seconds over which requests are counted.")] = 10,
    sort: Annotated[Sort, typer.Option(help="What endpoints are sorted by: numbers, the largest first.")] = Sort.NAME,
    once: Annotated[bool, typer.Option("--once", help="Print one frame and end.")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Show what endpoints, variants and replicas do and take, live. In a pipe: one frame, as with --once."""
    client = _connect(data_dir)
    view = View(endpoint=name, sort=sort.value, window_s=window, where=client.url, interval_s=interval)
    live = sys.stdout.isatty() and not once and not as_json
    width, height = shutil.get_terminal_size(_SIZE_WITHOUT_TERMINAL)
    document = client.get("top", **view.query(height if live else None), **({} if live else {"limit": "1000"}))
    if as_json:
        emit_json(document)
    elif live:
        from trimtab.cli.top_live import Live

        Live(view, client, lambda: _connect(data_dir), interval_s=interval).run(document)
    else:
        _print(document, width, client.url)


def _connect(data_dir: Path | None) -> Client:
    from trimtab.cli.connect import connect

    return connect(data_dir, read_timeout_s=_READ_TIMEOUT_S)


def _print(document: dict[str, object], width: int, where: str) -> None:
    from rich.text import Text

    from trimtab.cli.top_frame import frame

    screen = console()
    for line in frame(document, width, None, where=where):
        text = Text.assemble(*line)
        text.rstrip()
        screen.print(text, no_wrap=True, overflow="ignore", crop=False)
