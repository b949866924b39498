"""Names of buckets and keys, and `s3://` URLs. The rules are S3's ("Bucket naming rules", S3 User Guide)."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import unquote, urlsplit

from trimtab.errors import Invalid

MAX_KEY_BYTES = 1024

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_RESERVED_PREFIXES = ("xn--", "sthree-", "amzn-s3-demo-")
_RESERVED_SUFFIXES = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")


class InvalidBucketName(Invalid):
    """Not a name that S3 lets a bucket have."""

    reason = "InvalidBucketName"


class InvalidKey(Invalid):
    """Not a key that S3 lets an object have."""

    reason = "InvalidKey"


class KeyTooLong(InvalidKey):
    """More than 1024 bytes of UTF-8."""

    reason = "KeyTooLong"


def check_bucket_name(name: str) -> None:
    """Raise InvalidBucketName, saying which rule `name` breaks."""
    if not _BUCKET.fullmatch(name):
        raise InvalidBucketName(
            f"The specified bucket is not valid: {name!r} must be 3 to 63 lower-case letters, digits, dots and "
            "hyphens, and begin and end with a letter or digit."
        )
    if ".." in name or name.startswith(_RESERVED_PREFIXES) or name.endswith(_RESERVED_SUFFIXES):
        raise InvalidBucketName(
            f"The specified bucket is not valid: {name!r} holds two dots in a row, or begins or ends as names do "
            "that S3 keeps for itself."
        )
    if _is_address(name):
        raise InvalidBucketName(f"The specified bucket is not valid: {name!r} looks like an IP address.")


def check_key(key: str) -> bytes:
    """The key in UTF-8, which is what listings are sorted by. Raises InvalidKey, KeyTooLong."""
    try:
        encoded = key.encode()
    except UnicodeEncodeError:
        raise InvalidKey("The object key is not valid UTF-8.") from None
    if not encoded:
        raise InvalidKey("The object key is empty; it needs at least one character.")
    if len(encoded) > MAX_KEY_BYTES:
        raise KeyTooLong(f"Your key is too long: it has {len(encoded)} bytes of UTF-8, and S3 allows {MAX_KEY_BYTES}.")
    return encoded


def parse_url(url: str) -> tuple[str, str]:
    """`s3://bucket/key` as (bucket, key); the key may be empty. Raises Invalid for anything else."""
    scheme, separator, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme.lower() != "s3" or not separator or not bucket:
        raise Invalid(f"{url!r} is not an S3 URL; it should read s3://BUCKET/KEY.")
    check_bucket_name(bucket)
    return bucket, key


def bucket_and_key(url: str) -> tuple[str, str]:
    """What an `s3://` URL names, or an `https://` URL in either of S3's forms: host `BUCKET.s3.REGION.amazonaws.com`,
    or bucket first in the path. Raises Invalid for anything else."""
    parts = urlsplit(url)
    if parts.scheme.lower() != "https":
        return parse_url(url)
    host, path = parts.hostname or "", unquote(parts.path.lstrip("/"))
    bucket, separator, _ = host.rpartition(".s3.") if ".s3." in host else host.rpartition(".s3-")
    key = path
    if not separator:
        bucket, _, key = path.partition("/")
    if not bucket:
        raise Invalid(f"{url!r} is not a URL of S3; it should read s3://BUCKET/KEY.")
    check_bucket_name(bucket)
    return bucket, key


def _is_address(name: str) -> bool:
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True
