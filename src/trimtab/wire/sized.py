"""Messages on a stream, each after its size: u32 little-endian, then so many bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator

SIZE = struct.Struct("<I")


def sized(message: bytes) -> bytes:
    """A message as it travels."""
    return SIZE.pack(len(message)) + message


class SizedReader:
    """Cuts what arrives into messages. One of more than `max_bytes` is refused before it is waited for."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The messages that are whole now. ValueError for one that is too large: nothing can be read after it."""
        self._buffer += data
        while len(self._buffer) >= SIZE.size:
            (size_bytes,) = SIZE.unpack_from(self._buffer)
            if size_bytes > self._max_bytes:
                raise ValueError(f"a message of {size_bytes} bytes")
            end = SIZE.size + size_bytes
            if len(self._buffer) < end:
                return
            message = bytes(self._buffer[SIZE.size : end])
            del self._buffer[:end]
            yield message
