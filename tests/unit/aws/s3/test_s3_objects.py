from __future__ import annotations

import base64
import datetime
import gzip
import hashlib
import http.client
import io
import os
import random
import socket
import urllib.parse
import urllib.request
import zlib

import pytest

MIB = 2**20
PAST = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
FUTURE = datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC)


def b64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def get(s3, bucket, key="k", **params):
    return s3.get_object(Bucket=bucket, Key=key, **params)["Body"].read()


@pytest.mark.parametrize("size", [0, 1, 70_000, 3 * MIB + 11])
def test_what_was_put_is_got(s3, bucket, size):
    data = random.Random(size).randbytes(size)
    put = s3.put_object(Bucket=bucket, Key="k", Body=data)
    etag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
    assert put["ETag"] == etag
    assert "VersionId" not in put
    found = s3.get_object(Bucket=bucket, Key="k")
    assert found["Body"].read() == data
    assert (found["ETag"], found["ContentLength"], found["AcceptRanges"]) == (etag, size, "bytes")
    assert found["ContentType"] == "binary/octet-stream"
    head = s3.head_object(Bucket=bucket, Key="k")
    assert (head["ETag"], head["ContentLength"], head["LastModified"]) == (etag, size, found["LastModified"])


@pytest.mark.parametrize("key", ["a b+c%20?#&=", "é/日本", "dir/", "a//b", "../up", "./x", "ctrl\x01", "x" * 1024])
def test_keys_travel_unchanged(s3, bucket, key):
    s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    assert get(s3, bucket, key) == key.encode()
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [key]
    s3.delete_object(Bucket=bucket, Key=key)
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_metadata_and_content_headers_come_back(s3, bucket):
    said = {
        "CacheControl": "no-cache",
        "ContentDisposition": 'attachment; filename="x.csv"',
        "ContentEncoding": "gzip",
        "ContentLanguage": "en",
        "ContentType": "text/csv",
        "WebsiteRedirectLocation": "/elsewhere",
        "StorageClass": "STANDARD_IA",
        "ServerSideEncryption": "aws:kms",
        "SSEKMSKeyId": "alias/models",
        "Metadata": {"owner": "risk", "empty": "x"},
    }
    put = s3.put_object(Bucket=bucket, Key="k", Body=gzip.compress(b"x"), Expires=FUTURE, Tagging="a=1&b=x%20y", **said)
    assert (put["ServerSideEncryption"], put["SSEKMSKeyId"]) == ("aws:kms", "alias/models")
    for found in (s3.get_object(Bucket=bucket, Key="k"), s3.head_object(Bucket=bucket, Key="k")):
        assert {name: found[name] for name in said} == said
        assert found["TagCount"] == 2
        assert found["ResponseMetadata"]["HTTPHeaders"]["expires"] == "Fri, 01 Jan 2100 00:00:00 GMT"
    tags = s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"]
    assert tags == [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "x y"}]


def test_a_get_can_override_response_headers(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ContentType="text/csv")
    found = s3.get_object(Bucket=bucket, Key="k", ResponseContentType="text/plain", ResponseCacheControl="no-store")
    assert (found["ContentType"], found["CacheControl"]) == ("text/plain", "no-store")


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [("bytes=0-0", 0, 1), ("bytes=5-", 5, 1000), ("bytes=-7", 993, 1000), ("bytes=10-99999", 10, 1000),
     ("bytes=-99999", 0, 1000)],
)  # fmt: skip
def test_a_range_is_answered_with_206(s3, bucket, header, start, stop):
    data = random.Random(1).randbytes(1000)
    s3.put_object(Bucket=bucket, Key="k", Body=data)
    found = s3.get_object(Bucket=bucket, Key="k", Range=header)
    assert found["Body"].read() == data[start:stop]
    assert found["ContentRange"] == f"bytes {start}-{stop - 1}/1000"
    assert found["ResponseMetadata"]["HTTPStatusCode"] == 206
    head = s3.head_object(Bucket=bucket, Key="k", Range=header)
    assert (head["ContentLength"], head["ResponseMetadata"]["HTTPStatusCode"]) == (stop - start, 206)


