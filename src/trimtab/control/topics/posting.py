"""One POST to a subscriber: its answer's status within a time limit, or why there is none. Nothing is kept open."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import httptools

TIMEOUT_S: Final = 15.0  # AWS: a subscriber has 15 seconds to answer
_MOST_ANSWER_BYTES: Final = 65_536


class Unreachable(Exception):
    """No answer: the reason is the text."""


class _Head:
    """Until the answer's head is complete."""

    def __init__(self) -> None:
        self.complete = False

    def on_headers_complete(self) -> None:
        self.complete = True


async def post(url: str, headers: Mapping[str, str], body: bytes, *, timeout_s: float = TIMEOUT_S) -> int:
    """The status that the subscriber at `url` answers. Redirects are not followed. Raises Unreachable."""
    try:
        async with asyncio.timeout(timeout_s):
            return await _post(url, headers, body)
    except TimeoutError:
        raise Unreachable(f"no answer within {timeout_s:g} s") from None
    except (OSError, EOFError, ValueError, httptools.HttpParserError) as error:
        raise Unreachable(str(error) or type(error).__name__) from None


async def _post(url: str, headers: Mapping[str, str], body: bytes) -> int:
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    reader, writer = await asyncio.open_connection(
        parts.hostname, parts.port or (443 if secure else 80), ssl=ssl.create_default_context() if secure else None
    )
    try:
        writer.write(_head(url, headers, len(body)) + body)
        await writer.drain()
        return await _status(reader)
    finally:
        writer.close()


def _head(url: str, headers: Mapping[str, str], size_bytes: int) -> bytes:
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    host = parts.netloc.rpartition("@")[2]
    fields = {**headers, "Content-Length": str(size_bytes), "Host": host, "Connection": "close"}
    lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


async def _status(reader: asyncio.StreamReader) -> int:
    head = _Head()
    parser = httptools.HttpResponseParser(head)
    size_bytes = 0
    while not head.complete:
        data = await reader.read(8192)
        size_bytes += len(data)
        if not data or size_bytes > _MOST_ANSWER_BYTES:
            raise EOFError("the connection ended without an answer" if not data else "the answer has no end")
        parser.feed_data(data)
    return int(parser.get_status_code())
