from __future__ import annotations

import base64
import hashlib
import random
import zlib
from pathlib import Path

import pytest
from boto3.s3.transfer import TransferConfig

MIB = 2**20


def parts_of(answers):
    return {"Parts": [{"PartNumber": n, "ETag": a["ETag"]} for n, a in answers.items()]}


def test_files_go_up_in_parts_and_come_down_whole(s3, bucket, tmp_path: Path):
    data = random.Random(1).randbytes(17 * MIB + 3)
    (tmp_path / "up").write_bytes(data)
    s3.upload_file(str(tmp_path / "up"), bucket, "big", ExtraArgs={"Metadata": {"m": "1"}, "ContentType": "x/y"})
    head = s3.head_object(Bucket=bucket, Key="big")
    chunks = [data[at : at + 8 * MIB] for at in range(0, len(data), 8 * MIB)]
    joined = b"".join(hashlib.md5(c, usedforsecurity=False).digest() for c in chunks)
    assert head["ETag"] == f'"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-3"'
    assert (head["Metadata"], head["ContentType"]) == ({"m": "1"}, "x/y")
    s3.download_file(bucket, "big", str(tmp_path / "down"))
    assert (tmp_path / "down").read_bytes() == data
    single = TransferConfig(use_threads=False, multipart_threshold=64 * MIB)
    s3.download_file(bucket, "big", str(tmp_path / "again"), Config=single)
    assert (tmp_path / "again").read_bytes() == data
    for number, chunk in enumerate(chunks, 1):
        found = s3.get_object(Bucket=bucket, Key="big", PartNumber=number)
        assert (found["Body"].read() == chunk, found["PartsCount"]) == (True, 3)
    found = s3.get_object_attributes(Bucket=bucket, Key="big", ObjectAttributes=["ObjectParts"], MaxParts=2)
    assert (found["ObjectParts"]["TotalPartsCount"], len(found["ObjectParts"]["Parts"])) == (3, 2)


def test_a_managed_copy_of_a_large_object(s3, bucket):
    data = random.Random(2).randbytes(12 * MIB)
    s3.put_object(Bucket=bucket, Key="a", Body=data)
    s3.copy({"Bucket": bucket, "Key": "a"}, bucket, "b", Config=TransferConfig(multipart_threshold=8 * MIB))
    assert s3.head_object(Bucket=bucket, Key="b")["ETag"].endswith('-2"')
    assert s3.get_object(Bucket=bucket, Key="b")["Body"].read() == data
    once = s3.copy_object(Bucket=bucket, Key="c", CopySource=f"{bucket}/b")["CopyObjectResult"]
    assert once["ETag"] == f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


@pytest.mark.parametrize("kind", ["COMPOSITE", "FULL_OBJECT"])
def test_checksums_of_parts_make_that_of_the_object(s3, bucket, kind):
    chunks = [random.Random(n).randbytes(5 * MIB) for n in (1, 2)]
    begun = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm="CRC32", ChecksumType=kind)
    assert begun["ChecksumType"] == kind
    upload = {"Bucket": bucket, "Key": "k", "UploadId": begun["UploadId"]}
    parts = []
    for number, chunk in enumerate(chunks, 1):
        answer = s3.upload_part(**upload, PartNumber=number, Body=chunk, ChecksumAlgorithm="CRC32")
        parts.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC32": answer["ChecksumCRC32"]})
    done = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    crcs = [zlib.crc32(c).to_bytes(4, "big") for c in chunks]
    composite = base64.b64encode(zlib.crc32(b"".join(crcs)).to_bytes(4, "big")).decode() + "-2"
    whole = base64.b64encode(zlib.crc32(b"".join(chunks)).to_bytes(4, "big")).decode()
    assert done["ChecksumCRC32"] == (composite if kind == "COMPOSITE" else whole)
    found = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert (found["ChecksumType"], found["Body"].read()) == (kind, b"".join(chunks))