def test_a_range_beyond_the_end_is_refused_and_a_strange_one_ignored(s3, bucket, refused):
    s3.put_object(Bucket=bucket, Key="k", Body=b"0123456789")
    for header in ("bytes=10-", "bytes=10-20", "bytes=-0"):
        error = refused(s3.get_object, Bucket=bucket, Key="k", Range=header)
        assert (error["Code"], error["Status"], error["ActualObjectSize"]) == ("InvalidRange", 416, "10")
    for header in ("bytes=0-1,3-4", "lines=1-2", "bytes=5-2", "bytes=-"):
        assert get(s3, bucket, Range=header) == b"0123456789"


def test_conditional_reads(s3, bucket, refused):
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["ETag"]
    assert get(s3, bucket, IfMatch=etag) == b"x"
    assert get(s3, bucket, IfNoneMatch='"other"') == b"x"
    assert get(s3, bucket, IfModifiedSince=PAST) == b"x"
    assert get(s3, bucket, IfMatch=etag, IfUnmodifiedSince=PAST) == b"x"  # RFC 9110: the ETag decides
    for params, status in (
        ({"IfMatch": '"other"'}, 412),
        ({"IfUnmodifiedSince": PAST}, 412),
        ({"IfNoneMatch": etag}, 304),
        ({"IfNoneMatch": "*"}, 304),
        ({"IfModifiedSince": FUTURE}, 304),
    ):
        assert refused(s3.get_object, Bucket=bucket, Key="k", **params)["Status"] == status
        assert refused(s3.head_object, Bucket=bucket, Key="k", **params)["Status"] == status
    assert refused(s3.get_object, Bucket=bucket, Key="k", IfMatch="x")["Code"] == "PreconditionFailed"


def test_conditional_writes(s3, bucket, refused):
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")
    error = refused(s3.put_object, Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*")
    assert (error["Code"], error["Status"]) == ("PreconditionFailed", 412)
    s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfMatch=first["ETag"])
    assert refused(s3.put_object, Bucket=bucket, Key="k", Body=b"3", IfMatch=first["ETag"])["Status"] == 412
    assert refused(s3.put_object, Bucket=bucket, Key="none", Body=b"3", IfMatch=first["ETag"])["Code"] == "NoSuchKey"
    assert refused(s3.put_object, Bucket=bucket, Key="k", Body=b"", IfNoneMatch="x")["Code"] == "NotImplemented"
    assert refused(s3.delete_object, Bucket=bucket, Key="k", IfMatch="x")["Status"] == 412
    assert get(s3, bucket) == b"2"


def test_missing_things_are_named_as_clients_expect(s3, bucket, refused):
    error = refused(s3.get_object, Bucket=bucket, Key="none")
    assert (error["Code"], error["Status"], error["Key"]) == ("NoSuchKey", 404, "none")
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket=bucket, Key="none")
    error = refused(s3.head_object, Bucket=bucket, Key="none")
    assert (error["Code"], error["Message"]) == ("404", "Not Found")
    error = refused(s3.get_object, Bucket="no-such-bucket-here", Key="none")
    assert (error["Code"], error["BucketName"]) == ("NoSuchBucket", "no-such-bucket-here")
    s3.delete_object(Bucket=bucket, Key="none")
    assert refused(s3.put_object, Bucket=bucket, Key="x" * 1025)["Code"] == "KeyTooLongError"


def test_checksums_are_verified_kept_and_answered(s3, bucket, refused):
    data = b"123456789"
    crc = b64(zlib.crc32(data).to_bytes(4, "big"))
    assert s3.put_object(Bucket=bucket, Key="k", Body=data)["ChecksumCRC32"] == crc
    found = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert (found["ChecksumCRC32"], found["ChecksumType"], found["Body"].read()) == (crc, "FULL_OBJECT", data)
    assert "ChecksumCRC32" not in s3.get_object(Bucket=bucket, Key="k", Range="bytes=0-3", ChecksumMode="ENABLED")
    sha = b64(hashlib.sha256(data).digest())
    assert s3.put_object(Bucket=bucket, Key="s", Body=data, ChecksumAlgorithm="SHA256")["ChecksumSHA256"] == sha
    s3.put_object(Bucket=bucket, Key="c", Body=data, ChecksumCRC64NVME="rosUhgp5mIg=")
    assert s3.head_object(Bucket=bucket, Key="c", ChecksumMode="ENABLED")["ChecksumCRC64NVME"] == "rosUhgp5mIg="
    wrong = b64(hashlib.sha256(b"else").digest())
    error = refused(s3.put_object, Bucket=bucket, Key="bad", Body=data, ChecksumSHA256=wrong)
    assert (error["Code"], error["Status"]) == ("BadDigest", 400)
    wrong = b64(hashlib.md5(b"else", usedforsecurity=False).digest())
    assert refused(s3.put_object, Bucket=bucket, Key="bad", Body=data, ContentMD5=wrong)["Code"] == "BadDigest"
    assert refused(s3.head_object, Bucket=bucket, Key="bad")["Code"] == "404"


