"""Log events out of a look at a log: its lines, forward or backward from any position between two of them.

A line longer than an event may be is as many events as it takes, cut at whole UTF-8 characters; empty lines are none,
for an event holds a character at least. An unfinished last line is an event once it has been left alone for a while.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from trimtab.aws.logs.view import LogView

MAX_EVENT_BYTES = 262_144  # AWS: an event's size, long quoted as 256 KB
UNFINISHED_MS = 2000  # how long an unfinished last line is waited for
BLOCK_BYTES = 64 * 1024


class Event(NamedTuple):
    """One event: where it begins, where the next one may, when it was written, and its bytes without the line's end."""

    start: int
    stop: int
    time_ms: int
    raw: bytes

    @property
    def message(self) -> str:
        """The text; what is not UTF-8 becomes U+FFFD."""
        return self.raw.decode("utf-8", "replace")


class Lines:
    """The events of one view that were written at `start_ms` or later and before `end_ms`, at `now_ms`."""

    def __init__(self, view: LogView, start_ms: int, end_ms: int, now_ms: int) -> None:
        self.view = view
        self.end = view.end if abs(now_ms - view.written_ms) >= UNFINISHED_MS else self._line_start(view.end)
        self._runs = [(self._boundary(lo), min(hi, self.end)) for lo, hi in view.runs(start_ms, end_ms)]

    def forward(self, position: int) -> Iterator[Event]:
        """Events that begin at `position` or later; it must be the begin or the stop of one."""
        for lo, hi in self._runs:
            if position < hi:
                for piece in self._pieces_from(max(lo, position)):
                    if piece.start >= hi:
                        break
                    if event := self._event(piece):
                        yield event

    def backward(self, position: int) -> Iterator[Event]:
        """Events that stop at `position` or earlier, the latest first."""
        for lo, hi in reversed(self._runs):
            if position > lo:
                # A line belongs to the stretch in which it begins, and may end behind it.
                for piece in self._pieces_before(min(position, self._boundary(hi))):
                    if piece.start < lo:
                        break
                    if event := self._event(piece):
                        yield event

    def _event(self, piece: _Piece) -> Event | None:
        raw = piece.raw.removesuffix(b"\r")
        return Event(piece.start, piece.stop, self.view.time_ms(piece.start), raw) if raw else None

    def _pieces_from(self, position: int) -> Iterator[_Piece]:
        at, pending = position, b""
        while at < self.end and (block := self.view.read(at, min(BLOCK_BYTES, self.end - at))):
            at += len(block)
            *whole, pending = (pending + block).split(b"\n")
            for line in whole:
                for piece in _cut(position, line, 1):
                    yield piece
                    position = piece.stop
            while len(pending) > MAX_EVENT_BYTES:
                piece = next(_cut(position, pending, 0))
                yield piece
                position, pending = piece.stop, pending[len(piece.raw) :]
        if pending:
            yield _Piece(position, position + len(pending), pending)

    def _pieces_before(self, position: int) -> Iterator[_Piece]:
        at, newline = position, 0
        parts: list[bytes] = []  # of the line that ends where we are, last part first
        while at > self.view.first:
            size = min(BLOCK_BYTES, at - self.view.first)
            at -= size
            parts.append(self._read(at, size))
            if b"\n" in parts[-1]:
                data = b"".join(reversed(parts))
                first, *lines = data.split(b"\n")
                end = at + len(data)
                for line in reversed(lines):
                    yield from reversed(list(_cut(end - len(line), line, newline)))
                    end, newline = end - len(line) - 1, 1
                parts = [first]
        yield from reversed(list(_cut(at, b"".join(reversed(parts)), newline)))

    def _read(self, position: int, size: int) -> bytes:
        """`size` bytes from `position` on, also where one file follows the other."""
        data = self.view.read(position, size)
        while len(data) < size and (more := self.view.read(position + len(data), size - len(data))):
            data += more
        return data

    def _line_start(self, position: int) -> int:
        """Where the line begins that holds the byte before `position`; `position` itself when that ends a line."""
        at = position
        while at > self.view.first:
            size = min(BLOCK_BYTES, at - self.view.first)
            at -= size
            if (found := self._read(at, size).rfind(b"\n")) >= 0:
                return at + found + 1
        return self.view.first

    def _boundary(self, position: int) -> int:
        """The first begin of an event at `position` or after it."""
        begin = self._line_start(position)
        if begin == position:
            return position
        return next((piece.start for piece in self._pieces_from(begin) if piece.start >= position), self.end)


class _Piece(NamedTuple):
    start: int
    stop: int
    raw: bytes


def _cut(start: int, line: bytes, newline: int) -> Iterator[_Piece]:
    """A line that begins at `start`, in pieces that fit an event; its end (`newline` bytes) belongs to the last one."""
    at = 0
    while len(line) - at > MAX_EVENT_BYTES:
        size = MAX_EVENT_BYTES
        while size > MAX_EVENT_BYTES - 3 and line[at + size] & 0xC0 == 0x80:  # inside a character
            size -= 1
        yield _Piece(start + at, start + at + size, line[at : at + size])
        at += size
    yield _Piece(start + at, start + len(line) + newline, line[at:])
