"""What an object store promises, whatever it is made of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

from trimtab.errors import RequestError
from trimtab.objects.model import (
    ALWAYS,
    Attributes,
    Bucket,
    Condition,
    Layout,
    ObjectInfo,
    Page,
    Part,
    Removal,
    Upload,
    UploadPage,
    Versioning,
)
from trimtab.objects.receive import Source
from trimtab.objects.uploads import Completion
from trimtab.objects.watching import Watcher

MAX_PUT_BYTES = 5 * 2**30  # one PUT or one part (S3 User Guide)


class ObjectReader(Protocol):
    """A version of an object, opened: its bytes stay readable until `close`, whatever happens to the object."""

    @property
    def info(self) -> ObjectInfo:
        """What was opened."""
        ...

    @property
    def layout(self) -> Layout:
        """Its parts."""
        ...

    def stream(self, start: int = 0, stop: int | None = None, *, chunk_bytes: int = ...) -> AsyncIterator[bytes]:
        """Bytes `start` to `stop` (not included), in pieces. Closes the reader when it ends or is dropped."""
        ...

    async def read(self) -> bytes:
        """All of it, at once. Closes the reader."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


class ObjectStore(Protocol):
    """Buckets of objects. What a call has answered survives kill -9 and power cuts; what it has not is there whole,
    or not at all. Everything raises NotFound("bucket") where there is no such bucket, StorageFull, Unavailable.

    `version_id` "" means the latest version.
    """

    def watch(self, watcher: Watcher) -> None:
        """Tell `watcher` of every key that is written, deleted or copied to from now on: on the event loop, at once
        after the change and before its caller hears of it. It must be quick, and look for itself what is there now.
        """
        ...

    async def create_bucket(self, name: str, *, region: str) -> None:
        """InvalidBucketName; AlreadyExists."""
        ...

    async def list_buckets(self) -> Sequence[Bucket]:
        """All, by name."""
        ...

    async def get_bucket(self, name: str) -> Bucket: ...

    async def change_bucket(
        self, name: str, *, versioning: Versioning | None = None, tags: Mapping[str, str] | None = None
    ) -> None:
        """Replace what is given."""
        ...

    async def delete_bucket(self, name: str) -> None:
        """InUse while there is any version of any object in it."""
        ...

    async def put(
        self,
        bucket: str,
        key: str,
        source: Source,
        *,
        attributes: Attributes = ...,
        algorithms: Sequence[str] = (),
        expected: Mapping[str, str] = ...,
        condition: Condition = ALWAYS,
        limit_bytes: int = MAX_PUT_BYTES,
    ) -> ObjectInfo:
        """Write an object. `algorithms` are kept with it; `expected` (base64 by algorithm, or MD5) is checked.

        InvalidKey; ChecksumMismatch; TooLarge; PreconditionFailed.
        """
        ...

    async def copy(
        self,
        source: ObjectReader,
        bucket: str,
        key: str,
        *,
        attributes: Attributes,
        algorithms: Sequence[str] = (),
        condition: Condition = ALWAYS,
    ) -> ObjectInfo:
        """Write what `source` has opened under another name, without moving bytes. Closes `source`."""
        ...

    async def head(self, bucket: str, key: str, version_id: str = "") -> ObjectInfo:
        """NotFound("object" | "version"); Hidden."""
        ...

    async def open(self, bucket: str, key: str, version_id: str = "") -> ObjectReader:
        """NotFound("object" | "version"); Hidden."""
        ...

    async def delete(self, bucket: str, key: str, version_id: str = "", *, condition: Condition = ALWAYS) -> Removal:
        """Delete a version for good; or without `version_id` the object, kept below a delete marker where the bucket
        keeps versions. What does not exist is no error. PreconditionFailed.
        """
        ...

    async def delete_many(
        self, bucket: str, items: Sequence[tuple[str, str, Condition]]
    ) -> Sequence[Removal | RequestError]:
        """`delete` for each (key, version id, condition); a refusal stands in its place."""
        ...

    async def set_tags(self, bucket: str, key: str, tags: Mapping[str, str], version_id: str = "") -> str:
        """Replace an object's tags; returns its version id. Errors as `head`."""
        ...

    async def list_objects(
        self, bucket: str, *, prefix: str = "", delimiter: str = "", after: str = "", limit: int = 1000
    ) -> Page:
        """The objects whose keys are above `after`, in byte order, those with `delimiter` after `prefix` rolled up."""
        ...

    async def list_versions(
        self,
        bucket: str,
        *,
        prefix: str = "",
        delimiter: str = "",
        after: str = "",
        after_version: str = "",
        limit: int = 1000,
    ) -> Page:
        """The same with every version and delete marker, newest first."""
        ...

    async def create_upload(
        self, bucket: str, key: str, *, attributes: Attributes = ..., algorithm: str = "", checksum_type: str = ""
    ) -> Upload:
        """Begin a multipart upload."""
        ...

    async def get_upload(self, bucket: str, key: str, upload_id: str) -> Upload:
        """NotFound("upload")."""
        ...

    async def put_part(
        self,
        upload: Upload,
        number: int,
        source: Source,
        *,
        algorithms: Sequence[str] = (),
        expected: Mapping[str, str] = ...,
    ) -> Part:
        """Write one part; another with its number is replaced. ChecksumMismatch; TooLarge; NotFound("upload")."""
        ...

    async def copy_part(
        self, upload: Upload, number: int, source: ObjectReader, start: int = 0, stop: int | None = None
    ) -> Part:
        """Make a part of what `source` has opened, without moving bytes. Closes `source`."""
        ...

    async def list_parts(
        self, bucket: str, key: str, upload_id: str, *, after: int = 0, limit: int = 1000
    ) -> tuple[Upload, Sequence[Part], bool]:
        """Parts with numbers over `after`, and whether there are more. NotFound("upload")."""
        ...

    async def complete_upload(self, bucket: str, key: str, upload_id: str, completion: Completion) -> ObjectInfo:
        """Make the object. Asking again after it was made answers the same.

        NotFound("upload"); InvalidPart; PartTooSmall; ChecksumMismatch; PreconditionFailed.
        """
        ...

    async def abort_upload(self, bucket: str, key: str, upload_id: str) -> None:
        """NotFound("upload")."""
        ...

    async def list_uploads(
        self,
        bucket: str,
        *,
        prefix: str = "",
        delimiter: str = "",
        after: str = "",
        after_upload: str = "",
        limit: int = 1000,
    ) -> UploadPage:
        """Uploads under way."""
        ...
