"""S3's members to and from an object's attributes, checksums and conditions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from trimtab.aws.registry import AwsError, Call
from trimtab.aws.s3.calls import Params, not_implemented
from trimtab.objects.checksums import ALGORITHMS
from trimtab.objects.model import NULL_VERSION, Attributes, Condition, ObjectInfo, Part, Versioning
from trimtab.objects.store import ObjectStore

MAX_METADATA_BYTES = 2048  # S3 User Guide, "Working with object metadata"
DEFAULT_CONTENT_TYPE = "binary/octet-stream"

# Members that are kept with an object and answered again; and the names they are kept under.
_CONTENT = {
    "CacheControl": "cache-control",
    "ContentDisposition": "content-disposition",
    "ContentEncoding": "content-encoding",
    "ContentLanguage": "content-language",
    "ContentType": "content-type",
    "WebsiteRedirectLocation": "x-amz-website-redirect-location",
}
_ENCRYPTION = {
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "SSEKMSEncryptionContext": "x-amz-server-side-encryption-context",
}
_EXPIRES = "expires"
_STORAGE_CLASS = "x-amz-storage-class"
_BUCKET_KEY = "x-amz-server-side-encryption-bucket-key-enabled"
_CONTENT_KEPT = {*_CONTENT.values(), _EXPIRES}

_UNSUPPORTED = (
    "SSECustomerAlgorithm",
    "SSECustomerKey",
    "CopySourceSSECustomerAlgorithm",
    "ObjectLockMode",
    "ObjectLockRetainUntilDate",
    "ObjectLockLegalHoldStatus",
    "ObjectLockEventHold",
    "WriteOffsetBytes",
    "MFA",
    *(f"Checksum{name}" for name in ("SHA512", "MD5", "XXHASH64", "XXHASH3", "XXHASH128")),
)
_GRANTS = ("GrantFullControl", "GrantRead", "GrantReadACP", "GrantWrite", "GrantWriteACP")
_OWNERS_ACLS = {"private", "bucket-owner-full-control", "bucket-owner-read"}  # nobody but the owner gains by them
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # what no header value may hold; a tab may stand
_KEPT_CHUNKING = re.compile(r"(^|,)\s*aws-chunked\s*(?=,|$)")


def check_supported(params: Params) -> None:
    """Refuse what trimtab does not do. ACLs: as by a bucket of AWS where they are disabled, which is its default."""
    not_implemented(params, *_UNSUPPORTED)
    if params.get("ACL", "private") not in _OWNERS_ACLS or any(params.get(name) for name in _GRANTS):
        raise AwsError("AccessControlListNotSupported", "The bucket does not allow ACLs", 400)


def attributes_of(params: Params) -> Attributes:
    """What a write says about its object."""
    metadata = dict(params.get("Metadata") or {})
    if sum(len(name.encode()) + len(value.encode()) for name, value in metadata.items()) > MAX_METADATA_BYTES:
        raise AwsError(
            "MetadataTooLarge",
            "Your metadata headers exceed the maximum allowed metadata size",
            400,
            extra={"MaxSizeAllowed": MAX_METADATA_BYTES},
        )
    headers = {kept: params[member] for member, kept in _CONTENT.items() if params.get(member)}
    check_header_values(metadata | headers)
    if encoding := _KEPT_CHUNKING.sub("", headers.pop("content-encoding", "")).strip(" ,"):
        headers["content-encoding"] = encoding  # aws-chunked was the transport's, and is undone
    if "Expires" in params:
        headers[_EXPIRES] = str(params["Expires"].timestamp())
    return Attributes(
        headers=headers | placement_of(params), metadata=metadata, tags=tags_of(params.get("Tagging") or "")
    )


def check_header_values(values: Mapping[str, str]) -> None:
    """Refuse text that an answer's header could not hold, before it is kept or echoed."""
    for name, value in values.items():
        if _CONTROL.search(value):
            message = "Header values must not hold control characters."
            raise AwsError("InvalidArgument", message, 400, extra={"ArgumentName": name})


def placement_of(params: Params) -> dict[str, str]:
    """Storage class and encryption: recorded and answered. trimtab keeps all objects alike."""
    headers = {kept: params[member] for member, kept in _ENCRYPTION.items() if params.get(member)}
    if params.get("BucketKeyEnabled"):
        headers[_BUCKET_KEY] = "true"
    if params.get("StorageClass", "STANDARD") != "STANDARD":
        headers[_STORAGE_CLASS] = params["StorageClass"]
    return headers


def content_of(attributes: Attributes) -> dict[str, str]:
    """The headers that a copy takes over: all but storage class and encryption."""
    return {name: value for name, value in attributes.headers.items() if name in _CONTENT_KEPT}


def tags_of(header: str) -> dict[str, str]:
    """`x-amz-tagging`: tags as a query string."""
    pairs = parse_qsl(header, keep_blank_values=True)
    return checked_tags(pairs, limit=10)


