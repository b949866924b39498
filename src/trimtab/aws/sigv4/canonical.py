"""The canonical request of SigV4: one spelling of method, path, query, headers and payload hash that both sides hash.

Source: IAM User Guide, "Create a signed AWS API request". Every part is taken as received, before any decoding.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote_from_bytes, unquote_to_bytes

_PLAIN_PATH = re.compile(r"/(?:[A-Za-z0-9_~-][A-Za-z0-9_~.-]*/)*(?:[A-Za-z0-9_~-][A-Za-z0-9_~.-]*)?")


def canonical_path(raw_path: str, *, s3: bool) -> str:
    """S3 encodes once and normalises nothing; every other service normalises and encodes the encoded path again."""
    if _PLAIN_PATH.fullmatch(raw_path):
        return raw_path
    raw = wire_bytes(raw_path)
    if s3:
        return "/".join([quote_from_bytes(unquote_to_bytes(part), safe="~") for part in raw.split(b"/")])
    return quote_from_bytes(_normalised(raw), safe="/~")


def _normalised(path: bytes) -> bytes:
    """RFC 3986, 5.2.4 (`.` and `..` removed), and runs of slashes made one."""
    parts: list[bytes] = []
    for part in path.split(b"/"):
        if part == b"..":
            del parts[-1:]
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/" + b"/".join(parts) + (b"/" if parts and path.endswith(b"/") else b"")


def canonical_query(query: str, *, without: str = "") -> str:
    """Names and values encoded (`%20`, not `+`), sorted by encoded name, then value; `without` is left out."""
    if not query:
        return ""
    pairs = []
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if pair and name != without:
            pairs.append((_reencoded(name), _reencoded(value)))
    pairs.sort()
    return "&".join([f"{name}={value}" for name, value in pairs])


def _reencoded(text: str) -> str:
    if text.isalnum() and text.isascii():
        return text
    return quote_from_bytes(unquote_to_bytes(wire_bytes(text.replace("+", " "))), safe="~")


def wire_bytes(text: str) -> bytes:
    """The bytes that were on the wire: HTTP text is decoded as latin-1; a text made here may hold more."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


def canonical_headers(fields: Mapping[str, str], signed: Sequence[str]) -> str:
    """`name:value` lines of the signed headers, runs of white space made one space. KeyError: one is absent."""
    return "".join([f"{name}:{' '.join(fields[name].split())}\n" for name in signed])


def canonical_request(method: str, path: str, query: str, headers: str, signed_line: str, payload_hash: str) -> bytes:
    """The text that is hashed and signed; path, query and headers are canonical already."""
    text = f"{method}\n{path}\n{query}\n{headers}\n{signed_line}\n{payload_hash}"
    if text.isascii():
        return text.encode("ascii")
    return _text_of_headers(text)


def _text_of_headers(text: str) -> bytes:
    """Header bytes beyond ASCII: as they stand on the wire where they are UTF-8 (Go, Rust, Java clients).

    Other latin-1 text is what botocore sends for a text that it has signed as UTF-8.
    """
    raw = wire_bytes(text)
    try:
        raw.decode()
    except UnicodeDecodeError:
        return text.encode()
    return raw


def merged(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Header fields by lower-case name; repeated ones joined with a comma in the order received."""
    fields: dict[str, str] = {}
    for name, value in headers:
        if name in fields:
            fields[name] = f"{fields[name]},{value}"
        else:
            fields[name] = value
    return fields
