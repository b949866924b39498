"""An object that is being read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from trimtab.errors import Broken
from trimtab.objects.blobs import CHUNK_BYTES, Blobs
from trimtab.objects.model import Layout, ObjectInfo, Segment
from trimtab.objects.reaper import Reaper


class BlobReader:
    """Streams an object from its blobs, and holds them until it is closed, exhausted or dropped."""

    def __init__(self, info: ObjectInfo, layout: Layout, blobs: Blobs, reaper: Reaper) -> None:
        self.info = info
        self.layout = layout
        self._blobs = blobs
        self._reaper = reaper
        self._held = [segment.blob for segment in layout.segments if segment.blob]
        reaper.hold(self._held)

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the blobs. Twice is the same as once."""
        held, self._held = self._held, []
        if held:
            self._reaper.free(held)

    async def read(self) -> bytes:
        """All of it, at once."""
        try:
            pieces = [await self._get(s) for s in self.layout.segments]
        finally:
            self.close()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def stream(self, start: int = 0, stop: int | None = None, *, chunk_bytes: int = CHUNK_BYTES) -> ObjectStream:
        """Bytes `start` to `stop`."""
        return ObjectStream(self, self._pieces(start, self.info.size_bytes if stop is None else stop, chunk_bytes))

    async def _pieces(self, start: int, stop: int, chunk_bytes: int) -> AsyncIterator[bytes]:
        for segment in cut(self.layout.segments, start, stop):
            if segment.length <= chunk_bytes or not segment.blob:
                yield await self._get(segment)
                continue
            sent = 0
            try:
                async for piece in self._blobs.stream(segment.blob, segment.offset, segment.length, chunk_bytes):
                    sent += len(piece)
                    yield piece
            except FileNotFoundError:
                raise self._lost(segment) from None
            if sent != segment.length:
                raise self._lost(segment)

    async def _get(self, segment: Segment) -> bytes:
        if not segment.blob:
            return segment.data
        try:
            data = await self._blobs.get(segment.blob, segment.offset, segment.length)
        except FileNotFoundError:
            raise self._lost(segment) from None
        if len(data) != segment.length:
            raise self._lost(segment)
        return data

    def _lost(self, segment: Segment) -> Broken:
        return Broken(
            f"The bytes of s3://{self.info.bucket}/{self.info.key} are not at {self._blobs.where} any more (blob "
            f"{segment.blob}): somebody else removed or cut them. Put the object again."
        )


class ObjectStream:
    """An iterator over an object's bytes that closes its reader, also when nobody ever asked for the first piece."""

    def __init__(self, reader: BlobReader, pieces: AsyncIterator[bytes]) -> None:
        self._reader = reader
        self._pieces = pieces

    def __aiter__(self) -> ObjectStream:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._pieces)
        except (StopAsyncIteration, asyncio.CancelledError, Exception):
            self._reader.close()
            raise

    async def aclose(self) -> None:
        """End early."""
        close = getattr(self._pieces, "aclose", None)
        if close is not None:
            await close()
        self._reader.close()


def cut(segments: list[Segment], start: int, stop: int) -> list[Segment]:
    """The segments of the bytes `start` to `stop` of what `segments` make up."""
    found: list[Segment] = []
    at = 0
    for segment in segments:
        low, high = max(start, at), min(stop, at + segment.length)
        if low < high:
            data = segment.data[low - at : high - at]
            found.append(Segment(segment.blob, segment.offset + low - at if segment.blob else 0, high - low, data))
        at += segment.length
    return found
