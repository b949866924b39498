"""GetObject, HeadObject, GetObjectAttributes."""

from __future__ import annotations

from trimtab.aws.registry import Answer, Call
from trimtab.aws.s3.calls import Params, not_implemented, s3
from trimtab.aws.s3.conditions import Span, check_read, span_of
from trimtab.aws.s3.members import (
    answered_attributes,
    check_header_values,
    checksum_members,
    moment,
    part_member,
    quoted,
    storage_class,
    version_member,
)
from trimtab.objects.model import ObjectInfo
from trimtab.objects.store import ObjectReader, ObjectStore

_OVERRIDES = {
    "ResponseCacheControl": "CacheControl",
    "ResponseContentDisposition": "ContentDisposition",
    "ResponseContentEncoding": "ContentEncoding",
    "ResponseContentLanguage": "ContentLanguage",
    "ResponseContentType": "ContentType",
    "ResponseExpires": "Expires",
}
_CUSTOMER_KEYS = "SSECustomerAlgorithm"


class Reading:
    """Objects and what is known about them."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @s3("GetObject", missing="customer-provided encryption keys; checksums of ranges")
    async def get_object(self, call: Call, params: Params) -> Params | Answer:
        reader = await self._open(params)
        try:
            result, span = await self._answer(params, reader)
        except BaseException:
            reader.close()
            raise
        body = reader.stream(span.start, span.stop)
        return Answer(result=result | {"Body": body}, status=206 if span.partial else 200)

    @s3("HeadObject", missing="customer-provided encryption keys")
    async def head_object(self, call: Call, params: Params) -> Params | Answer:
        reader = await self._open(params)
        try:
            result, span = await self._answer(params, reader)
        finally:
            reader.close()
        return Answer(result=result, status=206 if span.partial else 200)

    @s3("GetObjectAttributes")
    async def get_object_attributes(self, call: Call, params: Params) -> Params | Answer:
        reader = await self._open(params)
        reader.close()
        info = reader.info
        available: Params = {
            "ETag": info.etag,
            "Checksum": checksum_members(info.checksums, info.checksum_type),
            "ObjectParts": _parts(reader, params) if info.parts_count else None,
            "StorageClass": storage_class(info),
            "ObjectSize": info.size_bytes,
        }
        wanted = {name: available[name] for name in params["ObjectAttributes"] if available.get(name) not in (None, {})}
        return wanted | {"LastModified": moment(info.modified_s)} | await version_member(self._store, info)

    async def _open(self, params: Params) -> ObjectReader:
        not_implemented(params, _CUSTOMER_KEYS)
        return await self._store.open(params["Bucket"], params["Key"], params.get("VersionId", ""))

    async def _answer(self, params: Params, reader: ObjectReader) -> tuple[Params, Span]:
        info = reader.info
        check_read(params, info)
        span = span_of(params, info, reader.layout)
        result: Params = {
            "ETag": quoted(info.etag),
            "LastModified": moment(info.modified_s),
            "ContentLength": span.stop - span.start,
            "AcceptRanges": "bytes",
            **answered_attributes(info),
            **await version_member(self._store, info),
        }
        if span.partial:
            result["ContentRange"] = span.content_range
        elif params.get("ChecksumMode") == "ENABLED":  # of the whole: a client would check a range against it
            result |= checksum_members(info.checksums, info.checksum_type)
        if params.get("PartNumber") is not None and info.parts_count:
            result["PartsCount"] = info.parts_count
        return result | _overridden(params), span


def _overridden(params: Params) -> Params:
    asked = {name: params[name] for name in _OVERRIDES if params.get(name)}
    check_header_values({name: value for name, value in asked.items() if isinstance(value, str)})
    return {_OVERRIDES[name]: value for name, value in asked.items()}


def _parts(reader: ObjectReader, params: Params) -> Params:
    info: ObjectInfo = reader.info
    after, limit = params.get("PartNumberMarker", 0), params.get("MaxParts", 1000)
    found = [part for part in reader.layout.parts if part.number > after]
    page = found[:limit]
    return {
        "TotalPartsCount": info.parts_count,
        "PartNumberMarker": after,
        "NextPartNumberMarker": page[-1].number if page else after,
        "MaxParts": limit,
        "IsTruncated": len(found) > limit,
        "Parts": [
            {name: value for name, value in part_member(part).items() if name not in ("ETag", "LastModified")}
            for part in page
        ],
    }
