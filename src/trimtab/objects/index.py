"""The index: which buckets and objects there are. Every public method is one transaction, synchronous and short.

Writers run on one thread (`indexed.py` sees to that); look-ups may run beside them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert as upsert

from trimtab.errors import AlreadyExists, InUse, NotFound, RequestError
from trimtab.objects import schema
from trimtab.objects.model import (
    ALWAYS,
    NULL_VERSION,
    Bucket,
    Condition,
    Hidden,
    Layout,
    ObjectInfo,
    PreconditionFailed,
    Removal,
    StorageFull,
    Versioning,
)
from trimtab.objects.names import check_bucket_name, check_key
from trimtab.objects.reserve import Reserve

T = TypeVar("T")
pack = msgspec.msgpack.Encoder().encode
_bucket = msgspec.msgpack.Decoder(Bucket).decode
_info = msgspec.msgpack.Decoder(ObjectInfo).decode
_layout = msgspec.msgpack.Decoder(Layout).decode

_objects = schema.objects.c


class Found(NamedTuple):
    """A version that was found, and the row that it was found in."""

    row: int
    info: ObjectInfo
    layout: Layout


class Index:
    """Buckets and objects. `uploads.Uploads` and `reaper.Reaper` share its doors."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer = schema.open_writer(path)
        self._reader = schema.open_reader(path)
        self._reserve = Reserve(path.with_name("reserve"))
        self._reserve.fill()

    def close(self) -> None:
        """Let go of the file."""
        self._reader.dispose()
        self._writer.dispose()

    @contextmanager
    def change(self) -> Iterator[sa.Connection]:
        """A transaction that writes. Raises StorageFull when the disk has no room for it."""
        self.require_room()
        with self._transaction() as connection:
            yield connection

    def free(self, function: Callable[[sa.Connection], T]) -> T:
        """A transaction that makes room: it may have what is kept back for it when the disk is full."""
        try:
            with self._transaction() as connection:
                return function(connection)
        except StorageFull:
            if not self._reserve.spend():
                raise
        with self._transaction() as connection:
            return function(connection)

    def require_room(self) -> None:
        """Raise StorageFull when not even the room that deletes need is left."""
        if not self._reserve.fill():
            raise StorageFull(str(self._path.parent))

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        try:
            with self._writer.begin() as connection:
                yield connection
        except sa.exc.OperationalError as error:
            if "full" in str(error.orig) or "disk I/O error" in str(error.orig):
                raise StorageFull(str(self._path)) from error
            raise

    @contextmanager
    def look(self) -> Iterator[sa.Connection]:
        """A transaction that reads."""
        with self._reader.begin() as connection:
            yield connection

    # Buckets

    def create_bucket(self, bucket: Bucket) -> None:
        """InvalidBucketName; AlreadyExists."""
        check_bucket_name(bucket.name)
        with self.change() as connection:
            added = connection.execute(
                upsert(schema.buckets).values(name=bucket.name, document=pack(bucket)).on_conflict_do_nothing()
            )
            if added.rowcount == 0:
                raise AlreadyExists("bucket", bucket.name)

    def list_buckets(self) -> list[Bucket]:
        """All, by name."""
        with self.look() as connection:
            query = sa.select(schema.buckets.c.document).order_by(schema.buckets.c.name)
            return [_bucket(document) for document in connection.scalars(query)]

    def get_bucket(self, name: str) -> Bucket:
        """NotFound("bucket")."""
        with self.look() as connection:
            return find_bucket(connection, name)

    def change_bucket(
        self, name: str, *, versioning: Versioning | None = None, tags: Mapping[str, str] | None = None
    ) -> None:
        """Replace what is given. NotFound("bucket")."""
        with self.change() as connection:
            bucket = find_bucket(connection, name)
            if versioning is not None:
                bucket = msgspec.structs.replace(bucket, versioning=versioning)
            if tags is not None:
                bucket = msgspec.structs.replace(bucket, tags=dict(tags))
            connection.execute(
                schema.buckets.update().where(schema.buckets.c.name == name).values(document=pack(bucket))
            )

    def delete_bucket(self, name: str) -> None:
        """With the uploads under way in it. NotFound("bucket"); InUse while it holds any version of anything."""
        self.free(lambda connection: remove_bucket(connection, name))

    # Objects

    def find(self, bucket: str, key: str, version_id: str = "") -> Found:
        """One version, or the latest. NotFound("bucket" | "object" | "version"); Hidden for a delete marker."""
        encoded = check_key(key)
        query = sa.select(_objects.id, _objects.document, _objects.layout, _objects.latest, _objects.marker)
        query = query.where(_objects.bucket == bucket, _objects.key == encoded)
        query = query.where(_objects.version == version_id if version_id else _objects.latest.is_(True))
        with self.look() as connection:
            row = connection.execute(query).first()
            if row is None:
                find_bucket(connection, bucket)
                raise NotFound("version" if version_id else "object", version_id or key)
        info = as_info(row.document, latest=row.latest)
        if row.marker:
            raise Hidden(key, info.version_id, asked=bool(version_id))
        return Found(row.id, info, _layout(row.layout))

    def is_there(self, row: int) -> bool:
        """Whether what `find` found is there still."""
        with self.look() as connection:
            return connection.scalar(sa.select(_objects.id).where(_objects.id == row)) is not None

    def put(self, info: ObjectInfo, layout: Layout, condition: Condition = ALWAYS) -> ObjectInfo:
        """Make an object visible. Returns it with its version id. NotFound("bucket"); PreconditionFailed."""
        with self.change() as connection:
            return add_version(connection, info, layout, condition)

    def remove(self, bucket: str, key: str, version_id: str, condition: Condition, now_s: float) -> Removal:
        """Delete a version for good, or hide the object. What does not exist is no error. NotFound("bucket")."""
        return self.free(lambda connection: remove_version(connection, bucket, key, version_id, condition, now_s))

    def remove_many(
        self, bucket: str, items: Sequence[tuple[str, str, Condition]], now_s: float
    ) -> list[Removal | RequestError]:
        """`remove` for each (key, version id, condition), in one transaction; a refusal stands in its place."""

        def remove_all(connection: sa.Connection) -> list[Removal | RequestError]:
            find_bucket(connection, bucket)
            results: list[Removal | RequestError] = []
            for key, version_id, condition in items:
                try:
                    results.append(remove_version(connection, bucket, key, version_id, condition, now_s))
                except RequestError as refusal:
                    results.append(refusal)
            return results

        return self.free(remove_all)

    def set_tags(self, bucket: str, key: str, version_id: str, tags: Mapping[str, str]) -> str:
        """Replace an object's tags; returns its version id. Errors as `find`."""
        found = self.find(bucket, key, version_id)
        attributes = msgspec.structs.replace(found.info.attributes, tags=dict(tags))
        document = pack(msgspec.structs.replace(found.info, attributes=attributes))
        with self.change() as connection:
            where = _objects.id == found.row
            if connection.execute(schema.objects.update().where(where).values(document=document)).rowcount == 0:
                raise NotFound("object", key)
        return found.info.version_id