def test_tags_of_an_object_are_replaced_and_removed(s3, bucket, refused):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Metadata={"m": "1"})
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": [{"Key": "a", "Value": ""}]})
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == [{"Key": "a", "Value": ""}]
    assert s3.head_object(Bucket=bucket, Key="k")["Metadata"] == {"m": "1"}
    s3.delete_object_tagging(Bucket=bucket, Key="k")
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == []
    twice = {"TagSet": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]}
    assert refused(s3.put_object_tagging, Bucket=bucket, Key="k", Tagging=twice)["Code"] == "InvalidTag"
    many = {"TagSet": [{"Key": str(n), "Value": ""} for n in range(11)]}
    assert refused(s3.put_object_tagging, Bucket=bucket, Key="k", Tagging=many)["Code"] == "BadRequest"


def test_too_much_metadata_is_refused(s3, bucket, refused):
    assert refused(s3.put_object, Bucket=bucket, Key="k", Metadata={"a": "x" * 2048})["Code"] == "MetadataTooLarge"


def test_many_objects_are_deleted_at_once(s3, bucket):
    for n in range(5):
        s3.put_object(Bucket=bucket, Key=f"k{n}", Body=b"")
    asked = [{"Key": f"k{n}"} for n in range(4)]
    deleted = s3.delete_objects(Bucket=bucket, Delete={"Objects": [*asked, {"Key": "none"}]})["Deleted"]
    assert sorted(d["Key"] for d in deleted) == ["k0", "k1", "k2", "k3", "none"]
    quiet = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k4"}], "Quiet": True})
    assert "Deleted" not in quiet
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    refused = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k", "ETag": "x"}]})
    assert [(e["Key"], e["Code"]) for e in refused["Errors"]] == [("k", "PreconditionFailed")]


def test_copies(s3, bucket, refused):
    data = random.Random(2).randbytes(2 * MIB)
    put = s3.put_object(
        Bucket=bucket, Key="dir/ä +b", Body=data, ContentType="text/x", Metadata={"m": "1"}, Tagging="t=1"
    )
    source = {"Bucket": bucket, "Key": "dir/ä +b"}
    copied = s3.copy_object(Bucket=bucket, Key="copy", CopySource=source)["CopyObjectResult"]
    assert copied["ETag"] == put["ETag"]
    assert copied["ChecksumCRC32"] == put["ChecksumCRC32"]
    found = s3.get_object(Bucket=bucket, Key="copy")
    assert (found["Body"].read(), found["ContentType"], found["Metadata"]) == (data, "text/x", {"m": "1"})
    assert found["TagCount"] == 1
    s3.copy_object(
        Bucket=bucket, Key="copy", CopySource=f"/{bucket}/copy", MetadataDirective="REPLACE", Metadata={"n": "2"},
        ContentType="text/y", TaggingDirective="REPLACE", Tagging="u=2",
    )  # fmt: skip
    found = s3.head_object(Bucket=bucket, Key="copy")
    assert (found["ContentType"], found["Metadata"]) == ("text/y", {"n": "2"})
    assert s3.get_object_tagging(Bucket=bucket, Key="copy")["TagSet"] == [{"Key": "u", "Value": "2"}]
    error = refused(s3.copy_object, Bucket=bucket, Key="copy", CopySource=f"{bucket}/copy")
    assert (error["Code"], "to itself" in error["Message"]) == ("InvalidRequest", True)
    error = refused(s3.copy_object, Bucket=bucket, Key="x", CopySource=f"{bucket}/none")
    assert (error["Code"], error["Status"]) == ("NoSuchKey", 404)
    error = refused(s3.copy_object, Bucket=bucket, Key="x", CopySource=source, CopySourceIfMatch="no")
    assert error["Code"] == "PreconditionFailed"
    error = refused(s3.copy_object, Bucket=bucket, Key="x", CopySource=source, CopySourceIfNoneMatch=put["ETag"])
    assert error["Status"] == 412
    s3.copy_object(Bucket=bucket, Key="x", CopySource=source, CopySourceIfModifiedSince=PAST)
    sha = s3.copy_object(Bucket=bucket, Key="y", CopySource=source, ChecksumAlgorithm="SHA256")["CopyObjectResult"]
    assert sha["ChecksumSHA256"] == b64(hashlib.sha256(data).digest())


