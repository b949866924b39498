"""Paging tokens of log events: places in streams, signed, so that a damaged one is refused, not answered with nonsense.

GetLogEvents has AWS's form, `f/...` for what comes after a place and `b/...` for what comes before it. FilterLogEvents
has one place for each stream that it has begun.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import zlib
from typing import Final

import msgspec

from trimtab.errors import Invalid

_PLACE: Final = re.compile(r"([fb])/([0-9]{20})[0-9a-f]{32}/s")
_MAC_BYTES: Final = 16
_MAX_BYTES: Final = 4 * 2**20  # of places, unpacked


class Progress(msgspec.Struct, frozen=True, array_like=True):
    """How far FilterLogEvents came: the next place by stream, and which way it goes."""

    places: dict[str, int]
    backward: bool = False


class Tokens:
    """Makes and reads them. `secret` should outlive the process."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def forward(self, stream: str, position: int) -> str:
        """What comes after `position` of `stream` (a name that is unique in the account)."""
        return self._place("f", stream, position)

    def backward(self, stream: str, position: int) -> str:
        """What comes before it."""
        return self._place("b", stream, position)

    def place_of(self, stream: str, token: str) -> tuple[bool, int]:
        """Whether a token goes backward, and from where. Raises Invalid for one that was not made for `stream`."""
        found = _PLACE.fullmatch(token)
        if found is None or not hmac.compare_digest(token, self._place(found[1], stream, int(found[2]))):
            raise Invalid("The specified nextToken is invalid.")
        return found[1] == "b", int(found[2])

    def progress(self, search: str, progress: Progress) -> str:
        """The token of a search that goes on. `search` says what is searched, and for what."""
        packed = zlib.compress(msgspec.msgpack.encode(progress), 1)
        return base64.urlsafe_b64encode(self._mac(search, packed) + packed).decode("ascii")

    def progress_of(self, search: str, token: str) -> Progress:
        """How far the search had come. Raises Invalid for a token that another search returned, or none."""
        try:
            raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise Invalid("The specified nextToken is invalid.") from None
        mac, packed = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(search, packed)):
            raise Invalid("The specified nextToken is invalid.")
        return msgspec.msgpack.decode(zlib.decompressobj().decompress(packed, _MAX_BYTES), type=Progress)

    def _place(self, way: str, stream: str, position: int) -> str:
        text = f"{position:020d}"
        return f"{way}/{text}{self._mac(stream, f'{way}{text}'.encode()).hex()}/s"

    def _mac(self, about: str, payload: bytes) -> bytes:
        return hmac.digest(self._secret, about.encode() + b"\0" + payload, hashlib.sha256)[:_MAC_BYTES]
