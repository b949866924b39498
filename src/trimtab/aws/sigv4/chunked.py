"""The aws-chunked encoding of S3 uploads, decoded as it arrives, with its chunk signatures verified.

    10000;chunk-signature=HEX CRLF <65536 bytes> CRLF ... 0;chunk-signature=HEX CRLF
    x-amz-checksum-crc32:BASE64 CRLF x-amz-trailer-signature:HEX CRLF CRLF

Source: S3 API Reference, "Signature calculations: transferring payload in multiple chunks" (with and without trailers).
"""

from __future__ import annotations

import enum
import hmac
import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Final

from trimtab.aws.denials import INCOMPLETE_BODY, INVALID_SIGNATURE
from trimtab.aws.sigv4.verifier import MISMATCH, Proof
from trimtab.errors import Denied, Invalid

_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;chunk-signature=([0-9a-f]{64}))?")
_MAX_LINE_BYTES: Final = 1024
_MAX_TRAILER_BYTES: Final = 16_384
_EMPTY_HASH: Final = sha256(b"").hexdigest()


class _At(enum.Enum):
    SIZE = enum.auto()
    DATA = enum.auto()
    DATA_END = enum.auto()
    TRAILER = enum.auto()
    END = enum.auto()


class ChunkSignatures:
    """The chain of signatures: each chunk's covers the one before it, from the request's own on."""

    def __init__(self, proof: Proof) -> None:
        self._key = proof.signing_key
        self._stamp = f"{proof.claim.timestamp}\n{proof.claim.scope.text}"
        self._previous = proof.claim.signature

    def check_chunk(self, signature: str, data_hash: str) -> None:
        """Raises Denied (InvalidSignature) unless `signature` is that of the next chunk with this hash."""
        self._check(signature, "AWS4-HMAC-SHA256-PAYLOAD", f"{_EMPTY_HASH}\n{data_hash}")

    def check_trailer(self, signature: str, trailer: bytes) -> None:
        """The same for the trailing fields, each as `name:value` and a newline."""
        self._check(signature, "AWS4-HMAC-SHA256-TRAILER", sha256(trailer).hexdigest())

    def _check(self, signature: str, kind: str, rest: str) -> None:
        text = f"{kind}\n{self._stamp}\n{self._previous}\n{rest}"
        expected = hmac.digest(self._key, text.encode(), "sha256").hex()
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            raise Denied(MISMATCH, code=INVALID_SIGNATURE)
        self._previous = expected


class ChunkDecoder:
    """Feed it pieces as they arrive; it yields the data in them. `trailers` is filled when `finish` returns.

    Data is handed on before its chunk's signature is known: whoever stores it commits only after `finish`.
    Raises Invalid for malformed framing, Denied for a wrong signature.
    """

    def __init__(self, signatures: ChunkSignatures | None, *, decoded_bytes: int | None) -> None:
        """`signatures` is None for an unsigned payload; `decoded_bytes` is x-amz-decoded-content-length."""
        self.trailers: dict[str, str] = {}
        self._signatures = signatures
        self._want_bytes = decoded_bytes
        self._got_bytes = 0
        self._at = _At.SIZE
        self._line = bytearray()
        self._left_bytes = 0
        self._last = False
        self._signature = ""
        self._hash = sha256()
        self._signed_trailer = b""
        self._trailer_bytes = 0
        self._trailer_signature = ""

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The data bytes in `piece`."""
        view, at = memoryview(piece), 0
        while at < len(view):
            if self._at is _At.DATA:
                data = view[at : at + self._left_bytes]
                at += len(data)
                self._take(data)
                yield bytes(data)
            elif self._at is _At.END:
                raise Invalid("There are bytes after the last chunk of the aws-chunked body.")
            else:
                at = self._feed_line(piece, at)

    def finish(self) -> None:
        """The body has ended. Raises Denied (IncompleteBody) when it is shorter or longer than announced."""
        if self._at is _At.TRAILER and not self._line and not self.trailers:
            self._end()  # some clients leave out the empty line after the last chunk
        if self._at is not _At.END or (self._want_bytes is not None and self._got_bytes != self._want_bytes):
            raise Denied(
                "You did not provide the number of bytes specified by the x-amz-decoded-content-length HTTP header.",
                code=INCOMPLETE_BODY,
            )

    def _take(self, data: memoryview) -> None:
        self._left_bytes -= len(data)
        self._got_bytes += len(data)
        if self._want_bytes is not None and self._got_bytes > self._want_bytes:
            raise Denied("The body has more bytes than x-amz-decoded-content-length says.", code=INCOMPLETE_BODY)
        if self._signatures is not None:
            self._hash.update(data)
        if self._left_bytes == 0:
            self._at = _At.DATA_END

    def _feed_line(self, piece: bytes, at: int) -> int:
        """Take up to the next newline; returns where to go on."""
        end = piece.find(b"\n", at)
        stop = len(piece) if end < 0 else end + 1
        if len(self._line) + stop - at > _MAX_LINE_BYTES:
            raise Invalid(f"A line of the aws-chunked framing is over {_MAX_LINE_BYTES} bytes.")
        self._line += piece[at:stop]
        if end >= 0:
            line = bytes(self._line)
            self._line.clear()
            if not line.endswith(b"\r\n"):
                raise Invalid("A line of the aws-chunked framing does not end with CR LF.")
            self._on_line(line[:-2])
        return stop

    def _on_line(self, line: bytes) -> None:
        if self._at is _At.SIZE:
            self._on_size(line)
        elif self._at is _At.DATA_END:
            if line:
                raise Invalid("A chunk of the aws-chunked body is longer than its size says.")
            self._end_chunk()
            self._at = _At.SIZE
        elif line:
            self._on_trailer(line)
        else:
            self._end()

    def _on_size(self, line: bytes) -> None:
        match = _SIZE.fullmatch(line)
        if match is None:
            raise Invalid("A chunk of the aws-chunked body does not begin with its size in hexadecimal.")
        self._signature = (match[2] or b"").decode()
        if self._signatures is not None and not self._signature:
            raise Denied("A chunk of the aws-chunked body is not signed.", code=INVALID_SIGNATURE)
        self._left_bytes = int(match[1], 16)
        self._hash = sha256()
        if self._left_bytes:
            self._at = _At.DATA
        else:
            self._end_chunk()
            self._at = _At.TRAILER

    def _end_chunk(self) -> None:
        if self._signatures is not None:
            self._signatures.check_chunk(self._signature, self._hash.hexdigest())

    def _on_trailer(self, line: bytes) -> None:
        self._trailer_bytes += len(line)
        if self._trailer_bytes > _MAX_TRAILER_BYTES:
            raise Invalid(f"The trailer of the aws-chunked body is over {_MAX_TRAILER_BYTES} bytes.")
        name, colon, value = line.decode("latin-1").partition(":")
        name, value = name.strip().lower(), value.strip()
        if not colon or not name:
            raise Invalid("The trailer of the aws-chunked body is not made of `name:value` lines.")
        if name == "x-amz-trailer-signature":
            self._trailer_signature = value
        else:
            self.trailers[name] = value
            self._signed_trailer += f"{name}:{value}\n".encode("latin-1")

    def _end(self) -> None:
        if self._signatures is not None and (self.trailers or self._trailer_signature):
            self._signatures.check_trailer(self._trailer_signature, self._signed_trailer)
        self._at = _At.END
