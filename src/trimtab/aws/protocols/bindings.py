"""REST bindings: which members of a message stand in its path, query string, headers and status."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from trimtab.aws.http import Headers
from trimtab.aws.protocols import scalars
from trimtab.aws.protocols.errors import Malformed, Part
from trimtab.aws.services import Member, Shape

_LIST_ITEM = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([^,]*))\s*(?:,|$)')
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # what no header value may hold; a tab may stand


def read_located(
    shape: Shape, labels: Mapping[str, str], query: Sequence[tuple[str, str]], headers: Headers
) -> dict[str, Any]:
    """The params of `shape` that are not in the body. Raises Malformed."""
    params: dict[str, Any] = {}
    for name, member in shape.members.items():
        if not member.location:
            continue
        value = _located(member, labels, query, headers)
        if value is not None:
            params[name] = value
    return params


def write_located(shape: Shape, result: Mapping[str, Any]) -> tuple[int, list[tuple[str, str]]]:
    """The status (0: not said) and the headers of `result`. Raises ValueError for a value no header can hold."""
    status = 0
    headers: list[tuple[str, str]] = []
    for name, value in result.items():
        member = shape.members.get(name)
        if member is None or value is None:
            continue
        if member.location == "statusCode":
            status = int(value)
        elif member.location == "header":
            headers.append((member.wire_name, _clean(_header_text(member, value))))
        elif member.location == "headers":
            headers.extend((member.wire_name + key, _clean(str(text))) for key, text in value.items())
    return status, headers


def has_body_members(shape: Shape) -> bool:
    """Whether some member is bound to nothing else than the body."""
    return any(not member.location for member in shape.members.values())


def _located(member: Member, labels: Mapping[str, str], query: Sequence[tuple[str, str]], headers: Headers) -> Any:
    if member.location == "uri":
        text = labels.get(member.wire_name)
        return None if text is None else scalars.read(member, text, Part.URI)
    if member.location == "querystring":
        return _from_query(member, query)
    if member.location == "header":
        return _from_header(member, headers) if member.wire_name in headers else None
    if member.location == "headers":
        prefix = member.wire_name.lower()
        names = dict.fromkeys(n for n, _ in headers.pairs if n.startswith(prefix) and n != prefix)
        return {name[len(prefix) :]: headers.get(name) for name in names} or None
    return None


def _from_query(member: Member, query: Sequence[tuple[str, str]]) -> Any:
    if member.shape.type == "map":
        return {k: v for k, v in query if k} or None
    texts = [v for k, v in query if k == member.wire_name]
    if not texts:
        return None
    if member.shape.type == "list":
        assert member.shape.element is not None
        element = member.shape.element
        return [scalars.read(element, text, Part.ARGUMENT) for text in texts]
    if not texts[0] and member.shape.type != "string":
        return None
    return scalars.read(member, texts[0], Part.ARGUMENT)


def _from_header(member: Member, headers: Headers) -> Any:
    text = headers.get(member.wire_name)
    if member.json_value:
        return _json_value(member, text)
    if member.shape.type == "list":
        assert member.shape.element is not None
        element = member.shape.element
        return [scalars.read(element, item, Part.ARGUMENT) for item in _items(text)]
    if member.shape.type == "timestamp":
        try:
            return scalars.read(member, text, Part.ARGUMENT)
        except Malformed:
            return None  # RFC 9110, 13.1.3: a recipient must ignore a date that is not valid
    if not text and member.shape.type != "string":
        return None
    return scalars.read(member, text, Part.ARGUMENT)


def _items(text: str) -> list[str]:
    """A comma-separated list; items may be quoted."""
    items: list[str] = []
    position = 0
    while position < len(text):
        match = _LIST_ITEM.match(text, position)
        if match is None or match.end() == position:
            raise Malformed(f"{text[:200]!r} is not a comma-separated list.", Part.ARGUMENT)
        quoted, plain = match.groups()
        items.append(re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain.strip())
        position = match.end()
    return [item for item in items if item]


def _json_value(member: Member, text: str) -> Any:
    try:
        return msgspec.json.decode(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError, RecursionError):
        raise Malformed(f"The header {member.wire_name} is not base64-encoded JSON.", Part.ARGUMENT) from None


def _header_text(member: Member, value: Any) -> str:
    if member.json_value:
        return base64.b64encode(msgspec.json.encode(value)).decode()
    if member.shape.type == "list":
        assert member.shape.element is not None
        element = member.shape.element
        return ",".join(_quoted(scalars.write(element, item, "rfc822")) for item in value)
    return scalars.write(member, value, "rfc822")


def _quoted(item: str) -> str:
    return '"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"' if "," in item or '"' in item else item


def _clean(text: str) -> str:
    """Refuse what would break out of the header. The server encodes headers as latin-1."""
    if _CONTROL.search(text):
        raise ValueError("a header value must not hold control characters")
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError("a header value must be latin-1") from None
    return text
