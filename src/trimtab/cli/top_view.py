"""What a live `trimtab top` shows: the last answer, what is asked next, and what keys change. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trimtab.cli.top_frame import DEPTHS, Line, frame
from trimtab.control.top import Sort

SORTS = tuple(sort.value for sort in Sort)
UP, DOWN, PAGE_UP, PAGE_DOWN, HOME = "up", "down", "page up", "page down", "home"


_EVENTS = "8"  # of each endpoint
_LATE_S = 3.0  # without an answer that long, what is shown is old


class View:
    """`quit` is True once the person has asked for it."""

    def __init__(self, *, endpoint: str, sort: str, window_s: int, where: str, interval_s: float = 1.0) -> None:
        self.quit = False
        self._late_s = max(_LATE_S, 2 * interval_s)
        self._endpoint = endpoint
        self._sort = sort
        self._window_s = window_s
        self._where = where
        self._offset = 0
        self._depth: int | None = None  # as much as there is room for
        self._document: Mapping[str, Any] = {}
        self._answered_s = 0.0
        self._trouble = ""

    def query(self, height: int | None) -> dict[str, str]:
        """What to ask: no more endpoints than a terminal of this height can show."""
        query = {"window_s": str(self._window_s), "sort": self._sort, "events": _EVENTS}
        if self._endpoint:
            query["endpoint"] = self._endpoint
        if height is not None:
            query |= {"limit": str(min(max(height, 1), 1000)), "offset": str(self._offset)}
        return query

    def answered(self, document: Mapping[str, Any], now_s: float) -> None:
        """An answer has come at `now_s` (any clock that does not go back)."""
        self._document, self._answered_s, self._trouble = document, now_s, ""
        self._offset = min(self._offset, max(0, document["endpoints_total"] - 1))

    def gone(self, now_s: float) -> None:
        """The endpoint that is looked at does not exist (any more). It may come again."""
        self._document = {}
        self._answered_s = now_s
        self._trouble = f"There is no endpoint {self._endpoint} any more."

    def failed(self, why: str) -> None:
        """No answer has come. What was shown stays, with its age."""
        self._trouble = why

    def key(self, key: str) -> bool:
        """A key was pressed; whether there is something new to ask for."""
        asked = (self._sort, self._offset)
        page = max(1, len(self._document.get("endpoints", ())) - 1)
        match key:
            case "q" | "Q":
                self.quit = True
            case "s" | "S":
                step = 1 if key == "s" else -1
                self._sort = SORTS[(SORTS.index(self._sort) + step) % len(SORTS)]
                self._offset = 0
            case "d":
                self._depth = {None: 0, len(DEPTHS) - 1: None}.get(self._depth, (self._depth or 0) + 1)
            case "up" | "k":
                self._offset -= 1
            case "down" | "j":
                self._offset += 1
            case "page up":
                self._offset -= page
            case "page down" | " ":
                self._offset += page
            case "home":
                self._offset = 0
        last = max(0, self._document.get("endpoints_total", 0) - 1)
        self._offset = min(max(0, self._offset), last)
        return asked != (self._sort, self._offset)

    def lines(self, width: int, height: int, now_s: float) -> list[Line]:
        """The frame of now."""
        message, age_s = self._trouble, now_s - self._answered_s
        if self._document and (message or age_s > self._late_s):
            message = f"No answer for {age_s:.0f} s" + (f": {message}" if message else ".")
        return frame(self._document, width, height, where=self._where, message=message, depth=self._depth)
