"""A seeded fuzzer of the AWS edge: valid requests for every operation, damaged in every part, in-process.

Used by a unit test (a few thousand requests) and by benchmarks/fuzz_edge.py (100,000). Point it at any edge: it needs
a callable from HttpRequest to HttpResponse.
"""

from __future__ import annotations

import asyncio
import gzip
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from random import Random
from typing import Any

import wire_halves
from msgspec import Struct, field

from trimtab.aws.http import Body, BytesBody, Headers, HttpRequest, HttpResponse
from trimtab.aws.registry import Call, OperationHandler
from trimtab.aws.services import load

SERVICES = ("sagemaker", "sagemaker-runtime", "s3", "sts", "iam", "cloudwatch", "logs")
PROTOCOLS = {"cloudwatch": ("json", "query", "smithy-rpc-v2-cbor"), "logs": ("json",)}  # of others: the model's own
Edge = Callable[[HttpRequest], Awaitable[HttpResponse]]

METHODS = ("GET", "PUT", "POST", "DELETE", "HEAD", "PATCH", "OPTIONS", "TRACE", "get", "G E T", "", "\x00")
NASTY_TEXT = (
    "", "0", "-1", "99999999999999999999", "1e999", "NaN", "null", "true", "\x00", "\ud7ff", "%", "%zz", "%ff%fe", "%2e%2e%2f",
    "../../etc/passwd", "a" * 5000, "<x>", "&amp;", "';--", "${jndi:x}", "é漢😀", "\u202e", "2026-13-45T99:99:99Z", "+", "&&==&", ".",
    "a.b.c.1.2.3", "//", "?", "#", "-", "_", "*", "arn:aws:sagemaker:::", "\r\nX-Evil: 1",
)  # fmt: skip
NASTY_BODIES = (
    b"", b" ", b"null", b"[]", b'""', b"0", b"{", b"}", b'{"a"', b'{"a":NaN}', b'{"a":1e999}', b"\xff\xfe", b"\xef\xbb\xbf{}",
    b"[" * 20_000, b'{"a":' * 20_000, b"<a>" * 5_000, b"<a/>", b"<a", b"<?xml version='1.0' encoding='utf-7'?><a/>",
    b"<?xml version='1.0' encoding='nope'?><a/>",
    b'<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;">]><a>&d;</a>', b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
    b"Action=", b"Action=GetCallerIdentity&Version=", b"a=%ff", b"." * 3000 + b"=1", b"&" * 20_000, b"a=1&" * 20_000,
    b'{"ModelName":"\\ud800"}', b'{"ModelName":1,"ModelName":"x"}', b'{"Tags":[null]}', b"\x00" * 100, b"--x\r\n\r\n",
)  # fmt: skip
CONTENT_TYPES = (
    "application/json", "application/x-amz-json-1.1", "application/x-amz-json-1.0", "application/xml", "text/plain", "",
    "application/x-www-form-urlencoded", "application/x-www-form-urlencoded; charset=utf-16", "application/cbor",
    "multipart/form-data; boundary=x",
)  # fmt: skip
TARGETS = (
    "", ".", "SageMaker", "SageMaker.", "SageMaker.Nope", "SageMaker.CreateModel", "sagemaker.CreateModel", "Logs_20140328.X",
    "DynamoDB_20120810.PutItem", "AmazonSQS.SendMessage", "GraniteServiceVersion20100801.PutMetricData", "a" * 3000, "é",
)  # fmt: skip


CBOR = (
    b"\xd8\x1c\x81\xd8\x1d\x00", b"\xc2\x49" + b"\xff" * 9, b"\xc4\x82\x1a\x3b\x9a\xca\x00\x01", b"\xf7", b"\xe0", b"\xf9\x7e\x00",
    b"\xfb\x7f\xf0" + b"\x00" * 6, b"\xc1\xfb\x7f\xf8" + b"\x00" * 6, b"\xc1\x1b" + b"\xff" * 8, b"\x81" * 2000, b"\x9f\xff", b"\xbf\xff",
    b"\x7f\x61a\x61b\xff", b"\x5f\xff", b"\x9b" + b"\xff" * 8, b"\x7b" + b"\x7f" * 8, b"\xd8\x23\x63(((", b"\xa1\x80\x80", b"\x1b" + b"\xff" * 8,
)  # fmt: skip
BOMB = gzip.compress(b"\x00" * 2**24)


class Failure(Struct, frozen=True):
    """A request that the edge did not stand."""

    number: int
    what: str
    request: str


class Report(Struct):
    """What the edge answered."""

    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    slowest_s: float = 0.0
    slowest: str = ""


def stub_handlers(services: Iterable[str] = SERVICES) -> dict[str, dict[str, OperationHandler]]:
    """For every operation a handler that reads what it is given and returns a small valid result."""
    return {
        service: {operation.name: _stub(service, operation) for operation in wire_halves.operations(service)}
        for service in services
    }


