"""SigV2 presigned URLs of S3: what boto3 still makes in us-east-1 and other early regions.

Source: S3 API Reference, "Signing and authenticating REST requests" (query string authentication).
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

from trimtab.aws.denials import EXPIRED, INVALID_SIGNATURE
from trimtab.aws.sigv4.canonical import wire_bytes
from trimtab.aws.sigv4.claim import incomplete, parameters
from trimtab.aws.sigv4.verifier import MISMATCH, Keys, invalid_token, unknown_key
from trimtab.errors import Denied
from trimtab.resources.routing import AccessKey

# Query parameters that are part of the resource; every other one may be changed without breaking the signature.
# fmt: off
_OF_RESOURCE: Final = frozenset({
    "accelerate", "acl", "analytics", "cors", "defaultObjectAcl", "delete", "inventory", "lifecycle", "location",
    "logging", "metrics", "notification", "object-lock", "partNumber", "policy", "replication", "requestPayment",
    "response-cache-control", "response-content-disposition", "response-content-encoding", "response-content-language",
    "response-content-type", "response-expires", "restore", "select", "select-type", "storageClass", "tagging",
    "torrent", "uploadId", "uploads", "versionId", "versioning", "versions", "website",
})
# fmt: on


def is_v2_query(query: str) -> bool:
    """Whether the query carries a SigV2 signature."""
    return "AWSAccessKeyId=" in query and "Signature=" in query


def verify_v2_query(
    keys: Keys, method: str, raw_path: str, query: str, fields: Mapping[str, str], now_s: float
) -> AccessKey:
    """Whose presigned URL this is. `fields` are merged headers. Raises Denied with a code of `denials`."""
    values = parameters(query)
    missing = [name for name in ("AWSAccessKeyId", "Signature", "Expires") if not values.get(name)]
    if missing:
        raise incomplete(f"A presigned URL needs the query parameters {', '.join(missing)}.")
    expires = values["Expires"]
    if not (expires.isascii() and expires.isdigit()) or len(expires) > 12:
        raise incomplete(f"Invalid date (should be seconds since epoch): {expires}")
    key = keys().get(values["AWSAccessKeyId"])
    if key is None:
        raise unknown_key("s3")
    if values.get("x-amz-security-token") or fields.get("x-amz-security-token"):
        raise invalid_token("s3")
    if now_s > int(expires):
        raise Denied("Request has expired", code=EXPIRED)
    text = _string_to_sign(method, raw_path, query, {**_in_query(values), **fields}, expires)
    expected = base64.b64encode(hmac.digest(key.secret.encode(), text, "sha1")).decode()
    if not hmac.compare_digest(expected.encode(), values["Signature"].encode()):
        raise Denied(MISMATCH, code=INVALID_SIGNATURE)
    return key


def _in_query(values: Mapping[str, str]) -> dict[str, str]:
    """Headers that the signer put into the URL: they count as if the client had sent them."""
    return {
        name.lower(): value
        for name, value in values.items()
        if name.lower().startswith("x-amz-") or name.lower() in ("content-md5", "content-type")
    }


def _string_to_sign(method: str, raw_path: str, query: str, fields: Mapping[str, str], expires: str) -> bytes:
    custom = "".join(f"{name}:{fields[name].strip()}\n" for name in sorted(fields) if name.startswith("x-amz-"))
    standard = f"{fields.get('content-md5', '')}\n{fields.get('content-type', '')}\n{expires}\n"
    return wire_bytes(f"{method}\n{standard}{custom}{_resource(raw_path, query)}")


def _resource(raw_path: str, query: str) -> str:
    pairs = [pair.partition("=") for pair in query.split("&")]
    named = sorted((pair for pair in pairs if pair[0] in _OF_RESOURCE), key=lambda pair: pair[0])
    text = "&".join(f"{name}{equals}{unquote(value)}" for name, equals, value in named)
    return f"{raw_path}?{text}" if text else raw_path
