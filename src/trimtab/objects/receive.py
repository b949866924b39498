"""Bytes that arrive -> a blob and its digests, with a bounded number of bytes in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from trimtab.errors import TooLarge
from trimtab.objects.blobs import Blobs
from trimtab.objects.checksums import Digests
from trimtab.objects.model import Layout, Segment

BLOCK_BYTES = 2**20
_INLINE_BYTES = 64 * 1024  # hashing this many on the event loop takes less than handing them to a thread

T = TypeVar("T")
Source = bytes | AsyncIterable[bytes]


async def receive(
    blobs: Blobs,
    new_blob: Callable[[], Awaitable[str]],
    source: Source,
    *,
    algorithms: Sequence[str] = (),
    expected: Mapping[str, str],
    limit_bytes: int,
    inline_bytes: int,
) -> tuple[Digests, Layout]:
    """Write `source` to a blob, digest it on the way, and return its digests and place once it is durable.

    Up to `inline_bytes` need no blob: the layout holds them. Raises TooLarge, ChecksumMismatch, StorageFull, and
    whatever `source` raises; the caller then abandons the blob.
    """
    digests = Digests((*algorithms, *(name for name in expected if name != "MD5")))
    blocks = _blocks(source)
    first = await anext(blocks, b"")
    _limit(len(first), limit_bytes)
    if len(first) < BLOCK_BYTES:
        await _digest(digests, first)
        digests.check(expected)
        if len(first) <= inline_bytes:
            return digests, Layout(segments=[Segment("", 0, len(first), first)] if first else [])
        blob = await new_blob()
        await to_the_end(blobs.put(blob, first))
        return digests, Layout(segments=[Segment(blob, 0, len(first))])
    blob = await new_blob()
    writer = blobs.writer(blob)
    block = first
    while block:
        _limit(digests.size_bytes + len(block), limit_bytes)
        await both(_digest(digests, block), writer.write(block))
        block = await anext(blocks, b"")
    digests.check(expected)
    await to_the_end(writer.close())
    return digests, Layout(segments=[Segment(blob, 0, digests.size_bytes)])


async def digest(source: AsyncIterable[bytes], algorithms: Sequence[str] = ()) -> Digests:
    """The digests of `source`, which is written nowhere."""
    digests = Digests(algorithms)
    async for piece in source:
        await _digest(digests, piece)
    return digests


async def to_the_end(step: Awaitable[T]) -> T:
    """Await `step`; when cancelled meanwhile, wait until it has ended all the same, so that its outcome is known."""
    future = asyncio.ensure_future(step)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise


async def both(first: Coroutine[Any, Any, None], second: Coroutine[Any, Any, None]) -> None:
    """Run two steps side by side; when one fails, wait for the other before saying so."""
    results = await asyncio.gather(first, second, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


async def _digest(digests: Digests, data: bytes) -> None:
    if len(data) <= _INLINE_BYTES:
        digests.update(data)
    else:
        await asyncio.to_thread(digests.update, data)  # hashlib and zlib release the GIL


def _limit(size_bytes: int, limit_bytes: int) -> None:
    if size_bytes > limit_bytes:
        raise TooLarge(
            f"Your proposed upload exceeds the maximum allowed size of {limit_bytes} bytes. Use a multipart upload.",
            limit_bytes=limit_bytes,
        )


async def _blocks(source: Source) -> AsyncIterator[bytes]:
    """Pieces of any size as blocks of at least BLOCK_BYTES, the last one excepted."""
    if isinstance(source, bytes):
        if source:
            yield source
        return
    gathered: list[bytes] = []
    size = 0
    async for piece in source:
        gathered.append(bytes(piece))
        size += len(piece)
        if size >= BLOCK_BYTES:
            yield b"".join(gathered)
            gathered, size = [], 0
    if size:
        yield b"".join(gathered)
