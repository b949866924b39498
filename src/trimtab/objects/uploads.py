"""Multipart uploads in the index. Completing one moves no bytes: the object is its parts' blobs in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from trimtab.errors import Invalid, NotFound
from trimtab.objects import checksums, schema
from trimtab.objects.index import Index, add_version, as_info, find_bucket, forget, pack, refer
from trimtab.objects.model import (
    ChecksumMismatch,
    Condition,
    InvalidPart,
    Layout,
    ObjectInfo,
    Part,
    PartTooSmall,
    Segment,
    Upload,
)
from trimtab.objects.names import check_key

MIN_PART_BYTES = 5 * 2**20  # every part but the last (S3 User Guide, "multipart upload limits")

_upload = msgspec.msgpack.Decoder(Upload).decode
_part = msgspec.msgpack.Decoder(Part).decode
_layout = msgspec.msgpack.Decoder(Layout).decode


class AskedPart(msgspec.Struct, frozen=True, kw_only=True):
    """A part that the caller says the object consists of."""

    number: int
    etag: str
    checksums: dict[str, str] = {}


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """What completes an upload. `checksums` of the whole and `size_bytes` are checked where given."""

    parts: tuple[AskedPart, ...]
    checksums: dict[str, str] = {}
    size_bytes: int | None = None
    condition: Condition = Condition()


class Uploads:
    """Uploads under way and their parts."""

    def __init__(self, index: Index, *, min_part_bytes: int = MIN_PART_BYTES) -> None:
        self._index = index
        self._min_part_bytes = min_part_bytes

    def create(self, upload: Upload) -> None:
        """Begin. NotFound("bucket"); InvalidKey."""
        key = check_key(upload.key)
        with self._index.change() as connection:
            find_bucket(connection, upload.bucket)
            row = {"id": upload.id, "bucket": upload.bucket, "key": key, "document": pack(upload)}
            connection.execute(schema.uploads.insert().values(row))

    def find(self, bucket: str, key: str, upload_id: str) -> Upload:
        """NotFound("bucket" | "upload")."""
        with self._index.look() as connection:
            return _find(connection, bucket, key, upload_id)

    def put_part(self, bucket: str, key: str, upload_id: str, part: Part, layout: Layout) -> None:
        """Add a part, or put another in the place of the one with its number. NotFound("upload")."""
        with self._index.change() as connection:
            _find(connection, bucket, key, upload_id)
            column = schema.parts.c
            same = (column.upload == upload_id) & (column.number == part.number)
            old = connection.scalar(sa.select(column.id).where(same))
            if old is not None:
                connection.execute(schema.parts.delete().where(column.id == old))
            values = {"upload": upload_id, "number": part.number, "document": pack(part), "layout": pack(layout)}
            row = connection.execute(schema.parts.insert().values(values))
            assert row.inserted_primary_key is not None
            refer(connection, f"p{row.inserted_primary_key[0]}", layout)
            if old is not None:
                forget(connection, [f"p{old}"])

    def list_parts(
        self, bucket: str, key: str, upload_id: str, *, after: int, limit: int
    ) -> tuple[Upload, list[Part], bool]:
        """Up to `limit` parts with numbers over `after`, and whether there are more. NotFound("upload")."""
        with self._index.look() as connection:
            upload = _find(connection, bucket, key, upload_id)
            column = schema.parts.c
            query = sa.select(column.document).where(column.upload == upload_id, column.number > after)
            found = [_part(d) for d in connection.scalars(query.order_by(column.number).limit(limit + 1))]
        return upload, found[:limit], len(found) > limit

    def complete(self, bucket: str, key: str, upload_id: str, completion: Completion, now_s: float) -> ObjectInfo:
        """Make the object of the named parts; the others are thrown away. Twice is the same as once.

        NotFound("bucket" | "upload"); InvalidPart; PartTooSmall; ChecksumMismatch; PreconditionFailed; Invalid.
        """
        with self._index.change() as connection:
            try:
                upload = _find(connection, bucket, key, upload_id)
            except NotFound:
                if (done := _completed(connection, bucket, key, upload_id)) is not None:
                    return done
                raise
            rows = self._rows(connection, upload_id)
            chosen = [_match(rows, asked) for asked in completion.parts]
            parts = [part for _, part, _ in chosen]
            self._check_sizes(parts, completion.size_bytes)
            sums, checksum_type = _whole_checksums(upload, parts, completion)
            info = ObjectInfo(
                bucket=bucket,
                key=key,
                etag=checksums.combined_etag(parts),
                size_bytes=sum(part.size_bytes for part in parts),
                modified_s=now_s,
                attributes=upload.attributes,
                checksums=sums,
                checksum_type=checksum_type,
                parts_count=len(parts),
                upload_id=upload_id,
            )
            segments: list[Segment] = [segment for _, _, layout in chosen for segment in layout.segments]
            info = add_version(connection, info, Layout(segments=segments, parts=parts), completion.condition)
            _remove(connection, upload_id)
            return info

    def abort(self, bucket: str, key: str, upload_id: str) -> None:
        """Throw the upload and its parts away. NotFound("bucket" | "upload")."""

        def end(connection: sa.Connection) -> None:
            _find(connection, bucket, key, upload_id)
            _remove(connection, upload_id)

        self._index.free(end)

    def _rows(self, connection: sa.Connection, upload_id: str) -> dict[int, tuple[int, Part, Layout]]:
        column = schema.parts.c
        query = sa.select(column.id, column.number, column.document, column.layout).where(column.upload == upload_id)
        return {row.number: (row.id, _part(row.document), _layout(row.layout)) for row in connection.execute(query)}

    def _check_sizes(self, parts: Sequence[Part], size_bytes: int | None) -> None:
        for part in parts[:-1]:
            if part.size_bytes < self._min_part_bytes:
                raise PartTooSmall(part, self._min_part_bytes)
        total = sum(part.size_bytes for part in parts)
        if size_bytes is not None and size_bytes != total:
            raise Invalid(f"The parts have {total} bytes together, and you said {size_bytes}.")


def _find(connection: sa.Connection, bucket: str, key: str, upload_id: str) -> Upload:
    column = schema.uploads.c
    where = (column.id == upload_id) & (column.bucket == bucket) & (column.key == check_key(key))
    document = connection.scalar(sa.select(column.document).where(where))
    if document is None:
        find_bucket(connection, bucket)
        raise NotFound("upload", upload_id)
    return _upload(document)


def _completed(connection: sa.Connection, bucket: str, key: str, upload_id: str) -> ObjectInfo | None:
    """The object that the upload became: whoever did not hear the answer asks again."""
    column = schema.objects.c
    query = sa.select(column.document).where(
        column.bucket == bucket, column.key == check_key(key), column.latest.is_(True), column.marker.is_(False)
    )
    document = connection.scalar(query)
    info = None if document is None else as_info(document, latest=True)
    return info if info is not None and info.upload_id == upload_id else None


def _match(rows: dict[int, tuple[int, Part, Layout]], asked: AskedPart) -> tuple[int, Part, Layout]:
    row: tuple[int, Part, Layout] | None = rows.get(asked.number)
    if row is None or row[1].etag != asked.etag:
        raise InvalidPart(
            f"Part {asked.number} was not uploaded, or its ETag is not {asked.etag!r}. Upload it again, and give the "
            "ETag of that answer."
        )
    for algorithm, said in asked.checksums.items():
        if row[1].checksums.get(algorithm, said) != said:
            raise InvalidPart(f"Part {asked.number} has another {algorithm} than you say.")
    return row


def _whole_checksums(upload: Upload, parts: Sequence[Part], completion: Completion) -> tuple[dict[str, str], str]:
    algorithm = upload.algorithm
    if not algorithm or any(algorithm not in part.checksums for part in parts):
        return {}, "FULL_OBJECT"
    if upload.checksum_type == "FULL_OBJECT":
        value = checksums.full_object(algorithm, parts)
        comparable = value
    else:
        value = checksums.composite(algorithm, parts)
        comparable = value.partition("-")[0]
    said = completion.checksums.get(algorithm)
    if said is not None and said not in (value, comparable):
        raise ChecksumMismatch(algorithm, said, value)
    return {algorithm: value}, upload.checksum_type or "COMPOSITE"


def _remove(connection: sa.Connection, upload_id: str) -> None:
    column = schema.parts.c
    owners: Sequence[Any] = connection.scalars(sa.select(column.id).where(column.upload == upload_id)).all()
    connection.execute(schema.parts.delete().where(column.upload == upload_id))
    connection.execute(schema.uploads.delete().where(schema.uploads.c.id == upload_id))
    forget(connection, (f"p{owner}" for owner in owners))
