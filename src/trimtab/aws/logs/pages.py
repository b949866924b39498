"""Pages of log events: one stream's, forward or backward; or many streams', by time and through a pattern. Does I/O.

AWS's page: at most 10,000 events and 1 MB. A search looks through so many bytes for a page and then says how far it
came, as AWS does: a page may be empty and not be the last.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack

from msgspec import Struct

from trimtab.aws.logs.lines import Event, Lines
from trimtab.aws.logs.streams import Stream
from trimtab.aws.logs.tokens import Progress
from trimtab.aws.logs.view import LogView

MAX_EVENTS = 10_000
MAX_PAGE_BYTES = 2**20
SEARCHED_BYTES = 8 * 2**20  # for a page
_EVENT_OVERHEAD_BYTES = 26  # AWS: an event counts as its message and 26 bytes
_FOREVER_MS = 2**63

Found = tuple[str, Event]  # the stream's name


class Span(Struct, frozen=True):
    """From `start_ms` on, before `end_ms`; `now_ms` is when the question was asked."""

    start_ms: int
    end_ms: int
    now_ms: int

    @classmethod
    def of(cls, start_ms: int | None, end_ms: int | None, now_ms: float) -> Span:
        """None: no bound."""
        return cls(start_ms or 0, _FOREVER_MS if end_ms is None else end_ms, int(now_ms))


class Page(Struct, frozen=True):
    """Some events of one stream in their order, and the places before and after them."""

    events: list[Event]
    before: int
    after: int


def read_page(stream: Stream, span: Span, limit: int, *, backward: bool, position: int | None) -> Page:
    """The events that follow `position` (None: the stream's begin), or the last ones before it (None: its end).

    Raises FileNotFoundError when the stream has gone.
    """
    with LogView(stream.path) as view:
        lines = Lines(view, span.start_ms, span.end_ms, span.now_ms)
        if position is None:
            position = lines.end if backward else view.first
        events = list(_fitting(lines.backward(position) if backward else lines.forward(position), limit))
        if backward:
            events.reverse()
        if not events:
            return Page([], position, position)
        return Page(events, events[0].start, events[-1].stop)


class Search(Struct, frozen=True):
    """What FilterLogEvents looks for, and where."""

    streams: list[Stream]
    span: Span
    matches: Callable[[str], bool]
    limit: int


def search(what: Search, progress: Progress) -> tuple[list[Found], Progress | None]:
    """The next matching events of all streams by time, and how far that went; None when there are no more."""
    places = dict(progress.places)
    found: list[Found] = []
    room_bytes, searched_bytes = MAX_PAGE_BYTES, 0
    with ExitStack() as open_views:
        sources = [_source(stream, what.span, places, progress.backward, open_views) for stream in what.streams]
        for name, event in _by_time(sources, progress.backward):
            message = event.message
            if what.matches(message):
                room_bytes -= len(event.raw) + _EVENT_OVERHEAD_BYTES
                if found and room_bytes < 0:
                    return found, Progress(places, progress.backward)
                found.append((name, event))
            places[name] = event.start if progress.backward else event.stop
            searched_bytes += event.stop - event.start
            if len(found) >= what.limit or searched_bytes >= SEARCHED_BYTES:
                return found, Progress(places, progress.backward)
    return found, None


def _source(
    stream: Stream, span: Span, places: dict[str, int], backward: bool, open_views: ExitStack
) -> Iterator[Found]:
    try:
        view = open_views.enter_context(LogView(stream.path))
    except FileNotFoundError:
        return
    lines = Lines(view, span.start_ms, span.end_ms, span.now_ms)
    if backward:
        places.setdefault(stream.name, lines.end)  # what is written between two pages is not for this search
    position = places.get(stream.name, view.first)
    for event in lines.backward(position) if backward else lines.forward(position):
        yield stream.name, event


def _by_time(sources: list[Iterator[Found]], backward: bool) -> Iterable[Found]:
    if len(sources) == 1:
        return sources[0]
    return heapq.merge(*sources, key=lambda found: (found[1].time_ms, found[0]), reverse=backward)


def _fitting(events: Iterator[Event], limit: int) -> Iterator[Event]:
    room_bytes = MAX_PAGE_BYTES
    for count, event in enumerate(events):
        room_bytes -= len(event.raw) + _EVENT_OVERHEAD_BYTES
        if count >= limit or (count and room_bytes < 0):
            return
        yield event
