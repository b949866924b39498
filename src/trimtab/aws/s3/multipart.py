"""Multipart uploads."""

from __future__ import annotations

import itertools
import re
from urllib.parse import quote

from trimtab.aws.registry import Answer, AwsError, Call
from trimtab.aws.s3.calls import Params, invalid, owner, s3
from trimtab.aws.s3.conditions import check_copy_source
from trimtab.aws.s3.copying import open_source
from trimtab.aws.s3.listing import MAX_KEYS, Asked
from trimtab.aws.s3.members import (
    attributes_of,
    check_supported,
    checksum_members,
    encryption,
    part_member,
    put_result,
    quoted,
    storage_class,
    unquoted,
    version_member,
    wanted_checksums,
    write_condition,
)
from trimtab.aws.s3.writing import NOT_ENCRYPTED
from trimtab.objects.checksums import ALGORITHMS, COMBINABLE
from trimtab.objects.model import ObjectInfo, Upload
from trimtab.objects.store import ObjectStore
from trimtab.objects.uploads import AskedPart, Completion

MAX_PARTS = 10_000
_COPY_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


class Multipart:
    """Uploads in parts."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @s3("CreateMultipartUpload", missing=NOT_ENCRYPTED)
    async def create_multipart_upload(self, call: Call, params: Params) -> Params | Answer:
        check_supported(params)
        algorithm, checksum_type = _checksum_choice(params)
        upload = await self._store.create_upload(
            params["Bucket"],
            params["Key"],
            attributes=attributes_of(params),
            algorithm=algorithm,
            checksum_type=checksum_type,
        )
        return {
            "Bucket": upload.bucket,
            "Key": upload.key,
            "UploadId": upload.id,
            **({"ChecksumAlgorithm": algorithm, "ChecksumType": checksum_type} if algorithm else {}),
            **encryption(upload.attributes),
        }

    @s3("UploadPart", missing="customer-provided encryption keys")
    async def upload_part(self, call: Call, params: Params) -> Params | Answer:
        check_supported(params)
        upload = await self._upload(params)
        algorithms, expected = wanted_checksums(call, params)
        if upload.algorithm and algorithms and upload.algorithm not in algorithms:
            raise AwsError(
                "InvalidRequest",
                f"Checksum Type mismatch occurred, expected checksum Type: {upload.algorithm.lower()}, actual checksum "
                f"Type: {algorithms[0].lower()}",
                400,
            )
        body = params.get("Body")
        part = await self._store.put_part(
            upload,
            params["PartNumber"],
            body.stream() if body is not None else b"",
            algorithms=algorithms,
            expected=expected,
        )
        return {"ETag": quoted(part.etag), **checksum_members(part.checksums), **encryption(upload.attributes)}

    @s3("UploadPartCopy", missing="customer-provided encryption keys; no access points as sources")
    async def upload_part_copy(self, call: Call, params: Params) -> Params | Answer:
        check_supported(params)
        upload = await self._upload(params)
        source = await open_source(self._store, call, params)
        found = source.info
        try:
            check_copy_source(params, found)
            start, stop = _copy_span(params.get("CopySourceRange"), found.size_bytes)
        except BaseException:
            source.close()
            raise
        part = await self._store.copy_part(upload, params["PartNumber"], source, start, stop)
        member = part_member(part)
        return {
            "CopyPartResult": {name: member[name] for name in member if name not in ("PartNumber", "Size")},
            **encryption(upload.attributes),
            **await version_member(self._store, found, "CopySourceVersionId"),
        }

    @s3("CompleteMultipartUpload", missing="customer-provided encryption keys")
    async def complete_multipart_upload(self, call: Call, params: Params) -> Params | Answer:
        asked = (params.get("MultipartUpload") or {}).get("Parts") or []
        if not 1 <= len(asked) <= MAX_PARTS:
            raise AwsError("MalformedXML", "The XML you provided names no parts, or more than 10000.", 400)
        if not all("PartNumber" in part for part in asked):
            raise AwsError("MalformedXML", "The XML you provided has a Part without a PartNumber.", 400)
        numbers = [part["PartNumber"] for part in asked]
        if any(after <= before for before, after in itertools.pairwise(numbers)):
            message = "The list of parts was not in ascending order. Parts must be ordered by part number."
            raise AwsError("InvalidPartOrder", message, 400)
        completion = Completion(
            parts=tuple(
                AskedPart(number=part["PartNumber"], etag=unquoted(part.get("ETag", "")), checksums=_checksums(part))
                for part in asked
            ),
            checksums=_checksums(params),
            size_bytes=params.get("MpuObjectSize"),
            condition=write_condition(params),
        )
        info = await self._store.complete_upload(params["Bucket"], params["Key"], params["UploadId"], completion)
        host = call.request.headers.get("host", "localhost")
        return {
            "Location": f"http://{host}/{info.bucket}/{quote(info.key)}",
            "Bucket": info.bucket,
            "Key": info.key,
            **put_result(info),
            **await version_member(self._store, info),
        }

    @s3("AbortMultipartUpload")
    async def abort_multipart_upload(self, call: Call, params: Params) -> Params | Answer:
        await self._store.abort_upload(params["Bucket"], params["Key"], params["UploadId"])
        return {}

    @s3("ListParts")
    async def list_parts(self, call: Call, params: Params) -> Params | Answer:
        after = params.get("PartNumberMarker", 0)
        limit = min(params.get("MaxParts", MAX_KEYS), MAX_KEYS)
        upload, parts, more = await self._store.list_parts(
            params["Bucket"], params["Key"], params["UploadId"], after=after, limit=limit
        )
        result = {
            "Bucket": upload.bucket,
            "Key": upload.key,
            "UploadId": upload.id,
            "PartNumberMarker": after,
            "NextPartNumberMarker": parts[-1].number if parts else 0,
            "MaxParts": limit,
            "IsTruncated": more,
            "Parts": [part_member(part) for part in parts],
            "StorageClass": storage_class(ObjectInfo(bucket="", key="", attributes=upload.attributes)),
            "Initiator": owner(call),
            "Owner": owner(call),
        }
        if upload.algorithm:
            result |= {"ChecksumAlgorithm": upload.algorithm, "ChecksumType": upload.checksum_type}
        return result

    @s3("ListMultipartUploads")
    async def list_multipart_uploads(self, call: Call, params: Params) -> Params | Answer:
        asked = Asked(params, "MaxUploads")
        key, upload_id = params.get("KeyMarker", ""), params.get("UploadIdMarker", "")
        page = await self._store.list_uploads(
            params["Bucket"],
            prefix=asked.prefix,
            delimiter=asked.delimiter,
            after=key,
            after_upload=upload_id if key else "",  # S3 ignores it without a key
            limit=asked.limit,
        )
        result = asked.result() | {
            "Bucket": params["Bucket"],
            "KeyMarker": asked.encode(key),
            "UploadIdMarker": upload_id,
            "IsTruncated": page.is_truncated,
            "Uploads": [_member(upload, asked, call) for upload in page.uploads],
            "CommonPrefixes": asked.common(page.prefixes),
        }
        if page.is_truncated:
            result |= {"NextKeyMarker": asked.encode(page.next_key), "NextUploadIdMarker": page.next_upload_id or None}
        return result

    async def _upload(self, params: Params) -> Upload:
        number = params["PartNumber"]
        if not 1 <= number <= MAX_PARTS:
            raise invalid(
                f"Part number must be an integer between 1 and {MAX_PARTS}, inclusive", ArgumentName="partNumber"
            )
        return await self._store.get_upload(params["Bucket"], params["Key"], params["UploadId"])


def _checksum_choice(params: Params) -> tuple[str, str]:
    algorithm = params.get("ChecksumAlgorithm", "")
    wanted = params.get("ChecksumType", "")
    if not algorithm:
        if wanted:
            raise AwsError("InvalidRequest", "The x-amz-checksum-type header needs x-amz-checksum-algorithm.", 400)
        return "", ""
    if algorithm not in ALGORITHMS:
        raise AwsError("NotImplemented", f"trimtab does not compute {algorithm}; it computes {ALGORITHMS}.", 501)
    chosen = wanted or ("FULL_OBJECT" if algorithm == "CRC64NVME" else "COMPOSITE")
    if (chosen == "FULL_OBJECT" and algorithm not in COMBINABLE) or (
        chosen == "COMPOSITE" and algorithm == "CRC64NVME"
    ):
        message = f"The {chosen} checksum type cannot be used with the {algorithm.lower()} checksum algorithm."
        raise AwsError("InvalidRequest", message, 400)
    return algorithm, chosen


def _checksums(members: Params) -> dict[str, str]:
    return {name: members[f"Checksum{name}"] for name in ALGORITHMS if members.get(f"Checksum{name}")}


def _copy_span(header: str | None, size: int) -> tuple[int, int]:
    if header is None:
        return 0, size
    match = _COPY_RANGE.fullmatch(header)
    if match is None:
        raise invalid("The x-amz-copy-source-range value must be of the form bytes=first-last", ArgumentValue=header)
    first, last = int(match[1]), int(match[2])
    if last < first or last >= size:
        message = f"Range specified is not valid for source object of size: {size}"
        raise AwsError("InvalidArgument", message, 400, {"ArgumentName": "x-amz-copy-source-range"})
    return first, last + 1


def _member(upload: Upload, asked: Asked, call: Call) -> Params:
    found: Params = {
        "Key": asked.encode(upload.key),
        "UploadId": upload.id,
        "Initiated": upload.created_s,
        "StorageClass": "STANDARD",
        "Initiator": owner(call),
        "Owner": owner(call),
    }
    if upload.algorithm:
        found |= {"ChecksumAlgorithm": upload.algorithm, "ChecksumType": upload.checksum_type}
    return found