def seeds(
    random: Random,
    services: Iterable[str] = SERVICES,
    *,
    each: int = 1,
    often: Mapping[str, Iterable[str]] | None = None,
) -> list[HttpRequest]:
    """Valid requests, `each` per operation and twenty times as many of those in `often`, as botocore sends them."""
    found = []
    for service in services:
        protocols = PROTOCOLS.get(service) or (load(service, ()).protocol,)
        favourites = set((often or {}).get(service, ()))
        for operation in wire_halves.operations(service):
            for _ in range(each * 20 if operation.name in favourites else each):
                params = wire_halves.Values(random, valid=True).message(operation.input_shape)
                found += [wire_halves.request(service, operation.name, params, protocol) for protocol in protocols]
    return found


def plain(method: str, path: str, body: bytes = b"") -> HttpRequest:
    """A request of no AWS service."""
    headers = Headers([("host", "localhost:7070"), ("authorization", "Basic S0VZOnNlY3JldA==")])
    path, _, query = path.partition("?")
    return HttpRequest(method=method, raw_path=path, query=query, headers=headers, body=BytesBody(body))


async def fuzz(edge: Edge, pool: list[HttpRequest], *, count: int, seed: int, limit_s: float = 5.0) -> Report:
    """Send `count` damaged requests. A failure: an exception, 500, an answer that takes `limit_s`, a stack trace."""
    random = Random(seed)
    report = Report()
    for number in range(count):
        request = mutated(random, random.choice(pool), pool)
        shown = _shown(request)
        started_s = time.monotonic()
        try:
            status, body, headers = await asyncio.wait_for(_ask(edge, request), limit_s)
        except Exception as error:  # noqa: BLE001 - whatever comes out is the finding
            report.failures.append(Failure(number, repr(error), shown))
            continue
        took_s = time.monotonic() - started_s
        if took_s > report.slowest_s:
            report.slowest_s, report.slowest = took_s, shown
        report.statuses[status] += 1
        if status >= 500 and status not in (501, 503):
            report.failures.append(Failure(number, f"status {status}: {body[:300]!r}", shown))
        elif b"Traceback" in body or b'File "' in body:
            report.failures.append(Failure(number, f"a stack trace: {body[:300]!r}", shown))
        elif request.raw_path.startswith(("/metrics", "/_trimtab/")):
            pass  # no AWS service: no request id
        elif not {"x-amzn-requestid", "x-amz-request-id"} & headers:
            report.failures.append(Failure(number, f"no request id on {status}", shown))
    report.requests = count
    return report


def mutated(random: Random, seed: HttpRequest, pool: list[HttpRequest]) -> HttpRequest:
    """A copy of `seed` with one to four parts damaged."""
    request = HttpRequest(
        method=seed.method,
        raw_path=seed.raw_path,
        query=seed.query,
        headers=Headers(list(seed.headers.pairs)),
        body=seed.body,
    )
    for _ in range(random.randint(1, 4)):
        random.choice(MUTATIONS)(random, request, pool)
    return request


def _method(random: Random, request: HttpRequest, pool: list[HttpRequest]) -> None:
    request.method = random.choice(METHODS)


def _target(random: Random, request: HttpRequest, pool: list[HttpRequest]) -> None:
    _set_header(request, "x-amz-target", random.choice(TARGETS))


def _content_type(random: Random, request: HttpRequest, pool: list[HttpRequest]) -> None:
    _set_header(request, "content-type", random.choice(CONTENT_TYPES))


def _path(random: Random, request: HttpRequest, pool: list[HttpRequest]) -> None:
    kind = random.randrange(4)
    if kind == 0:
        request.raw_path = random.choice(pool).raw_path
    elif kind == 1:
        request.raw_path = "/" + random.choice(NASTY_TEXT)
    elif kind == 2:
        request.raw_path += random.choice(("/", "//", "/x", "?", "%00", "%ff", "/.."))
    else:
        request.raw_path = _damaged_text(random, request.raw_path)


def _query(random: Random, request: HttpRequest, pool: list[HttpRequest]) -> None:
    kind = random.randrange(4)
    if kind == 0:
        request.query = random.choice(pool).query
    elif kind == 1:
        name = random.choice(
            ("uploadId", "partNumber", "max-keys", "list-type", "acl", "delete", "x-id", "Action", "X-Amz-Credential")
        )
        request.query += f"&{name}={random.choice(NASTY_TEXT)}"
    elif kind == 2:
        request.query = random.choice(NASTY_TEXT)
    else:
        request.query = _damaged_text(random, request.query)


def _header(random: Random, request: HttpRequest, pool: list[HttpRequest]) -> None:
    pairs = request.headers.pairs
    kind = random.randrange(4)
    if kind == 0 and pairs:
        pairs.pop(random.randrange(len(pairs)))
    elif kind == 1 and pairs:
        at = random.randrange(len(pairs))
        pairs[at] = (pairs[at][0], _latin(random.choice(NASTY_TEXT)))
    elif kind == 2:
        pairs.extend(random.choice(pool).headers.pairs)
    elif pairs:
        at = random.randrange(len(pairs))
        pairs[at] = (pairs[at][0], _latin(_damaged_text(random, pairs[at][1])))


