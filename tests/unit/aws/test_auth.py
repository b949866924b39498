"""The Authenticator: bodies that are decoded and checked as they are read, for S3 and for the others."""

from __future__ import annotations

import base64
import hashlib
import hmac
import zlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from botocore.auth import HmacV1QueryAuth, S3SigV4Auth, SigV4Auth
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sigv4_oracle import KEY, KEYS, NOW_S, Wire, credentials, sign

from trimtab.aws import denials
from trimtab.aws.auth import Authenticator, CheckedBody, Verified
from trimtab.aws.http import BytesBody, Headers, HttpRequest
from trimtab.aws.registry import AwsError
from trimtab.clock import ManualClock
from trimtab.errors import Denied, Invalid, TooLarge
from trimtab.objects.checksums import ALGORITHMS, new

RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # machines that run much else
CHUNKED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"


class Pieces:
    """A body that arrives in pieces of a given size."""

    def __init__(self, data: bytes, size: int = 7) -> None:
        self._data, self._size = data, size

    async def read(self, limit_bytes: int) -> bytes:
        return self._data

    async def stream(self) -> AsyncIterator[bytes]:
        for at in range(0, len(self._data), self._size):
            yield self._data[at : at + self._size]


async def authenticate(wire: Wire, service: str = "s3", *, required: bool = True, piece: int = 7) -> Verified:
    check = Authenticator(lambda: KEYS, region="us-east-1", clock=ManualClock(NOW_S), required=required)
    request = HttpRequest(
        method=wire.method,
        raw_path=wire.raw_path,
        query=wire.query,
        headers=Headers(wire.headers),
        body=Pieces(wire.body, piece),
    )
    return await check(request, service)


async def read(wire: Wire, **how: object) -> bytes:
    return await (await authenticate(wire, **how)).body.read(1 << 20)  # type: ignore[arg-type]


async def refused(wire: Wire, code: str, **how: object) -> str:
    with pytest.raises(Denied) as caught:
        await read(wire, **how)
    assert caught.value.code == code
    return str(caught.value)


def put(body: bytes, payload: str = "", headers: list[tuple[str, str]] | None = None) -> Wire:
    """A signed S3 PUT; `payload` stands in x-amz-content-sha256 (empty: the hash)."""

    class Signer(S3SigV4Auth):
        def payload(self, request: object) -> str:
            return payload or str(super().payload(request))

    wire = sign(Signer(credentials(), "s3", "us-east-1"), "PUT", "/b/key", headers=headers, body=body)
    return wire


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def chunked(data: bytes, size: int, trailer: bytes = b"\r\n") -> bytes:
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in chunks) + b"0\r\n" + trailer