def test_uploads_and_parts_are_listed_and_aborted(s3, bucket, refused):
    ids = [s3.create_multipart_upload(Bucket=bucket, Key=f"dir/{n}")["UploadId"] for n in range(3)]
    pages = s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, PaginationConfig={"PageSize": 2})
    assert [u["UploadId"] for page in pages for u in page.get("Uploads", [])] == ids
    rolled = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert [p["Prefix"] for p in rolled["CommonPrefixes"]] == ["dir/"]
    upload = {"Bucket": bucket, "Key": "dir/0", "UploadId": ids[0]}
    for number in (1, 2, 3):
        s3.upload_part(**upload, PartNumber=number, Body=b"x" * number)
    pages = s3.get_paginator("list_parts").paginate(**upload, PaginationConfig={"PageSize": 2})
    assert [(p["PartNumber"], p["Size"]) for page in pages for p in page["Parts"]] == [(1, 1), (2, 2), (3, 3)]
    s3.abort_multipart_upload(**upload)
    for call in (s3.abort_multipart_upload, s3.list_parts):
        error = refused(call, **upload)
        assert (error["Code"], error["Status"]) == ("NoSuchUpload", 404)
    assert refused(s3.upload_part, **upload, PartNumber=1, Body=b"")["Code"] == "NoSuchUpload"


def test_a_completion_that_cannot_be_is_refused(s3, bucket, refused):
    upload = {"Bucket": bucket, "Key": "k"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    answers = {n: s3.upload_part(**upload, PartNumber=n, Body=b"small") for n in (1, 2)}
    both = parts_of(answers)
    error = refused(s3.complete_multipart_upload, **upload, MultipartUpload=both)
    assert (error["Code"], error["MinSizeAllowed"]) == ("EntityTooSmall", "5242880")
    backwards = {"Parts": both["Parts"][::-1]}
    assert refused(s3.complete_multipart_upload, **upload, MultipartUpload=backwards)["Code"] == "InvalidPartOrder"
    nameless = {"Parts": [{"ETag": "x"}]}
    assert refused(s3.complete_multipart_upload, **upload, MultipartUpload=nameless)["Code"] == "MalformedXML"
    unknown = {"Parts": [{"PartNumber": 3, "ETag": "x"}]}
    assert refused(s3.complete_multipart_upload, **upload, MultipartUpload=unknown)["Code"] == "InvalidPart"
    assert refused(s3.complete_multipart_upload, **upload, MultipartUpload={"Parts": []})["Code"] == "MalformedXML"
    assert refused(s3.upload_part, **upload, PartNumber=10_001, Body=b"")["Code"] == "InvalidArgument"
    one = parts_of({1: answers[1]})
    s3.put_object(Bucket=bucket, Key="k", Body=b"there")
    error = refused(s3.complete_multipart_upload, **upload, MultipartUpload=one, IfNoneMatch="*")
    assert error["Status"] == 412
    done = s3.complete_multipart_upload(**upload, MultipartUpload=one)
    assert done["Location"].endswith(f"/{bucket}/k")
    again = s3.complete_multipart_upload(**upload, MultipartUpload=one)
    assert again["ETag"] == done["ETag"]


def test_a_part_is_copied_from_a_range(s3, bucket, refused):
    s3.put_object(Bucket=bucket, Key="a", Body=b"0123456789")
    upload = {"Bucket": bucket, "Key": "b"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    source = {"CopySource": f"{bucket}/a"}
    error = refused(s3.upload_part_copy, **upload, **source, PartNumber=1, CopySourceRange="bytes=5-10")
    assert error["Code"] == "InvalidArgument"
    copied = s3.upload_part_copy(**upload, **source, PartNumber=1, CopySourceRange="bytes=2-5")["CopyPartResult"]
    s3.complete_multipart_upload(**upload, MultipartUpload=parts_of({1: copied}))
    assert s3.get_object(Bucket=bucket, Key="b")["Body"].read() == b"2345"
