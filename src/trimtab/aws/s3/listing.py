"""ListObjects, ListObjectsV2, ListObjectVersions."""

from __future__ import annotations

import base64
from urllib.parse import quote

from trimtab.aws.registry import Answer, Call
from trimtab.aws.s3.calls import Params, invalid, owner, s3
from trimtab.aws.s3.members import quoted, storage_class
from trimtab.objects.model import ObjectInfo
from trimtab.objects.store import ObjectStore

MAX_KEYS = 1000


class Listing:
    """What is in a bucket."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @s3("ListObjects")
    async def list_objects(self, call: Call, params: Params) -> Params | Answer:
        asked = Asked(params, "MaxKeys")
        page = await self._store.list_objects(
            params["Bucket"],
            prefix=asked.prefix,
            delimiter=asked.delimiter,
            after=params.get("Marker", ""),
            limit=asked.limit,
        )
        result = asked.result() | {
            "Name": params["Bucket"],
            "Marker": asked.encode(params.get("Marker", "")),
            "IsTruncated": page.is_truncated,
            "Contents": [_content(o, asked) | {"Owner": owner(call)} for o in page.objects],
            "CommonPrefixes": asked.common(page.prefixes),
        }
        if page.is_truncated and asked.delimiter:  # without one, the last key serves
            result["NextMarker"] = asked.encode(page.next_after)
        return result

    @s3("ListObjectsV2")
    async def list_objects_v2(self, call: Call, params: Params) -> Params | Answer:
        asked = Asked(params, "MaxKeys")
        token = params.get("ContinuationToken")
        after = _untoken(token) if token is not None else params.get("StartAfter", "")
        page = await self._store.list_objects(
            params["Bucket"], prefix=asked.prefix, delimiter=asked.delimiter, after=after, limit=asked.limit
        )
        whose: Params = {"Owner": owner(call)} if params.get("FetchOwner") else {}
        result = asked.result() | {
            "Name": params["Bucket"],
            "IsTruncated": page.is_truncated,
            "KeyCount": len(page.objects) + len(page.prefixes),
            "Contents": [_content(o, asked) | whose for o in page.objects],
            "CommonPrefixes": asked.common(page.prefixes),
            "ContinuationToken": token,
            "StartAfter": asked.encode(params["StartAfter"]) if params.get("StartAfter") else None,
        }
        if page.is_truncated:
            result["NextContinuationToken"] = _token(page.next_after)
        return result

    @s3("ListObjectVersions")
    async def list_object_versions(self, call: Call, params: Params) -> Params | Answer:
        asked = Asked(params, "MaxKeys")
        marker, version = params.get("KeyMarker", ""), params.get("VersionIdMarker", "")
        if version and not marker:
            raise invalid("A version-id marker cannot be specified without a key marker.")
        page = await self._store.list_versions(
            params["Bucket"],
            prefix=asked.prefix,
            delimiter=asked.delimiter,
            after=marker,
            after_version=version,
            limit=asked.limit,
        )
        result = asked.result() | {
            "Name": params["Bucket"],
            "IsTruncated": page.is_truncated,
            "KeyMarker": asked.encode(marker),
            "VersionIdMarker": version,
            "Versions": [_version(o, asked, call) for o in page.objects if not o.is_delete_marker],
            "DeleteMarkers": [_marker(o, asked, call) for o in page.objects if o.is_delete_marker],
            "CommonPrefixes": asked.common(page.prefixes),
        }
        if page.is_truncated:
            result["NextKeyMarker"] = asked.encode(page.next_after)
            result["NextVersionIdMarker"] = page.next_version_id or None
        return result


class Asked:
    """What all listings can be asked, and repeat in their answers."""

    def __init__(self, params: Params, limit_member: str) -> None:
        self.prefix: str = params.get("Prefix", "")
        self.delimiter: str = params.get("Delimiter", "")
        self.encoding: str = params.get("EncodingType", "")
        self._limit_member = limit_member
        self.limit: int = min(params.get(limit_member, MAX_KEYS), MAX_KEYS)
        if self.limit < 0:
            raise invalid("Argument maxKeys must be an integer between 0 and 2147483647", ArgumentName="max-keys")

    def encode(self, text: str) -> str:
        """`text` as the caller wants names: encoding-type=url keeps every key sayable in XML."""
        return quote(text, safe="/") if self.encoding == "url" else text

    def common(self, prefixes: object) -> list[Params]:
        """Common prefixes as members."""
        assert isinstance(prefixes, (list, tuple))
        return [{"Prefix": self.encode(prefix)} for prefix in prefixes]

    def result(self) -> Params:
        """What is repeated."""
        return {
            "Prefix": self.encode(self.prefix),
            "Delimiter": self.encode(self.delimiter) if self.delimiter else None,
            self._limit_member: self.limit,
            "EncodingType": self.encoding or None,
        }


def _content(info: ObjectInfo, asked: Asked) -> Params:
    found: Params = {
        "Key": asked.encode(info.key),
        "LastModified": info.modified_s,
        "ETag": quoted(info.etag),
        "Size": info.size_bytes,
        "StorageClass": storage_class(info),
    }
    if info.checksums:
        found["ChecksumAlgorithm"] = list(info.checksums)
        found["ChecksumType"] = info.checksum_type
    return found


def _version(info: ObjectInfo, asked: Asked, call: Call) -> Params:
    return _content(info, asked) | {
        "VersionId": info.version_id,
        "IsLatest": info.is_latest,
        "Owner": owner(call),
    }


def _marker(info: ObjectInfo, asked: Asked, call: Call) -> Params:
    return {
        "Key": asked.encode(info.key),
        "VersionId": info.version_id,
        "IsLatest": info.is_latest,
        "LastModified": info.modified_s,
        "Owner": owner(call),
    }


def _token(after: str) -> str:
    return base64.urlsafe_b64encode(after.encode()).decode()


def _untoken(token: str) -> str:
    try:
        after = base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except ValueError:
        after = ""
    if not after:
        raise invalid("The continuation token provided is incorrect", ArgumentName="continuation-token")
    return after
