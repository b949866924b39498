"""Digests over a stream, by S3's names, in base64 as S3 writes them.

CRC32, SHA1 and SHA256 are in the standard library; CRC32C and CRC64NVME (the AWS CLI's default) come from anycrc.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from trimtab.objects.model import ChecksumMismatch, Part

ALGORITHMS = ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256")
COMBINABLE = ("CRC32", "CRC32C", "CRC64NVME")  # the whole's can be computed from the parts'
MD5 = "MD5"


class Digest(Protocol):
    """A checksum under way."""

    def update(self, data: bytes, /) -> None:
        """Take more bytes."""
        ...

    def digest(self) -> bytes:
        """The checksum of what was taken, big-endian."""
        ...


class _Crc:
    """A CRC as a Digest. `step(data, previous)` is zlib's form of a running CRC."""

    def __init__(self, step: Callable[[bytes, int], int], size_bytes: int) -> None:
        self._step = step
        self._size_bytes = size_bytes
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = self._step(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size_bytes, "big")


def new(algorithm: str) -> Digest:
    """A digest by S3's name, or `MD5`. Raises ValueError for another name."""
    match algorithm:
        case "MD5":
            return hashlib.md5(usedforsecurity=False)
        case "SHA1":
            return hashlib.sha1(usedforsecurity=False)
        case "SHA256":
            return hashlib.sha256()
        case "CRC32":
            return _Crc(zlib.crc32, 4)
        case "CRC32C":
            return _Crc(_model(algorithm).calc, 4)
        case "CRC64NVME":
            return _Crc(_model(algorithm).calc, 8)
    raise ValueError(f"unknown checksum algorithm {algorithm!r}")


class Digests:
    """Several digests of one stream; MD5 always, because the ETag is made of it."""

    def __init__(self, algorithms: Iterable[str] = ()) -> None:
        self._digests = {name: new(name) for name in dict.fromkeys((MD5, *algorithms))}
        self.size_bytes = 0

    def update(self, data: bytes) -> None:
        """Take more bytes."""
        self.size_bytes += len(data)
        for digest in self._digests.values():
            digest.update(data)

    @property
    def etag(self) -> str:
        """The MD5 in hex."""
        return self._digests[MD5].digest().hex()

    def checksums(self) -> dict[str, str]:
        """Base64 by algorithm, MD5 left out."""
        return {name: encode(digest.digest()) for name, digest in self._digests.items() if name != MD5}

    def check(self, expected: Mapping[str, str]) -> None:
        """Raise ChecksumMismatch where `expected` (base64 by algorithm, MD5 too) says otherwise."""
        for name, said in expected.items():
            computed = encode(self._digests[name].digest())
            if said != computed:
                raise ChecksumMismatch(name, said, computed)


def encode(digest: bytes) -> str:
    """Base64, as S3 writes checksums."""
    return base64.b64encode(digest).decode()


def combined_etag(parts: Sequence[Part]) -> str:
    """The ETag of an object made of parts: the MD5 of their MD5s, `-`, their number."""
    joined = b"".join(bytes.fromhex(part.etag) for part in parts)
    return f"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(parts)}"


def composite(algorithm: str, parts: Sequence[Part]) -> str:
    """The checksum of the parts' checksums, with S3's `-n`."""
    digest = new(algorithm)
    for part in parts:
        digest.update(base64.b64decode(part.checksums[algorithm]))
    return f"{encode(digest.digest())}-{len(parts)}"


def full_object(algorithm: str, parts: Sequence[Part]) -> str:
    """The checksum of the whole, from its parts' (CRCs only)."""
    model = _model(algorithm)
    value = 0
    for part in parts:
        value = model.combine(
            value, int.from_bytes(base64.b64decode(part.checksums[algorithm]), "big"), part.size_bytes
        )
    return encode(value.to_bytes(8 if algorithm == "CRC64NVME" else 4, "big"))


def _model(algorithm: str) -> Any:
    import anycrc  # here, because few clients need it

    return anycrc.Model({"CRC64NVME": "CRC64-NVME"}.get(algorithm, algorithm))
