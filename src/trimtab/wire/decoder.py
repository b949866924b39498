"""Bytes of a framed connection to frames, however they are cut."""

from __future__ import annotations

from collections.abc import Callable

from trimtab.errors import Broken
from trimtab.wire.frames import HEADER, HEADER_SIZE

OnFrame = Callable[[int, int, bytes, bytes], None]
"""Called with kind, stream, meta, payload."""

MAX_PAYLOAD_BYTES = 1 << 30
_GATHERED_BYTES = 65_536  # payloads larger than this are gathered piece by piece and joined once


class FrameDecoder:
    """Feed it what was received; it calls `on_frame` for each complete frame, in order.

    Raises Broken when a header says more than `max_payload_bytes`: the other side does not speak frames.
    """

    __slots__ = ("_gathered", "_head", "_left_bytes", "_max_payload_bytes", "_on_frame", "_rest")

    def __init__(self, on_frame: OnFrame, *, max_payload_bytes: int = MAX_PAYLOAD_BYTES) -> None:
        self._on_frame = on_frame
        self._max_payload_bytes = max_payload_bytes
        self._rest = b""  # the beginning of a frame
        self._head: tuple[int, int, bytes] = (0, 0, b"")  # kind, stream, meta of the frame being gathered
        self._gathered: list[bytes] = []
        self._left_bytes = 0  # of the payload being gathered

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        offset = 0
        if self._left_bytes:
            offset = self._gather(data)
            if self._left_bytes or offset == len(data):
                return
        elif self._rest:
            data = self._rest + data
            self._rest = b""
        end = len(data)
        on_frame = self._on_frame
        while end - offset >= HEADER_SIZE:
            payload_size, stream, meta_size, kind, _flags = HEADER.unpack_from(data, offset)
            body = offset + HEADER_SIZE + meta_size
            stop = body + payload_size
            if stop > end:
                if payload_size > self._max_payload_bytes:
                    raise Broken(f"A frame of {payload_size} bytes is over the limit: the peer does not speak frames.")
                if payload_size > _GATHERED_BYTES and body <= end:
                    self._head = (kind, stream, data[offset + HEADER_SIZE : body])
                    self._gathered = [data[body:]]
                    self._left_bytes = stop - end
                    return
                break
            on_frame(kind, stream, data[offset + HEADER_SIZE : body], data[body:stop])
            offset = stop
        self._rest = data[offset:]

    def _gather(self, data: bytes) -> int:
        """Add to the payload being gathered; return how much of `data` belonged to it."""
        left_bytes = self._left_bytes
        if len(data) < left_bytes:
            self._gathered.append(data)
            self._left_bytes = left_bytes - len(data)
            return len(data)
        self._gathered.append(data if len(data) == left_bytes else data[:left_bytes])
        payload = b"".join(self._gathered)
        self._gathered = []
        self._left_bytes = 0
        kind, stream, meta = self._head
        self._on_frame(kind, stream, meta, payload)
        return left_bytes
