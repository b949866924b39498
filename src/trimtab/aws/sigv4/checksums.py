"""Digests that a client sends beside its body: Content-MD5 and S3's x-amz-checksum-*, computed piece by piece."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Final

from trimtab.aws.denials import BAD_DIGEST, INVALID_DIGEST
from trimtab.errors import Denied, Invalid
from trimtab.objects.checksums import ALGORITHMS, Digest, new

PREFIX: Final = "x-amz-checksum-"
_NOT_DIGESTS: Final = frozenset({"x-amz-checksum-mode", "x-amz-checksum-type", "x-amz-checksum-algorithm"})


def _new(algorithm: str) -> Digest:
    """A running digest by the name in its header (lower case). Raises Invalid for one that S3 does not have."""
    name = algorithm.upper()
    if name not in ALGORITHMS:
        raise Invalid(f"The checksum algorithm {algorithm!r} is not supported; use one of {', '.join(ALGORITHMS)}.")
    return new(name)


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
        self._running = {name: _new(name) for name in (*checksums, *trailing)}
        for name, value in checksums.items():
            _decoded(PREFIX + name, value, len(self._running[name].digest()))

    def __bool__(self) -> bool:
        return self._md5 is not None or bool(self._running)

    def update(self, piece: bytes) -> None:
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
