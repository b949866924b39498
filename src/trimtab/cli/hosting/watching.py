"""`trimtab models --watch`: the page again and again, in a screen of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from trimtab.aws.client import CallFailed, Unreachable
from trimtab.cli.hosting.page import Line, lines
from trimtab.cli.hosting.rows import Page, Sort, chosen

_EVERY_S: Final = 1.0
_BESIDES: Final = 7  # lines of a page that are not rows of replicas or models


def watch_for_ever(look: Callable[[], Page], sort: Sort, match: str, most: int | None) -> None:
    """Until Ctrl-C. While nobody answers, what was known last stays, and it is said since when."""
    console = Console()
    page, told_s, trouble = look(), time.monotonic(), ""
    with Live(console=console, screen=True, auto_refresh=False) as screen:
        while True:
            screen.update(_drawn(page, sort, match, most, console, trouble), refresh=True)
            time.sleep(_EVERY_S)
            try:
                page, told_s, trouble = look(), time.monotonic(), ""
            except (CallFailed, Unreachable) as error:
                if isinstance(error, CallFailed) and error.status < 500:
                    raise  # the endpoint is no more, or the key may not look at it any more
                trouble = f"No answer for {time.monotonic() - told_s:.0f} s: {error}"


def _drawn(page: Page, sort: Sort, match: str, most: int | None, console: Console, trouble: str) -> Group:
    width, height = console.size
    fits = max(1, height - _BESIDES - max(1, len(page.hosts)) - bool(trouble))
    drawn: list[Line] = [[(trouble[:width], "bold yellow")]] if trouble else []
    drawn += lines(page, chosen(page.rows, sort, match), width, min(fits, most or fits))
    texts = [Text.assemble(*line, no_wrap=True, overflow="crop", end="") for line in drawn[:height]]
    return Group(*(Text.assemble(text, "\n", end="") for text in texts[:-1]), *texts[-1:])
