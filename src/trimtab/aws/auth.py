"""Who calls: the check that the edge makes of every request before it is parsed, and the body as it was meant.

For S3 the body stays a stream: its framing (aws-chunked), hashes and checksums are checked as it is read, and the last
read raises when they are wrong, so that nothing is committed. Every other service signs its (small) body whole.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from hashlib import sha256
from typing import Final

from msgspec import Struct

from trimtab.aws.denials import BODY_HASH, INVALID_SIGNATURE
from trimtab.aws.http import Body, BytesBody, HttpRequest
from trimtab.aws.registry import AwsError
from trimtab.aws.sigv4.canonical import merged
from trimtab.aws.sigv4.checksums import PREFIX, Checks, announced
from trimtab.aws.sigv4.chunked import ChunkDecoder, ChunkSignatures
from trimtab.aws.sigv4.claim import parameters
from trimtab.aws.sigv4.v2 import is_v2_query, verify_v2_query
from trimtab.aws.sigv4.verifier import MISMATCH, UNSIGNED_PAYLOAD, Keys, Proof, Verifier, WrongRegion
from trimtab.clock import Clock
from trimtab.errors import Denied, Invalid, TooLarge
from trimtab.resources.routing import AccessKey

# botocore's service names whose signing name differs.
SIGNING_NAMES: Final[Mapping[str, str]] = {
    "cloudwatch": "monitoring",
    "sagemaker-metrics": "sagemaker",
    "sagemaker-runtime": "sagemaker",
}
MAX_BODY_BYTES: Final = 33_554_432  # of services that sign their body whole; the runtime's 25 MB fit

_STREAMED: Final = frozenset({"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"})
_STREAMED_UNSIGNED: Final = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class Verified(Struct, frozen=True):
    """Whose key signed (None under `--auth none`), and the body with its framing gone and its hashes checked."""

    key: AccessKey | None
    body: Body


class Authenticator:
    """Verifies requests for any service; `await authenticator(request, service)`.

    `keys` gives the keys of the moment, so that a changed key file counts at once. With `required=False` (auth none)
    nobody is refused, and bodies are decoded all the same.
    """

    def __init__(
        self, keys: Keys, *, region: str, clock: Clock, required: bool, max_body_bytes: int = MAX_BODY_BYTES
    ) -> None:
        self._keys = keys
        self._clock = clock
        self._required = required
        self._max_body_bytes = max_body_bytes
        self._verifier = Verifier(keys, region=region)

    async def __call__(self, request: HttpRequest, service: str) -> Verified:
        """Raises Denied with a code of `aws.denials`; Invalid and TooLarge for bodies that cannot be checked."""
        name = SIGNING_NAMES.get(service, service)
        fields = merged(request.headers.pairs)
        try:
            if name == "s3":
                return self._s3(request, fields)
            return await self._whole(request, fields, name)
        except WrongRegion as wrong:
            if name == "s3" and "authorization" in fields:
                raise _elsewhere(wrong) from None
            raise

    async def _whole(self, request: HttpRequest, fields: Mapping[str, str], service: str) -> Verified:
        if not self._required:
            return Verified(None, request.body)
        body = await request.body.read(self._max_body_bytes)
        payload_hash = sha256(body).hexdigest()
        announced_hash = fields.get("x-amz-content-sha256", payload_hash)
        proof = self._prove(request, fields, announced_hash, service)
        if announced_hash != payload_hash:
            raise Denied(MISMATCH, code=INVALID_SIGNATURE)
        return Verified(proof.key, BytesBody(body))

    def _s3(self, request: HttpRequest, fields: Mapping[str, str]) -> Verified:
        payload, signed = _s3_payload(request.query, fields)
        proof: Proof | None = None
        key: AccessKey | None = None
        if self._required and "authorization" not in fields and is_v2_query(request.query):
            now_s = self._clock.now_s()
            key = verify_v2_query(self._keys, request.method, request.raw_path, request.query, fields, now_s)
        elif self._required:
            proof = self._prove(request, fields, payload, "s3")
            key = proof.key
            if not signed:
                raise Invalid("Missing required header for this request: x-amz-content-sha256")
        return Verified(key, _s3_body(request.body, payload, fields, proof, check_hash=self._required))

    def _prove(self, request: HttpRequest, fields: Mapping[str, str], payload_hash: str, service: str) -> Proof:
        now_s = self._clock.now_s()
        method, path, query = request.method, request.raw_path, request.query
        return self._verifier.prove(method, path, query, fields, payload_hash, service, now_s)


def _elsewhere(wrong: WrongRegion) -> AwsError:
    """S3's own answer: boto3 reads `Region` from it and repeats the request, signed for there."""
    return AwsError(
        "AuthorizationHeaderMalformed",
        f"The authorization header is malformed; the region '{wrong.got}' is wrong; expecting '{wrong.expected}'",
        400,
        extra={"Region": wrong.expected},
    )


