"""What an object store holds: buckets, objects with their versions, multipart uploads; and how it refuses."""

from __future__ import annotations

import enum
from collections.abc import Sequence

from msgspec import Struct, field

from trimtab.errors import Invalid, NotFound, RequestError, Unavailable

NULL_VERSION = "null"  # the version id of what was written while versioning was not enabled (AWS's word)


class Versioning(enum.StrEnum):
    """Whether an overwrite keeps what was there. A bucket never goes back to NEVER."""

    NEVER = ""
    ENABLED = "Enabled"
    SUSPENDED = "Suspended"


class Bucket(Struct, frozen=True, kw_only=True):
    """One bucket. `created_s` is wall time."""

    name: str
    region: str
    created_s: float
    versioning: Versioning = Versioning.NEVER
    tags: dict[str, str] = field(default_factory=dict)


class Attributes(Struct, frozen=True, kw_only=True):
    """What a writer says about an object. `headers` are answered as they are (`content-type`, `cache-control`, ...)."""

    headers: dict[str, str] = field(default_factory=dict)  # names lower case
    metadata: dict[str, str] = field(default_factory=dict)  # x-amz-meta-*, without the prefix
    tags: dict[str, str] = field(default_factory=dict)


class Part(Struct, frozen=True, kw_only=True):
    """One part of an upload, or of the object that it became. `etag` is without quotes."""

    number: int
    etag: str
    size_bytes: int
    modified_s: float
    checksums: dict[str, str] = field(default_factory=dict)


class ObjectInfo(Struct, frozen=True, kw_only=True):
    """One version of one object.

    `etag` is without quotes: the MD5 of the bytes in hex, or for a multipart upload of n parts `MD5-n`. `checksums` are
    base64 by algorithm (`checksums.ALGORITHMS`); `checksum_type` is `FULL_OBJECT`, or `COMPOSITE`: of the parts'.
    """

    bucket: str
    key: str
    version_id: str = NULL_VERSION
    etag: str = ""
    size_bytes: int = 0
    modified_s: float = 0.0
    attributes: Attributes = Attributes()
    checksums: dict[str, str] = field(default_factory=dict)
    checksum_type: str = "FULL_OBJECT"
    parts_count: int = 0  # 0: not a multipart upload
    upload_id: str = ""  # the multipart upload that it was
    is_delete_marker: bool = False
    is_latest: bool = True


class Segment(Struct, frozen=True, array_like=True):
    """A run of an object's bytes: `length` bytes of `blob` from `offset`; or, where `blob` is "", `data` itself.

    Copies share blobs; nobody changes one.
    """

    blob: str
    offset: int
    length: int
    data: bytes = b""


class Layout(Struct, frozen=True, kw_only=True):
    """Where an object's bytes rest, in order; and the parts it was uploaded in."""

    segments: list[Segment] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)


class Condition(Struct, frozen=True, kw_only=True):
    """When a write may happen, decided in the transaction that makes it visible.

    `etag`: only over an object with this ETag (`*`: over any). `absent`: only where there is no object.
    """

    etag: str = ""
    absent: bool = False


ALWAYS = Condition()


class Removal(Struct, frozen=True, kw_only=True):
    """What a delete did: the version that is gone, or the delete marker that now hides the object."""

    version_id: str = ""  # "": the bucket keeps no versions
    is_delete_marker: bool = False


class Page(Struct, frozen=True, kw_only=True):
    """Part of a listing, in byte order of the keys. `next_after` is what to list `after` for the next page; "" ends."""

    objects: Sequence[ObjectInfo]
    prefixes: Sequence[str] = ()
    next_after: str = ""
    next_version_id: str = ""  # listings of versions: with `next_after`
    is_truncated: bool = False


class Upload(Struct, frozen=True, kw_only=True):
    """A multipart upload under way. `algorithm` and `checksum_type` are what its parts and result must carry."""

    id: str
    bucket: str
    key: str
    created_s: float
    attributes: Attributes = Attributes()
    algorithm: str = ""
    checksum_type: str = ""


class UploadPage(Struct, frozen=True, kw_only=True):
    """Part of a listing of uploads, by key and then by age."""

    uploads: Sequence[Upload]
    prefixes: Sequence[str] = ()
    next_key: str = ""
    next_upload_id: str = ""
    is_truncated: bool = False


class PreconditionFailed(RequestError):
    """The object is not, or no longer, what the caller made the call conditional on."""

    reason = "PreconditionFailed"


class ChecksumMismatch(Invalid):
    """The bytes that arrived are not those that the caller computed `algorithm` over."""

    reason = "ChecksumMismatch"

    def __init__(self, algorithm: str, expected: str, computed: str) -> None:
        super().__init__(
            f"The {algorithm} you specified did not match the calculated checksum: you said {expected}, "
            f"the bytes that arrived have {computed}. Send the object again."
        )
        self.algorithm = algorithm


class Hidden(NotFound):
    """The version asked for is a delete marker. `version_id` is the marker's; `asked`: it was asked for by its id."""

    def __init__(self, key: str, version_id: str, *, asked: bool) -> None:
        super().__init__("object", key)
        self.version_id = version_id
        self.asked = asked


class InvalidPart(Invalid):
    """A part that was named to complete an upload is not there, or has another ETag or checksum."""

    reason = "InvalidPart"


class PartTooSmall(Invalid):
    """A part other than the last is under the minimum size."""

    reason = "PartTooSmall"

    def __init__(self, part: Part, minimum_bytes: int) -> None:
        super().__init__(
            f"Part {part.number} has {part.size_bytes} bytes; every part but the last needs {minimum_bytes}."
        )
        self.part = part
        self.minimum_bytes = minimum_bytes


class StorageFull(Unavailable):
    """The disk, or the bucket's quota, has no room. Nothing of the call is kept."""

    reason = "StorageFull"

    def __init__(self, where: str) -> None:
        super().__init__(
            f"The storage at {where} is full: nothing was written. Free space there, or move the data "
            "directory to a larger disk, and send the request again.",
            retry_after_s=60.0,
        )
