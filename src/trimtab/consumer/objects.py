"""What a consumer needs of S3: inputs in, outputs out. The calls block; they are made in threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import BinaryIO, Protocol

from msgspec import Struct

from trimtab.errors import TrimtabError


class ObjectRefused(TrimtabError):
    """S3 has said no, and will again: there is no such object or bucket, it may not be read or written, ..."""

    reason = "ObjectRefused"

    def __init__(self, message: str, *, missing: bool = False) -> None:
        """`missing`: there is no such object or bucket."""
        super().__init__(message)
        self.missing = missing


class ObjectTooLarge(TrimtabError):
    """The object has more bytes than asked for."""

    reason = "ObjectTooLarge"


class UploadGone(TrimtabError):
    """The upload is no more, and what it would have become is not there: its bytes are lost."""

    reason = "UploadGone"


class Sent(Struct, frozen=True, kw_only=True):
    """What an object is to be, besides its bytes."""

    content_type: str = ""
    metadata: Mapping[str, str] = {}


class Writer(Protocol):
    """What takes bytes one after another."""

    def write(self, data: bytes, /) -> object: ...


class Objects(Protocol):
    """S3, wherever it is. All raise ObjectRefused, and Unavailable where the same call may succeed later."""

    def fetch(self, url: str, into: Writer, *, limit_bytes: int) -> int:
        """Write the object into a file, as it was at one moment; its size. ObjectTooLarge beyond `limit_bytes`."""
        ...

    def put(self, url: str, body: bytes, sent: Sent) -> None:
        """Make the object, whole or not at all."""
        ...

    def stage(self, url: str, body: BinaryIO, sent: Sent, *, alone: bool) -> tuple[str, Sequence[str]]:
        """Upload all of a file, so that `complete` makes the object: the upload's id and the parts' ETags.

        Not `alone`: somebody else has tried before; what is left of that is removed.
        """
        ...

    def complete(self, url: str, upload_id: str, etags: Sequence[str], sent: Sent) -> None:
        """Make the object of a staged upload. Safe to repeat: an object with the same metadata is this one. Raises
        UploadGone."""
        ...

    def abandon(self, url: str, upload_id: str) -> None:
        """Forget a staged upload."""
        ...