def as_info(document: bytes, *, latest: bool) -> ObjectInfo:
    """The object of a row."""
    info = _info(document)
    return info if info.is_latest == latest else msgspec.structs.replace(info, is_latest=latest)


def find_bucket(connection: sa.Connection, name: str) -> Bucket:
    """NotFound("bucket")."""
    document = connection.scalar(sa.select(schema.buckets.c.document).where(schema.buckets.c.name == name))
    if document is None:
        raise NotFound("bucket", name)
    return _bucket(document)


def remove_bucket(connection: sa.Connection, name: str) -> None:
    """See Index.delete_bucket."""
    find_bucket(connection, name)
    if connection.scalar(sa.select(_objects.id).where(_objects.bucket == name).limit(1)) is not None:
        raise InUse("bucket", name, "The bucket you tried to delete is not empty. Delete its objects first.")
    part = schema.parts.c
    mine = sa.select(schema.uploads.c.id).where(schema.uploads.c.bucket == name)
    owners = connection.scalars(sa.select(part.id).where(part.upload.in_(mine))).all()
    connection.execute(schema.parts.delete().where(part.upload.in_(mine)))
    connection.execute(schema.uploads.delete().where(schema.uploads.c.bucket == name))
    forget(connection, (f"p{owner}" for owner in owners))
    connection.execute(schema.buckets.delete().where(schema.buckets.c.name == name))


def add_version(connection: sa.Connection, info: ObjectInfo, layout: Layout, condition: Condition) -> ObjectInfo:
    """The new latest version of a key; without versioning it replaces what was there."""
    bucket = find_bucket(connection, info.bucket)
    key = check_key(info.key)
    _require(condition, info.key, _latest(connection, info.bucket, key))
    keep = bucket.versioning is Versioning.ENABLED
    info = msgspec.structs.replace(info, version_id=uuid.uuid4().hex if keep else NULL_VERSION)
    if not keep:
        _drop(connection, info.bucket, key, NULL_VERSION)
    here = (_objects.bucket == info.bucket) & (_objects.key == key) & _objects.latest.is_(True)
    connection.execute(schema.objects.update().where(here).values(latest=False))
    row = connection.execute(
        schema.objects.insert().values(
            bucket=info.bucket,
            key=key,
            version=info.version_id,
            latest=True,
            marker=info.is_delete_marker,
            document=pack(info),
            layout=pack(layout),
        )
    )
    assert row.inserted_primary_key is not None
    refer(connection, f"o{row.inserted_primary_key[0]}", layout)
    return info


