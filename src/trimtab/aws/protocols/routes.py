"""REST routing: method, path and query string to an operation, from the models' http traits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final
from urllib.parse import unquote

from msgspec import Struct

from trimtab.aws.http import Headers
from trimtab.aws.protocols.errors import Malformed, Part
from trimtab.aws.services import Route, Service

# The same request means two operations, one of them from the days before the other. Source: the S3 API reference.
_PREFERRED: Final = frozenset({"ListBuckets"})
# The only headers that tell operations apart; other required headers are for validation to miss.
_TELLING_HEADERS: Final = frozenset({"x-amz-copy-source"})
_HINT = "x-id"  # some SDKs send `x-id=GetObject`; it decides nothing


class Match(Struct, frozen=True):
    """The operation a request addresses, and the labels of its path, decoded."""

    operation: str
    labels: dict[str, str]


class _Compiled(Struct, frozen=True):
    operation: str
    segments: tuple[str, ...]  # `{Bucket}`, `{Key+}` or literal
    query: tuple[tuple[str, str | None], ...]  # that must be there; None: with any value
    headers: tuple[str, ...]
    rank: int


class Router:
    """Finds operations of one service."""

    def __init__(self, service: Service) -> None:
        self._by_method: dict[str, list[_Compiled]] = {}
        for route in service.routes:
            self._by_method.setdefault(route.method, []).append(_compile(route, service.operations))
        for routes in self._by_method.values():
            routes.sort(key=lambda r: (-len(r.query) - len(r.headers), -r.rank, r.operation))

    def match(self, method: str, raw_path: str, query: Mapping[str, str], headers: Headers) -> Match | None:
        """The most specific operation that fits. Raises Malformed when the path is not percent-encoded UTF-8."""
        for route in self._by_method.get(method, ()):
            if route.query and not all(k in query and (v is None or query[k] == v) for k, v in route.query):
                continue
            if not all(name in headers for name in route.headers):
                continue
            labels = _labels(route.segments, raw_path)
            if labels is not None:
                return Match(route.operation, labels)
        return None


def _compile(route: Route, served: Collection[str]) -> _Compiled:
    path, _, static = route.uri.partition("?")
    query: list[tuple[str, str | None]] = []
    for item in filter(None, static.split("&")):
        name, equals, value = item.partition("=")
        if name != _HINT:
            query.append((name, value if equals else None))
    query.extend((name, None) for name in route.required_query)
    return _Compiled(
        operation=route.operation,
        segments=tuple(path.strip("/").split("/")) if path != "/" else (),
        query=tuple(query),
        headers=tuple(h for h in route.required_headers if h in _TELLING_HEADERS),
        rank=4 * (not route.deprecated) + 2 * (route.operation in _PREFERRED) + (route.operation in served),
    )


def _labels(segments: tuple[str, ...], raw_path: str) -> dict[str, str] | None:
    """The labels if the path fits, else None. A trailing slash after the last plain label does not matter."""
    rest = raw_path[1:] if raw_path.startswith("/") else raw_path
    labels: dict[str, str] = {}
    for position, segment in enumerate(segments):
        if segment.endswith("+}"):
            if not rest:
                return None
            labels[segment[1:-2]] = _decoded(rest)
            return labels
        part, slash, rest = rest.partition("/")
        if not part:
            return None
        if segment.startswith("{"):
            labels[segment[1:-1]] = _decoded(part)
        elif _decoded(part) != segment:
            return None
        if not slash and position < len(segments) - 1:
            return None
    return None if rest else labels


def _decoded(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise Malformed("Couldn't parse the specified URI.", Part.URI) from None