def signed_chunks(wire: Wire, data: bytes, size: int, trailer: str = "") -> Wire:
    """Chunk signatures made here from AWS's text, apart from the code under test."""
    scope = "20261123/us-east-1/s3/aws4_request"
    key = f"AWS4{KEY.secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    stamp, previous = wire.header("x-amz-date"), wire.header("authorization").rpartition("=")[2]
    out, empty = b"", hashlib.sha256(b"").hexdigest()
    for chunk in [*(data[at : at + size] for at in range(0, len(data), size)), b""]:
        digest = hashlib.sha256(chunk).hexdigest()
        text = f"AWS4-HMAC-SHA256-PAYLOAD\n{stamp}\n{scope}\n{previous}\n{empty}\n{digest}"
        previous = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        out += f"{len(chunk):x};chunk-signature={previous}\r\n".encode() + chunk + (b"\r\n" if chunk else b"")
    if trailer:
        digest = hashlib.sha256(f"{trailer}\n".encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256-TRAILER\n{stamp}\n{scope}\n{previous}\n{digest}"
        signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        out += f"{trailer}\r\nx-amz-trailer-signature:{signature}\r\n".encode()
    return replace(wire, body=out + b"\r\n")


async def test_a_signed_s3_body_is_read_and_checked() -> None:
    assert await read(put(b"hello")) == b"hello"


async def test_an_s3_body_that_is_not_the_signed_one_is_refused_at_its_end() -> None:
    await refused(replace(put(b"hello"), body=b"hellO"), denials.BODY_HASH)


async def test_an_unsigned_s3_payload_is_handed_on_as_it_is() -> None:
    assert await read(put(b"anything", "UNSIGNED-PAYLOAD")) == b"anything"


async def test_a_service_signs_its_body_whole() -> None:
    wire = sign(SigV4Auth(credentials(), "sagemaker", "us-east-1"), body=b'{"a":1}')
    verified = await authenticate(wire, "sagemaker-runtime")
    assert verified.key is KEY
    assert await verified.body.read(100) == b'{"a":1}'
    await refused(replace(wire, body=b'{"a":2}'), denials.INVALID_SIGNATURE, service="sagemaker")


async def test_a_service_body_that_only_its_own_header_vouches_for_is_refused() -> None:
    stated = [("X-Amz-Content-SHA256", hashlib.sha256(b"one").hexdigest())]
    wire = sign(SigV4Auth(credentials(), "sagemaker", "us-east-1"), headers=stated, body=b"one")
    assert await read(wire, service="sagemaker") == b"one"
    await refused(replace(wire, body=b"two"), denials.INVALID_SIGNATURE, service="sagemaker")


@RELAXED
@given(data=st.binary(max_size=300), size=st.integers(1, 64), piece=st.integers(1, 50))
async def test_unsigned_chunks_are_decoded_however_they_arrive(data: bytes, size: int, piece: int) -> None:
    crc = b64(zlib.crc32(data).to_bytes(4, "big"))
    headers = [("x-amz-decoded-content-length", str(len(data))), ("x-amz-trailer", "x-amz-checksum-crc32")]
    wire = put(b"", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", headers)
    wire = replace(wire, body=chunked(data, size, f"x-amz-checksum-crc32:{crc}\r\n\r\n".encode()))
    verified = await authenticate(wire, piece=piece)
    assert await verified.body.read(1000) == data
    assert isinstance(verified.body, CheckedBody)
    assert verified.body.trailers == {"x-amz-checksum-crc32": crc}


@RELAXED
@given(data=st.binary(max_size=300), size=st.integers(1, 64), piece=st.integers(1, 50))
async def test_signed_chunks_are_verified_however_they_arrive(data: bytes, size: int, piece: int) -> None:
    wire = put(b"", CHUNKED, [("x-amz-decoded-content-length", str(len(data)))])
    assert await read(signed_chunks(wire, data, size), piece=piece) == data


@RELAXED
@given(at=st.integers(0, 10_000), data=st.binary(min_size=1, max_size=100))
async def test_no_byte_of_signed_chunks_can_be_changed(at: int, data: bytes) -> None:
    wire = put(b"", CHUNKED, [("x-amz-decoded-content-length", str(len(data)))])
    body = bytearray(signed_chunks(wire, data, 32).body)
    body[at % len(body)] ^= 1
    with pytest.raises((Denied, Invalid)):
        await read(replace(wire, body=bytes(body)))


async def test_a_signed_trailer_is_verified() -> None:
    crc = b64(zlib.crc32(b"hello").to_bytes(4, "big"))
    headers = [("x-amz-decoded-content-length", "5"), ("x-amz-trailer", "x-amz-checksum-crc32")]
    wire = put(b"", f"{CHUNKED}-TRAILER", headers)
    good = signed_chunks(wire, b"hello", 3, f"x-amz-checksum-crc32:{crc}")
    assert await read(good) == b"hello"
    tampered = replace(good, body=good.body.replace(b"x-amz-checksum", b"x-amz-checkson"))
    await refused(tampered, denials.INVALID_SIGNATURE)
    await refused(signed_chunks(wire, b"hello", 3), denials.INVALID_DIGEST)


async def test_chunks_may_not_lose_their_signatures() -> None:
    wire = put(b"", CHUNKED, [("x-amz-decoded-content-length", "5")])
    await refused(replace(wire, body=chunked(b"hello", 5)), denials.INVALID_SIGNATURE)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (chunked(b"hell", 5), denials.INCOMPLETE_BODY),
        (chunked(b"hello!", 5), denials.INCOMPLETE_BODY),
        (chunked(b"hello", 5)[:-5], denials.INCOMPLETE_BODY),
        (b"5\r\nhel", denials.INCOMPLETE_BODY),
        (b"", denials.INCOMPLETE_BODY),
    ],
)
async def test_a_chunked_body_of_another_length_is_incomplete(body: bytes, code: str) -> None:
    wire = put(b"", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", [("x-amz-decoded-content-length", "5")])
    await refused(replace(wire, body=body), code)


@pytest.mark.parametrize(
    "body",
    [
        b"hello",
        b"zz\r\nhello\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"4\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\r\nmore",
        b"5\r\nhello\r\n0\r\nno-colon\r\n\r\n",
        b"5" + b" " * 2000 + b"\r\nhello",
        b"5\r\nhello\r\n0\r\n" + b"a:" + b"b" * 900 + b"\r\n" + (b"a:" + b"b" * 900 + b"\r\n") * 20,
        b"-5\r\nhello\r\n",
        b"ffffffffffffffffffffff\r\n",
    ],
)
async def test_malformed_chunks_are_the_callers_fault(body: bytes) -> None:
    wire = put(b"", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", [("x-amz-decoded-content-length", "5")])
    with pytest.raises((Denied, Invalid)):
        await read(replace(wire, body=body + (b"" if body.endswith(b"\n") else b"\r\n")))


async def test_a_chunked_body_needs_its_decoded_length() -> None:
    with pytest.raises(Invalid, match="x-amz-decoded-content-length"):
        await read(put(b"", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_checksum_header_is_verified(algorithm: str) -> None:
    running = new(algorithm)
    running.update(b"hel")
    running.update(b"lo")
    wire = put(b"hello", headers=[(f"x-amz-checksum-{algorithm.lower()}", b64(running.digest()))])
    assert await read(wire) == b"hello"
    other = new(algorithm)
    other.update(b"other")
    text = await refused(
        put(b"hello", headers=[(f"x-amz-checksum-{algorithm.lower()}", b64(other.digest()))]), denials.BAD_DIGEST
    )
    assert algorithm in text
    await refused(put(b"hello", headers=[(f"x-amz-checksum-{algorithm.lower()}", "AA==")]), denials.INVALID_DIGEST)


async def test_an_unknown_checksum_is_named() -> None:
    with pytest.raises(Invalid, match=r"'md4'.*CRC32"):
        await read(put(b"", headers=[("x-amz-checksum-md4", "AAAA")]))


async def test_checksum_mode_is_not_a_checksum() -> None:
    assert await read(put(b"x", headers=[("x-amz-checksum-mode", "ENABLED")])) == b"x"


async def test_content_md5_is_verified() -> None:
    assert await read(put(b"hello", headers=[("Content-MD5", b64(hashlib.md5(b"hello").digest()))])) == b"hello"
    await refused(put(b"hello", headers=[("Content-MD5", b64(b"0" * 16))]), denials.BAD_DIGEST)
    await refused(put(b"hello", headers=[("Content-MD5", "not base64!")]), denials.INVALID_DIGEST)


async def test_reading_stops_at_the_limit() -> None:
    body = (await authenticate(put(b"x" * 100))).body
    with pytest.raises(TooLarge):
        await body.read(99)


async def test_s3_signed_for_another_region_names_the_right_one_so_that_clients_follow() -> None:
    wire = sign(S3SigV4Auth(credentials(), "s3", "eu-west-1"), "GET", "/b/k")
    with pytest.raises(AwsError) as caught:
        await authenticate(wire)
    assert caught.value.code == "AuthorizationHeaderMalformed"
    assert caught.value.extra == {"Region": "us-east-1"}


async def test_an_s3_signature_needs_the_payload_header() -> None:
    with pytest.raises(Invalid, match="x-amz-content-sha256"):
        await authenticate(put(b"", "nonsense"))


async def test_nobody_is_anonymous() -> None:
    await refused(Wire("GET", "/b/k", "", [("host", "h")]), denials.MISSING_TOKEN)


async def test_without_auth_nobody_is_refused_and_chunks_are_still_decoded() -> None:
    headers = [("x-amz-content-sha256", CHUNKED), ("x-amz-decoded-content-length", "5")]
    wire = Wire("PUT", "/b/k", "", headers, b"5;chunk-signature=%s\r\nhello\r\n0\r\n\r\n" % (b"0" * 64))
    verified = await authenticate(wire, required=False)
    assert verified.key is None
    assert await verified.body.read(10) == b"hello"
    assert (await authenticate(Wire("POST", "/", "", [], b"x"), "sqs", required=False)).key is None


def presigned_v2(query: str = "", headers: list[tuple[str, str]] | None = None, method: str = "GET") -> Wire:
    signer = HmacV1QueryAuth(credentials(), expires=600)
    wire = sign(signer, method, "/bucket/key%20one", query=query, headers=headers)
    return replace(wire, headers=[("host", "127.0.0.1:7070")])


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("", []),
        ("versionId=abc&uploads", []),
        ("partNumber=2&uploadId=x%2By", []),
        ("response-content-type=text%2Fplain", []),
        ("", [("x-amz-acl", "private"), ("Content-Type", "text/csv")]),
        ("unsigned=1", []),
    ],
)
async def test_a_sigv2_url_of_boto3_is_accepted(query: str, headers: list[tuple[str, str]]) -> None:
    verified = await authenticate(presigned_v2(query, headers))
    assert verified.key is KEY


async def test_a_sigv2_url_expires_and_cannot_be_changed() -> None:
    good = presigned_v2("versionId=abc")
    await refused(replace(good, method="PUT"), denials.INVALID_SIGNATURE)
    await refused(replace(good, raw_path="/bucket/other"), denials.INVALID_SIGNATURE)
    await refused(replace(good, query=good.query.replace("abc", "abd")), denials.INVALID_SIGNATURE)
    await refused(good.plus("x-amz-acl", "public-read"), denials.INVALID_SIGNATURE)
    await refused(replace(good, query=good.query.replace(KEY.id, "NOBODY")), denials.UNKNOWN_KEY)
    await refused(replace(good, query=good.query + "&x-amz-security-token=t"), denials.INVALID_TOKEN)
    old = replace(good, query=good.query.replace("Expires=17954574", "Expires=16954574"))
    assert old != good
    await refused(old, denials.EXPIRED)
    await refused(replace(good, query=good.query.replace("Expires=", "Expires=x")), denials.INCOMPLETE_SIGNATURE)
    await refused(replace(good, query="AWSAccessKeyId=a&Signature=b"), denials.INCOMPLETE_SIGNATURE)


@RELAXED
@given(query=st.text(max_size=100))
async def test_no_query_breaks_the_sigv2_parser(query: str) -> None:
    wire = Wire("GET", "/b/k", f"AWSAccessKeyId={KEY.id}&Signature={query}&Expires=99999999999", [("host", "h")])
    with pytest.raises(Denied):
        await authenticate(wire)


async def test_bytes_bodies_pass_through_unwrapped_when_nothing_is_announced() -> None:
    wire = put(b"", "UNSIGNED-PAYLOAD")
    check = Authenticator(lambda: KEYS, region="us-east-1", clock=ManualClock(NOW_S), required=True)
    body = BytesBody(b"x")
    request = HttpRequest(method="PUT", raw_path=wire.raw_path, headers=Headers(wire.headers), body=body)
    assert (await check(request, "s3")).body is body
