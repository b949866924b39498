"""Running an async `Handler` for one exchange."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

from trimtab.aws.http import BytesBody, Handler, Headers, HttpRequest, HttpResponse
from trimtab.aws.server.exchange import Exchange
from trimtab.aws.server.rendering import NO_BODY_STATUSES, head_of

logger = logging.getLogger(__name__)


async def serve_exchange(handler: Handler, exchange: Exchange, peer: str) -> None:
    """Call `handler` and send what it returns. A handler that raises has a bug: logged, answered 500 without detail."""
    request = request_of(exchange, peer)
    try:
        response = await handler(request)
    except Exception:  # one request's bug ends that request, not the server
        logger.exception("handler failed method=%s path=%s", request.method, request.raw_path)
        response = HttpResponse(status=500, headers=[("content-type", "text/plain")], body=b"Internal failure.")
    length = _take_length(response)
    head = head_of(response, exchange.date)
    if not isinstance(response.body, bytes):
        await _stream(exchange, response.body, head, length, response.status)
    elif response.status in NO_BODY_STATUSES or (exchange.method == b"HEAD" and length is not None):
        exchange.start(head, length, status=response.status)  # a length here is that of the body not sent
        exchange.finish()
    else:
        exchange.respond(head, response.body)


def request_of(exchange: Exchange, peer: str) -> HttpRequest:
    """The exchange as handlers see it."""
    raw_path, _, query = exchange.target.decode("latin-1").partition("?")
    return HttpRequest(
        method=exchange.method.decode("latin-1"),
        raw_path=raw_path,
        query=query,
        headers=headers_of(exchange),
        body=exchange.body if exchange.body is not None else BytesBody(b"".join(exchange.chunks)),
        peer=peer,
    )


def headers_of(exchange: Exchange) -> Headers:
    """Names lower case, values stripped, in the order received."""
    return Headers([(n.decode("latin-1").lower(), v.decode("latin-1").strip()) for n, v in exchange.headers])


def _take_length(response: HttpResponse) -> int | None:
    """Take Content-Length out of the headers: the exchange frames the answer itself."""
    for index, (name, value) in enumerate(response.headers):
        if name.lower() == "content-length":
            response.headers = response.headers[:index] + response.headers[index + 1 :]
            return int(value)
    return None


async def _stream(exchange: Exchange, body: AsyncIterator[bytes], head: bytes, length: int | None, status: int) -> None:
    writable = asyncio.Event()
    exchange.on_writable = writable.set
    exchange.start(head, length, status=status)
    try:
        async for piece in body:
            if not exchange.open:
                break  # the client has gone: nobody reads the rest
            writable.clear()
            if not exchange.write(piece):
                await writable.wait()
    except Exception:  # the head is out: only a cut connection tells the client
        logger.exception("answer broke off path=%s", exchange.target.decode("latin-1"))
        exchange.abort()
    else:
        exchange.finish()
    finally:
        close = getattr(body, "aclose", None)
        if close is not None:
            await close()
