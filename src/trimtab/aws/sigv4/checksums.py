"""Digests that a client sends beside its body: Content-MD5 and S3's x-amz-checksum-*, computed piece by piece."""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from trimtab.aws.denials import BAD_DIGEST, INVALID_DIGEST
from trimtab.errors import Denied, Invalid

PREFIX: Final = "x-amz-checksum-"
_NOT_DIGESTS: Final = frozenset({"x-amz-checksum-mode", "x-amz-checksum-type", "x-amz-checksum-algorithm"})


class Digest(Protocol):
    """A running digest, as hashlib's."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take the next piece."""
        ...

    def digest(self) -> bytes:
        """Big-endian bytes of the value so far."""
        ...


class _Crc:
    """A running CRC of `width` bytes; `step(data, value)` goes on from `value`."""

    def __init__(self, step: Callable[[bytes | memoryview, int], int], width: int) -> None:
        self._step = step
        self._width = width
        self._value = 0

    def update(self, data: bytes | memoryview, /) -> None:
        self._value = self._step(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._width, "big")


def _crc_model(name: str, width: int) -> Digest:
    import anycrc  # here, because only control needs it, and only for these two checksums

    return _Crc(anycrc.Model(name).calc, width)


_MAKE: Final[Mapping[str, Callable[[], Digest]]] = {
    "crc32": lambda: _Crc(zlib.crc32, 4),
    "crc32c": lambda: _crc_model("CRC32C", 4),
    "crc64nvme": lambda: _crc_model("CRC64-NVME", 8),
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "sha256": hashlib.sha256,
}
ALGORITHMS: Final = tuple(_MAKE)


def new(algorithm: str) -> Digest:
    """A running digest of `algorithm` (lower case). Raises Invalid for one that S3 does not have."""
    make = _MAKE.get(algorithm)
    if make is None:
        raise Invalid(f"The checksum algorithm {algorithm!r} is not supported; use one of {', '.join(ALGORITHMS)}.")
    return make()


def announced(fields: Mapping[str, str]) -> dict[str, str]:
    """The checksums in header (or trailer) fields: algorithm to base64 value."""
    return {
        name[len(PREFIX) :]: value
        for name, value in fields.items()
        if name.startswith(PREFIX) and name not in _NOT_DIGESTS
    }


class Checks:
    """Everything that a body was announced to be; `update` with each piece, `finish` at its end."""

    def __init__(self, *, md5: str, checksums: Mapping[str, str], trailing: tuple[str, ...] = ()) -> None:
        """`checksums` and the names in `trailing` are by algorithm; the values of the latter come to `finish`.

        Raises Denied (InvalidDigest) when a value has not the form of its digest, Invalid for an unknown algorithm.
        """
        self._md5 = hashlib.md5(usedforsecurity=False) if md5 else None
        self._want_md5 = _decoded("Content-MD5", md5, 16) if md5 else b""
        self._want = dict(checksums)
        self._running = {name: new(name) for name in (*checksums, *trailing)}
        for name, value in checksums.items():
            _decoded(PREFIX + name, value, len(self._running[name].digest()))

    def __bool__(self) -> bool:
        return self._md5 is not None or bool(self._running)

    def update(self, piece: bytes | memoryview) -> None:
        """Take the next piece of the (decoded) body."""
        if self._md5 is not None:
            self._md5.update(piece)
        for running in self._running.values():
            running.update(piece)

    def finish(self, trailers: Mapping[str, str]) -> None:
        """Compare. `trailers` are the fields after the body. Raises Denied: BadDigest, InvalidDigest."""
        if self._md5 is not None and self._md5.digest() != self._want_md5:
            raise Denied("The Content-MD5 you specified did not match what we received.", code=BAD_DIGEST)
        want = self._want | announced(trailers)
        for name, running in self._running.items():
            if name not in want:
                raise Denied(f"The trailer {PREFIX}{name} was announced but did not arrive.", code=INVALID_DIGEST)
            if running.digest() != _decoded(PREFIX + name, want[name], len(running.digest())):
                raise Denied(
                    f"The {name.upper()} you specified did not match the calculated checksum.", code=BAD_DIGEST
                )


def _decoded(name: str, value: str, size: int) -> bytes:
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != size:
        text = "The Content-MD5 you specified was invalid." if size == 16 else f"Value for {name} header is invalid."
        raise Denied(text, code=INVALID_DIGEST)
    return raw
