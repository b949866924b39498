"""CopyObject, and the copy sources of UploadPartCopy."""

from __future__ import annotations

from urllib.parse import unquote

import msgspec

from trimtab.aws.registry import Answer, AwsError, Call
from trimtab.aws.s3.calls import Params, check_owner, invalid, not_implemented, s3
from trimtab.aws.s3.conditions import check_copy_source
from trimtab.aws.s3.members import (
    attributes_of,
    check_supported,
    checksum_members,
    content_of,
    encryption,
    placement_of,
    quoted,
    tags_of,
    version_member,
    write_condition,
)
from trimtab.aws.s3.writing import NOT_ENCRYPTED
from trimtab.objects.model import Attributes, Hidden, ObjectInfo
from trimtab.objects.names import check_bucket_name
from trimtab.objects.store import MAX_PUT_BYTES, ObjectReader, ObjectStore


class Copying:
    """Copies share the bytes of what they are copies of."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @s3("CopyObject", missing=f"{NOT_ENCRYPTED}; no access points as sources")
    async def copy_object(self, call: Call, params: Params) -> Params | Answer:
        check_supported(params)
        source = await open_source(self._store, call, params)
        found = source.info
        try:
            check_copy_source(params, found)
            _check_difference(params, found)
            if found.size_bytes > MAX_PUT_BYTES:
                message = f"The specified copy source is larger than the maximum allowable size: {MAX_PUT_BYTES}"
                raise AwsError("InvalidRequest", message, 400)
            attributes = _attributes(params, found)
            condition = write_condition(params)
            algorithm = params.get("ChecksumAlgorithm")
        except BaseException:
            source.close()
            raise
        info = await self._store.copy(
            source,
            params["Bucket"],
            params["Key"],
            attributes=attributes,
            algorithms=[algorithm] if algorithm else [],
            condition=condition,
        )
        return {
            "CopyObjectResult": {
                "ETag": quoted(info.etag),
                "LastModified": info.modified_s,
                **checksum_members(info.checksums, info.checksum_type),
            },
            **encryption(info.attributes),
            **await version_member(self._store, info),
            **await version_member(self._store, found, "CopySourceVersionId"),
        }


async def open_source(store: ObjectStore, call: Call, params: Params) -> ObjectReader:
    """What `x-amz-copy-source` names, opened. Raises NoSuchKey, InvalidRequest for a delete marker."""
    check_owner(call, params.get("ExpectedSourceBucketOwner"))
    bucket, key, version_id = parse_source(params["CopySource"])
    try:
        return await store.open(bucket, key, version_id)
    except Hidden as hidden:
        if hidden.asked:
            message = "The source of a copy request may not specifically refer to a delete marker by version id."
            raise AwsError("InvalidRequest", message, 400) from None
        raise


def parse_source(header: str) -> tuple[str, str, str]:
    """`[/]bucket/key[?versionId=ID]`, percent-encoded, as (bucket, key, version id)."""
    if header.startswith("arn:"):
        not_implemented({"an access point as CopySource": True}, "an access point as CopySource")
    path, _, version_id = header.partition("?versionId=")
    bucket, _, key = unquote(path).removeprefix("/").partition("/")
    if not bucket or not key:
        raise invalid("Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
    check_bucket_name(bucket)
    return bucket, key, unquote(version_id)


def _check_difference(params: Params, source: ObjectInfo) -> None:
    same = (params["Bucket"], params["Key"]) == (source.bucket, source.key) and source.is_latest
    changes = params.get("MetadataDirective") == "REPLACE" or params.get("TaggingDirective") == "REPLACE"
    if same and not changes and not placement_of(params) and not params.get("WebsiteRedirectLocation"):
        raise AwsError(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without changing the "
            "object's metadata, storage class, website redirect location or encryption attributes.",
            400,
        )


def _attributes(params: Params, source: ObjectInfo) -> Attributes:
    said = attributes_of({name: value for name, value in params.items() if name != "Tagging"})
    if params.get("MetadataDirective") != "REPLACE":
        headers = content_of(source.attributes) | placement_of(params)
        if params.get("WebsiteRedirectLocation"):
            headers["x-amz-website-redirect-location"] = params["WebsiteRedirectLocation"]
        said = Attributes(headers=headers, metadata=source.attributes.metadata)
    replace_tags = params.get("TaggingDirective") == "REPLACE"
    tags = tags_of(params.get("Tagging") or "") if replace_tags else source.attributes.tags
    return msgspec.structs.replace(said, tags=tags)