def _body(random: Random, request: HttpRequest, pool: list[HttpRequest]) -> None:
    kind = random.randrange(4)
    if kind == 0:
        request.body = BytesBody(random.choice(NASTY_BODIES))
    elif kind == 1:
        request.body = random.choice(pool).body
    else:
        request.body = BytesBody(_damaged_bytes(random, _bytes_of(request.body)))


def _value(random: Random, request: HttpRequest, pool: list[HttpRequest]) -> None:
    """Replace something between quotes, tags or ampersands: the document stays whole, a value does not."""
    data = _bytes_of(request.body)
    for opening, closing in random.sample([(b'"', b'"'), (b">", b"<"), (b"=", b"&"), (b":", b",")], 4):
        starts = [at for at in range(len(data)) if data.startswith(opening, at)]
        if starts:
            start = random.choice(starts) + 1
            end = data.find(closing, start)
            nasty = random.choice(NASTY_TEXT).encode("utf-8", "replace")
            request.body = BytesBody(data[:start] + nasty + data[end if end >= 0 else len(data) :])
            return


def _packed(random: Random, request: HttpRequest, pool: list[HttpRequest]) -> None:
    """gzip: as SDKs send it, damaged, twice, a bomb, or none at all."""
    data = _bytes_of(request.body)
    packed = gzip.compress(data, 1)
    _set_header(request, "content-encoding", random.choice(("gzip", "gzip", "GZIP ", "gzip, gzip", "deflate", "br")))
    request.body = BytesBody(
        random.choice(
            (packed, packed, packed + packed, gzip.compress(packed), _damaged_bytes(random, packed), BOMB, data)
        )
    )


def _cbor(random: Random, request: HttpRequest, pool: list[HttpRequest]) -> None:
    """Put something that CBOR has and AWS has not into a body, at any place."""
    data = _bytes_of(request.body)
    at = random.randrange(len(data) + 1)
    request.body = BytesBody(data[:at] + random.choice(CBOR) + data[at + random.randint(0, 9) :])


MUTATIONS: tuple[Callable[[Random, HttpRequest, list[HttpRequest]], None], ...] = (
    _method, _target, _content_type, _path, _query, _header, _header, _body, _body, _value, _value, _value, _packed, _cbor,
)  # fmt: skip


def _damaged_text(random: Random, text: str) -> str:
    return _damaged_bytes(random, text.encode("utf-8", "replace")).decode("latin-1")


def _damaged_bytes(random: Random, data: bytes) -> bytes:
    if not data:
        return bytes(random.choices(range(256), k=random.randint(0, 30)))
    at = random.randrange(len(data))
    to = min(len(data), at + random.randint(1, 8))
    return random.choice(
        (
            data[:at] + bytes(random.choices(range(256), k=to - at)) + data[to:],
            data[:at] + data[to:],
            data[:at] + data[at:to] * random.randint(2, 50) + data[to:],
            data[:at],
            data + data,
        )
    )


def _set_header(request: HttpRequest, name: str, value: str) -> None:
    request.headers = Headers([(n, v) for n, v in request.headers.pairs if n != name] + [(name, _latin(value))])


def _latin(text: str) -> str:
    """What a server can have received: latin-1 in one line."""
    return text.encode("utf-8", "replace").decode("latin-1").replace("\r", "").replace("\n", "")


def _bytes_of(body: Body) -> bytes:
    assert isinstance(body, BytesBody)
    return body._data


async def _ask(edge: Edge, request: HttpRequest) -> tuple[int, bytes, set[str]]:
    response = await edge(request)
    body = response.body if isinstance(response.body, bytes) else b"".join([piece async for piece in response.body])
    for _, value in response.headers:
        value.encode("latin-1")
        assert "\r" not in value, "a header value with a line break"
        assert "\n" not in value, "a header value with a line break"
    return response.status, body, {name.lower() for name, _ in response.headers}


def _shown(request: HttpRequest) -> str:
    return (
        f"{request.method!r} {request.raw_path[:200]!r} ?{request.query[:200]!r}"
        f" {[(n, v[:100]) for n, v in request.headers.pairs]!r} {_bytes_of(request.body)[:600]!r}"
    )


def _stub(service: str, operation: Any) -> OperationHandler:
    shape = operation.output_shape
    result: Mapping[str, Any] = wire_halves.Values(Random(0)).message(shape)
    payload = (shape.serialization.get("payload") if shape is not None else "") or ""
    if payload and shape.members[payload].serialization.get("eventstream"):
        result = {k: v for k, v in result.items() if k != payload}
    elif operation.has_event_stream_output:
        result = {}

    async def handle(call: Call, params: dict[str, Any]) -> dict[str, Any]:
        for value in params.values():
            if hasattr(value, "stream"):
                async for _ in value.stream():
                    pass
        return dict(result)

    return handle
