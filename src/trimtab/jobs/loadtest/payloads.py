"""What is sent: bodies from a file of JSON Lines or CSV rows, one plain file, or a folder of files.

JSON Lines, one request a line: `body` (text is sent as it is, anything else as JSON) or `body_base64`, and optionally
`content_type`, `accept`, `weight`, `target_variant`, `target_model`, `custom_attributes`. CSV: each row is a body of
`text/csv`.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from trimtab.errors import Invalid

TYPES: Final = {".json": "application/json", ".csv": "text/csv", ".npy": "application/x-npy", ".txt": "text/plain",
                ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}  # fmt: skip
MAX_TOTAL_BYTES: Final = 2**28
_JSON_LINES: Final = (".jsonl", ".ndjson")
_MEMBERS: Final = frozenset(
    {"body", "body_base64", "content_type", "accept", "weight", "target_variant", "target_model", "custom_attributes"}
)


class Payload(Struct, frozen=True):
    """One kind of request, and how often it is sent, relative to the others."""

    body: bytes
    content_type: str = "application/json"
    weight: float = 1.0
    accept: str = ""
    target_variant: str = ""
    custom_attributes: str = ""
    target_model: str = ""


def read_payloads(path: Path, *, content_type: str = "", variant: str = "") -> list[Payload]:
    """The payloads of a file or folder. `content_type` and `variant` count where the file says none.

    Raises Invalid, with the line, for what cannot be read or understood.
    """
    try:
        payloads = list(_read(path, content_type, variant))
    except OSError as error:
        raise Invalid(f"The payload {path} cannot be read: {error.strerror or error}.") from error
    if not payloads:
        raise Invalid(f"The payload {path} is empty: there is nothing to send.")
    if not any(payload.weight for payload in payloads):
        raise Invalid(f"The payload {path} has no weight above 0: there is nothing to send.")
    if (total := sum(len(payload.body) for payload in payloads)) > MAX_TOTAL_BYTES:
        raise Invalid(f"The payload {path} has {total:,} bytes; more than {MAX_TOTAL_BYTES:,} are not held in memory.")
    return payloads


def _read(path: Path, content_type: str, variant: str) -> Iterator[Payload]:
    if path.is_dir():
        for file in sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith(".")):
            yield _plain(file, content_type, variant)
    elif path.suffix.lower() in _JSON_LINES:
        for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
            if line.strip():
                yield _of_line(line, f"{path.name}, line {number}", content_type, variant)
    elif path.suffix.lower() == ".csv":
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            if line.strip():
                _decoded(line, f"{path.name}, line {number}")
                yield Payload(line, content_type or TYPES[".csv"], target_variant=variant)
    elif path.stat().st_size:
        yield _plain(path, content_type, variant)


def _plain(path: Path, content_type: str, variant: str) -> Payload:
    kind = content_type or TYPES.get(path.suffix.lower(), "application/octet-stream")
    return Payload(path.read_bytes(), kind, target_variant=variant)


def _of_line(line: bytes, where: str, content_type: str, variant: str) -> Payload:
    try:
        found: Any = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{where}: not JSON: {error}.") from error
    if not isinstance(found, dict):
        raise Invalid(f'{where}: a line must be an object such as {{"body": ...}}, not {type(found).__name__}.')
    if unknown := sorted(set(found) - _MEMBERS):
        raise Invalid(f"{where}: unknown member {', '.join(unknown)}; there are {', '.join(sorted(_MEMBERS))}.")
    if ("body" in found) == ("body_base64" in found):
        raise Invalid(f"{where}: give the body once, as body or as body_base64.")
    return Payload(
        body=_body(found, where),
        content_type=_text(found, "content_type", where) or content_type or "application/json",
        weight=_weight(found.get("weight", 1.0), where),
        accept=_text(found, "accept", where),
        target_variant=_text(found, "target_variant", where) or variant,
        custom_attributes=_text(found, "custom_attributes", where),
        target_model=_text(found, "target_model", where),
    )


def _body(found: dict[str, Any], where: str) -> bytes:
    if "body" in found:
        body = found["body"]
        return body.encode() if isinstance(body, str) else msgspec.json.encode(body)
    try:
        return base64.b64decode(_text(found, "body_base64", where), validate=True)
    except binascii.Error as error:
        raise Invalid(f"{where}: body_base64 is not base64: {error}.") from error


def _text(found: dict[str, Any], name: str, where: str) -> str:
    value = found.get(name, "")
    if not isinstance(value, str) or not value.isascii() or not (value.isprintable() or not value):
        raise Invalid(f"{where}: {name} must be printable ASCII text.")
    return value


def _weight(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise Invalid(f"{where}: weight must be a number, 0 or more, not {value!r}.")
    return float(value)


def _decoded(line: bytes, where: str) -> None:
    try:
        line.decode()
    except UnicodeDecodeError as error:
        raise Invalid(f"{where}: not UTF-8 text: {error.reason}.") from error
