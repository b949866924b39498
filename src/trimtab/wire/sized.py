"""Messages on a stream, each after its size: u32 little-endian, then so many bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator

SIZE = struct.Struct("<I")


def sized(message: bytes) -> bytes:
    """A message as it travels."""
    return SIZE.pack(len(message)) + message


def split(buffer: bytearray, max_bytes: int) -> Iterator[bytes]:
    """Take the messages that are whole off the front of `buffer`.

    ValueError for one of more than `max_bytes`, before it is waited for: nothing can be read after it.
    """
    while len(buffer) >= SIZE.size:
        (size_bytes,) = SIZE.unpack_from(buffer)
        if size_bytes > max_bytes:
            raise ValueError(f"a message of {size_bytes} bytes; the limit is {max_bytes}")
        end = SIZE.size + size_bytes
        if len(buffer) < end:
            return
        message = bytes(buffer[SIZE.size : end])
        del buffer[:end]
        yield message


class SizedReader:
    """Cuts what arrives into messages, as `split` does."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The messages that are whole now."""
        self._buffer += data
        return split(self._buffer, self._max_bytes)