def remove_version(
    connection: sa.Connection, bucket: str, key: str, version_id: str, condition: Condition, now_s: float
) -> Removal:
    """See Index.remove."""
    versioning = find_bucket(connection, bucket).versioning
    encoded = check_key(key)
    latest = _latest(connection, bucket, encoded)
    if condition != ALWAYS:
        _require(condition, key, latest)
    if version_id or versioning is Versioning.NEVER:
        found = _drop(connection, bucket, encoded, version_id or NULL_VERSION)
        _promote(connection, bucket, encoded)
        return Removal(version_id=version_id, is_delete_marker=bool(version_id and found and found.is_delete_marker))
    marker = ObjectInfo(bucket=bucket, key=key, modified_s=now_s, is_delete_marker=True)
    marker = add_version(connection, marker, Layout(), ALWAYS)
    return Removal(version_id=marker.version_id, is_delete_marker=True)


def refer(connection: sa.Connection, owner: str, layout: Layout) -> None:
    """Note that `owner` needs its blobs; one that was about to be removed is not any more."""
    blobs = sorted({segment.blob for segment in layout.segments if segment.blob})
    if not blobs:
        return
    connection.execute(schema.references.insert(), [{"blob": blob, "owner": owner} for blob in blobs])
    for some in _slices(blobs):
        connection.execute(schema.garbage.delete().where(schema.garbage.c.blob.in_(some)))


def forget(connection: sa.Connection, owners: Iterable[str]) -> None:
    """Note that `owners` are gone; blobs that nobody else needs become garbage."""
    reference = schema.references.c
    for some in _slices(list(owners)):
        blobs = connection.scalars(sa.select(reference.blob).distinct().where(reference.owner.in_(some))).all()
        connection.execute(schema.references.delete().where(reference.owner.in_(some)))
        for few in _slices(list(blobs)):
            needed = set(connection.scalars(sa.select(reference.blob).where(reference.blob.in_(few))))
            discard(connection, (blob for blob in few if blob not in needed))


def discard(connection: sa.Connection, blobs: Iterable[str]) -> None:
    """Blobs that nobody refers to: to be removed."""
    rows = [{"blob": blob, "claimed": False} for blob in blobs]
    if rows:
        connection.execute(upsert(schema.garbage).on_conflict_do_nothing(), rows)


def _latest(connection: sa.Connection, bucket: str, key: bytes) -> ObjectInfo | None:
    query = sa.select(_objects.document).where(
        _objects.bucket == bucket, _objects.key == key, _objects.latest.is_(True), _objects.marker.is_(False)
    )
    document = connection.scalar(query)
    return None if document is None else _info(document)


def _require(condition: Condition, key: str, latest: ObjectInfo | None) -> None:
    if condition.absent and latest is not None:
        raise PreconditionFailed(f"There is already an object {key!r}.")
    if not condition.etag:
        return
    if latest is None:
        raise NotFound("object", key)
    if condition.etag not in ("*", latest.etag):
        raise PreconditionFailed(f"The object {key!r} has the ETag {latest.etag!r}, not {condition.etag!r}.")


def _drop(connection: sa.Connection, bucket: str, key: bytes, version_id: str) -> ObjectInfo | None:
    where = (_objects.bucket == bucket) & (_objects.key == key) & (_objects.version == version_id)
    row = connection.execute(sa.select(_objects.id, _objects.document).where(where)).first()
    if row is None:
        return None
    connection.execute(schema.objects.delete().where(_objects.id == row.id))
    forget(connection, [f"o{row.id}"])
    return _info(row.document)


def _promote(connection: sa.Connection, bucket: str, key: bytes) -> None:
    """After a version went: the newest that is left is the latest."""
    mine = (_objects.bucket == bucket) & (_objects.key == key)
    newest = connection.execute(
        sa.select(_objects.id, _objects.latest).where(mine).order_by(_objects.id.desc()).limit(1)
    ).first()
    if newest is not None and not newest.latest:
        connection.execute(schema.objects.update().where(_objects.id == newest.id).values(latest=True))


def _slices(items: list[str], size: int = 500) -> Iterator[list[str]]:
    """SQLite binds a limited number of values in one statement."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