def _s3_payload(query: str, fields: Mapping[str, str]) -> tuple[str, bool]:
    """What stands for the payload's hash in the canonical request, and whether the request says so itself."""
    stated = fields.get("x-amz-content-sha256")
    if stated is None and "authorization" not in fields:
        return (parameters(query).get("X-Amz-Content-Sha256") or UNSIGNED_PAYLOAD), True
    if stated is None:
        return UNSIGNED_PAYLOAD, False
    known = stated in _STREAMED or stated in (UNSIGNED_PAYLOAD, _STREAMED_UNSIGNED) or _SHA256.fullmatch(stated)
    if not known:
        raise Invalid(
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, "
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value."
        )
    return stated, True


def _s3_body(
    body: Body, payload: str, fields: Mapping[str, str], proof: Proof | None, *, check_hash: bool
) -> CheckedBody | Body:
    decoder: ChunkDecoder | None = None
    if payload in _STREAMED or payload == _STREAMED_UNSIGNED:
        signatures = ChunkSignatures(proof) if proof is not None and payload in _STREAMED else None
        decoder = ChunkDecoder(signatures, decoded_bytes=_decoded_length(fields))
    trailing = _trailing(fields) if decoder is not None else ()
    checks = Checks(md5=fields.get("content-md5", ""), checksums=announced(fields), trailing=trailing)
    want_hash = payload if check_hash and _SHA256.fullmatch(payload) else ""
    if decoder is None and not checks and not want_hash:
        return body
    return CheckedBody(body, decoder, checks, want_hash)


def _decoded_length(fields: Mapping[str, str]) -> int:
    value = fields.get("x-amz-decoded-content-length", "")
    if not (value.isascii() and value.isdigit() and len(value) < 19):
        raise Invalid("An aws-chunked body needs the header x-amz-decoded-content-length, a number of bytes.")
    return int(value)


def _trailing(fields: Mapping[str, str]) -> tuple[str, ...]:
    names = [name.strip().lower() for name in fields.get("x-amz-trailer", "").split(",") if name.strip()]
    return tuple(name.removeprefix(PREFIX) for name in names if name.startswith(PREFIX))


class CheckedBody:
    """An S3 body without its framing. `trailers` holds the fields after it once it is read to the end.

    Reading to the end raises Denied when a hash, checksum, chunk signature or length is wrong, Invalid for bad framing.
    """

    def __init__(self, source: Body, decoder: ChunkDecoder | None, checks: Checks, want_sha256: str) -> None:
        self.trailers: Mapping[str, str] = {}
        self._source = source
        self._decoder = decoder
        self._checks = checks
        self._want_sha256 = want_sha256

    async def read(self, limit_bytes: int) -> bytes:
        """The whole body. Raises TooLarge beyond `limit_bytes`, before all of it is in memory."""
        pieces, size = [], 0
        async for piece in self.stream():
            size += len(piece)
            if size > limit_bytes:
                raise TooLarge(f"The body is over {limit_bytes} bytes.", limit_bytes=limit_bytes)
            pieces.append(piece)
        return b"".join(pieces)

    async def stream(self) -> AsyncIterator[bytes]:
        """The body's pieces; what is wrong with the whole is raised after the last."""
        running = sha256()
        async for raw in self._source.stream():
            for piece in self._decoder.feed(raw) if self._decoder is not None else (raw,):
                if self._want_sha256:
                    running.update(piece)
                self._checks.update(piece)
                yield piece
        if self._decoder is not None:
            self._decoder.finish()
            self.trailers = self._decoder.trailers
        if self._want_sha256 and running.hexdigest() != self._want_sha256:
            raise Denied("The provided 'x-amz-content-sha256' header does not match what was computed.", code=BODY_HASH)
        self._checks.finish(self.trailers)