def checked_tags(pairs: Iterable[tuple[str, str]], *, limit: int) -> dict[str, str]:
    """Tags by key. Raises InvalidTag, BadRequest beyond `limit`."""
    tags: dict[str, str] = {}
    for key, value in pairs:
        if key in tags:
            raise AwsError("InvalidTag", "Cannot provide multiple Tags with the same key", 400, {"TagKey": key})
        if not 1 <= len(key) <= 128:
            raise AwsError("InvalidTag", "The TagKey you have provided is invalid", 400, {"TagKey": key})
        if len(value) > 256:
            raise AwsError("InvalidTag", "The TagValue you have provided is invalid", 400, {"TagKey": key})
        tags[key] = value
    if len(tags) > limit:
        raise AwsError("BadRequest", f"Object tags cannot be greater than {limit}", 400)
    return tags


def answered_attributes(info: ObjectInfo) -> Params:
    """An object's attributes as members of GetObject and HeadObject."""
    headers = info.attributes.headers
    found: Params = {member: headers[kept] for member, kept in _CONTENT.items() if kept in headers}
    found.setdefault("ContentType", DEFAULT_CONTENT_TYPE)
    if _EXPIRES in headers:
        found["Expires"] = datetime.fromtimestamp(float(headers[_EXPIRES]), UTC)
    if _STORAGE_CLASS in headers:
        found["StorageClass"] = headers[_STORAGE_CLASS]
    if info.attributes.tags:
        found["TagCount"] = len(info.attributes.tags)
    return found | encryption(info.attributes) | {"Metadata": info.attributes.metadata}


def encryption(attributes: Attributes) -> Params:
    """The members that say how an object is said to be encrypted; the context is not repeated."""
    found: Params = {}
    for member in ("ServerSideEncryption", "SSEKMSKeyId"):
        if value := attributes.headers.get(_ENCRYPTION[member]):
            found[member] = value
    if _BUCKET_KEY in attributes.headers:
        found["BucketKeyEnabled"] = True
    return found


def storage_class(info: ObjectInfo) -> str:
    """As listings say it."""
    return info.attributes.headers.get(_STORAGE_CLASS, "STANDARD")


def quoted(etag: str) -> str:
    """As S3 answers an ETag."""
    return f'"{etag}"'


def unquoted(etag: str) -> str:
    """As clients send one: with or without quotes."""
    return etag.strip().removeprefix("W/").strip('"')


def wanted_checksums(call: Call, params: Params) -> tuple[list[str], dict[str, str]]:
    """(algorithms to keep, values to check) of a body: from its headers, and what its trailer will say."""
    expected = {name: params[f"Checksum{name}"] for name in ALGORITHMS if params.get(f"Checksum{name}")}
    names = [*expected, params.get("ChecksumAlgorithm") or ""]
    for field in call.request.headers.get("x-amz-trailer").split(","):
        names.append(field.strip().lower().removeprefix("x-amz-checksum-").upper())
    algorithms = [name for name in ALGORITHMS if name in names]
    if params.get("ContentMD5"):
        expected["MD5"] = params["ContentMD5"]
    return algorithms, expected


def checksum_members(checksums: Mapping[str, str], checksum_type: str = "") -> Params:
    """Checksums as members."""
    found: Params = {f"Checksum{name}": value for name, value in checksums.items()}
    if found and checksum_type:
        found["ChecksumType"] = checksum_type
    return found


def part_member(part: Part) -> Params:
    """A part of an upload, as ListParts says it."""
    return {
        "PartNumber": part.number,
        "ETag": quoted(part.etag),
        "Size": part.size_bytes,
        "LastModified": part.modified_s,
        **checksum_members(part.checksums),
    }


def write_condition(params: Params) -> Condition:
    """If-Match and If-None-Match of a write."""
    none_match = params.get("IfNoneMatch")
    if none_match is not None and none_match != "*":
        not_implemented({"IfNoneMatch other than *": True}, "IfNoneMatch other than *")
    return Condition(etag=unquoted(params.get("IfMatch") or ""), absent=none_match == "*")


async def version_member(store: ObjectStore, info: ObjectInfo, member: str = "VersionId") -> Params:
    """The version id, where the bucket keeps or has kept versions."""
    if info.version_id == NULL_VERSION:
        bucket = await store.get_bucket(info.bucket)
        if bucket.versioning is Versioning.NEVER:
            return {}
    return {member: info.version_id}


def moment(seconds: float) -> datetime:
    """Wall time as S3's headers say it: in whole seconds."""
    return datetime.fromtimestamp(int(seconds), UTC)


def put_result(info: ObjectInfo) -> dict[str, Any]:
    """What a write answers."""
    return {
        "ETag": quoted(info.etag),
        **checksum_members(info.checksums, info.checksum_type),
        **encryption(info.attributes),
    }