def test_attributes_of_an_object(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"123456789")
    wanted = ["ETag", "Checksum", "ObjectSize", "StorageClass", "ObjectParts"]
    found = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=wanted)
    assert (found["ObjectSize"], found["StorageClass"], found["ETag"][:4]) == (9, "STANDARD", "25f9")
    assert found["Checksum"]["ChecksumCRC32"] == "y/Q5Jg=="
    assert "ObjectParts" not in found


def test_waiters_see_objects_come_and_go(s3, bucket):
    once = {"Delay": 0, "MaxAttempts": 1}
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    s3.get_waiter("object_exists").wait(Bucket=bucket, Key="k", WaiterConfig=once)
    s3.delete_object(Bucket=bucket, Key="k")
    s3.get_waiter("object_not_exists").wait(Bucket=bucket, Key="k", WaiterConfig=once)


@pytest.mark.parametrize("signature", ["s3", "s3v4"])
def test_presigned_urls_need_no_client(endpoint, bucket, signature):
    client = endpoint.client(signature_version=signature)
    where = {"Bucket": bucket, "Key": "p q"}
    put = client.generate_presigned_url("put_object", Params=where | {"ContentType": "text/csv"}, ExpiresIn=60)
    headers = {"Content-Type": "text/csv"}
    with urllib.request.urlopen(urllib.request.Request(put, b"by url", headers, method="PUT")) as answer:
        assert answer.status == 200
    url = client.generate_presigned_url("get_object", Params=where, ExpiresIn=60)
    with urllib.request.urlopen(url) as answer:
        assert (answer.read(), answer.headers["Content-Type"]) == (b"by url", "text/csv")
    client.close()


def test_a_client_that_leaves_half_way_leaves_nothing(s3, endpoint, bucket, refused):
    url = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "half"}, ExpiresIn=60)
    split = urllib.parse.urlsplit(url)
    assert split.hostname is not None
    with socket.create_connection((split.hostname, split.port or 80)) as sock:
        head = f"PUT {split.path}?{split.query} HTTP/1.1\r\nHost: {split.netloc}\r\nContent-Length: {4 * MIB}\r\n\r\n"
        sock.sendall(head.encode() + bytes(2 * MIB))
    assert refused(s3.head_object, Bucket=bucket, Key="half")["Code"] == "404"


def test_a_reader_that_leaves_half_way_hurts_nobody(s3, endpoint, bucket):
    data = random.Random(3).randbytes(24 * MIB)
    s3.put_object(Bucket=bucket, Key="big", Body=data)
    url = urllib.parse.urlsplit(
        s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "big"}, ExpiresIn=60)
    )
    for _ in range(3):
        connection = http.client.HTTPConnection(url.netloc)
        connection.request("GET", f"{url.path}?{url.query}")
        assert connection.getresponse().read(1000) == data[:1000]
        connection.close()
    assert get(s3, bucket, "big") == data


def test_file_objects_and_streams_are_put(s3, bucket):
    data = os.urandom(MIB)
    s3.upload_fileobj(io.BytesIO(data), bucket, "f")
    into = io.BytesIO()
    s3.download_fileobj(bucket, "f", into)
    assert into.getvalue() == data


def test_a_header_that_no_answer_could_hold_is_refused(s3, bucket, refused):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    error = refused(s3.get_object, Bucket=bucket, Key="k", ResponseContentType="a\x1bb")
    assert (error["Code"], error["Status"]) == ("InvalidArgument", 400)
    assert s3.get_object(Bucket=bucket, Key="k", ResponseContentType="a\tb")["ContentType"] == "a\tb"
