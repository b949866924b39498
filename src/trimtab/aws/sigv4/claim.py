"""What a signed request says of itself: which key, for which day, region and service, over which headers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_plus

from msgspec import Struct

from trimtab.aws.denials import INCOMPLETE_SIGNATURE, MISSING_TOKEN
from trimtab.errors import Denied

ALGORITHM: Final = "AWS4-HMAC-SHA256"
_HEX_64 = re.compile(r"[0-9a-f]{64}")
_TIMESTAMP = re.compile(r"\d{8}T\d{6}Z")
_MAX_EXPIRES_S: Final = 604_800  # AWS: a presigned URL lives for a week at most


class Scope(Struct, frozen=True):
    """The parts of a signature that a client repeats from request to request for a day."""

    key_id: str
    date: str  # YYYYMMDD
    region: str
    service: str
    terminator: str
    text: str  # `date/region/service/aws4_request`
    signed_line: str  # `content-type;host;x-amz-date`
    signed: tuple[str, ...]
    signed_set: frozenset[str]


class Claim(Struct, frozen=True):
    """One request's signature and what it claims. `expires_s` is None unless it is a presigned URL's lifetime."""

    scope: Scope
    signature: str
    timestamp: str  # YYYYMMDDTHHMMSSZ
    signed_at_s: float
    token: str = ""
    expires_s: int | None = None


def claim_of_header(authorization: str, fields: Mapping[str, str]) -> Claim:
    """The claim in an Authorization header. Raises Denied: IncompleteSignature."""
    head, found, signature = authorization.rpartition("Signature=")
    if not found or "," in signature:
        head, signature = _signature_last(authorization)
    scope = _scope_of_header(head)
    if not _HEX_64.fullmatch(signature):
        raise incomplete("The Signature in the Authorization header is not 64 lower-case hexadecimal digits.")
    timestamp = fields.get("x-amz-date") or _of_date_header(fields.get("date", ""))
    if not timestamp:
        raise incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
    return Claim(scope, signature, timestamp, epoch_s(timestamp), fields.get("x-amz-security-token", ""))


def _signature_last(authorization: str) -> tuple[str, str]:
    """The header with its Signature moved out, wherever it stood."""
    algorithm, _, rest = authorization.partition(" ")
    parts = [part.strip() for part in rest.split(",")]
    others = [part for part in parts if not part.startswith("Signature=")]
    signatures = [part[len("Signature=") :] for part in parts if part.startswith("Signature=")]
    return f"{algorithm} {', '.join(others)}", signatures[0] if len(signatures) == 1 else ""


@lru_cache(maxsize=1024)
def _scope_of_header(head: str) -> Scope:
    """Parse `AWS4-HMAC-SHA256 Credential=..., SignedHeaders=..., `; cached, as clients repeat it for a day."""
    algorithm, _, rest = head.partition(" ")
    if algorithm != ALGORITHM:
        raise incomplete(
            f"The authorization mechanism {algorithm!r} is not supported. Please use {ALGORITHM}."
            if algorithm
            else f"The Authorization header must begin with {ALGORITHM}."
        )
    values = dict(part.strip().partition("=")[::2] for part in rest.split(",") if part.strip())
    missing = [name for name in ("Credential", "SignedHeaders") if not values.get(name)]
    if missing:
        raise incomplete(" ".join(f"Authorization header requires '{name}' parameter." for name in missing))
    return _scope(values["Credential"], values["SignedHeaders"])


def _scope(credential: str, signed_line: str) -> Scope:
    parts = credential.rsplit("/", 4)
    if len(parts) != 5 or not all(parts):
        raise incomplete(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, "
            f"got '{credential}'."
        )
    key_id, date, region, service, terminator = parts
    signed = tuple(signed_line.split(";"))
    text = f"{date}/{region}/{service}/{terminator}"
    return Scope(key_id, date, region, service, terminator, text, signed_line, signed, frozenset(signed))


def claim_of_query(query: str) -> Claim:
    """The claim in a presigned URL's query. Raises Denied: IncompleteSignature."""
    values = parameters(query)
    names = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-Date", "X-Amz-SignedHeaders")
    missing = [name for name in (*names, "X-Amz-Expires") if not values.get(name)]
    if missing:
        raise incomplete(f"A presigned URL needs the query parameters {', '.join(missing)}.")
    if values["X-Amz-Algorithm"] != ALGORITHM:
        raise incomplete(f'X-Amz-Algorithm only supports "{ALGORITHM}".')
    expires = values["X-Amz-Expires"]
    if not (expires.isascii() and expires.isdigit()) or len(expires) > 9:
        raise incomplete("X-Amz-Expires should be a number of seconds that is not negative.")
    if int(expires) > _MAX_EXPIRES_S:
        raise incomplete(f"X-Amz-Expires must be less than a week (in seconds): {_MAX_EXPIRES_S} at most.")
    if not _HEX_64.fullmatch(values["X-Amz-Signature"]):
        raise incomplete("X-Amz-Signature is not 64 lower-case hexadecimal digits.")
    scope = _scope(values["X-Amz-Credential"], values["X-Amz-SignedHeaders"])
    timestamp = values["X-Amz-Date"]
    token = values.get("X-Amz-Security-Token", "")
    return Claim(scope, values["X-Amz-Signature"], timestamp, epoch_s(timestamp), token, int(expires))


def parameters(query: str) -> dict[str, str]:
    """The query's parameters, decoded; the first of repeated ones."""
    values: dict[str, str] = {}
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        values.setdefault(unquote_plus(name), unquote_plus(value))
    return values


@lru_cache(maxsize=256)
def epoch_s(timestamp: str) -> float:
    """Seconds since the epoch of `YYYYMMDDTHHMMSSZ`. Raises Denied: IncompleteSignature."""
    try:
        if not (timestamp.isascii() and _TIMESTAMP.fullmatch(timestamp)):
            raise ValueError(timestamp)
        return datetime.strptime(timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise incomplete(
            f"Date must be in ISO-8601 'basic format'. Got '{timestamp}'. See http://en.wikipedia.org/wiki/ISO_8601"
        ) from None


def iso_basic(at_s: float) -> str:
    """`YYYYMMDDTHHMMSSZ` of seconds since the epoch."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y%m%dT%H%M%SZ")


def _of_date_header(value: str) -> str:
    """A Date header (RFC 822, or ISO basic as some clients write it) in SigV4's form; empty when it is neither."""
    if _TIMESTAMP.fullmatch(value):
        return value
    from email.utils import parsedate_to_datetime  # here, because no client that gateways see needs it

    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return ""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def incomplete(message: str) -> Denied:
    """The signature cannot even be read."""
    return Denied(message, code=INCOMPLETE_SIGNATURE)


def missing_token() -> Denied:
    """Not signed at all. AWS's words, and where to get a key."""
    return Denied(
        "Missing Authentication Token. Requests to trimtab are signed: `trimtab env` prints the keys to export.",
        code=MISSING_TOKEN,
    )
