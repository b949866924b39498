"""Listings: pages of objects, versions and uploads, with keys below a delimiter rolled up.

One rule makes all of S3's markers work: what is listed (a key, or a common prefix) is greater than the marker. A
common prefix costs one seek, however many keys it stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from trimtab.objects import schema
from trimtab.objects.index import Index, as_info, find_bucket
from trimtab.objects.model import ObjectInfo, Page, Upload, UploadPage

_upload = msgspec.msgpack.Decoder(Upload).decode


Position = tuple[bytes, int | None]  # after this key's row number; None: at the key, from its first row
_FEW, _MANY = 8, 1024
Fetch = Callable[[Position, int], Sequence[Any]]  # up to n rows in order; each has `key` and `document`


class Rows:
    """A page under way: rows, and the common prefixes, in the order of their bytes."""

    def __init__(self, fetch: Fetch, place: Callable[[Any], int], prefix: bytes, delimiter: bytes) -> None:
        self._fetch = fetch
        self._place = place
        self._prefix = prefix
        self._delimiter = delimiter
        self.rows: list[Any] = []
        self.prefixes: list[bytes] = []
        self.last: Any = None  # what was listed last: a row or a common prefix

    def fill(self, start: Position, limit: int) -> bool:
        """Collect up to `limit` rows and prefixes from `start`; say whether there are more."""
        position = self._first(start)
        fewest = _FEW if self._delimiter else _MANY
        ask = fewest
        while True:
            room = limit - len(self.rows) - len(self.prefixes)
            count = min(room + 1, ask)
            batch = self._fetch(position, count)
            for row in batch:
                if not row.key.startswith(self._prefix):
                    return False
                if room == 0:
                    return True
                room -= 1
                common = self._common(row.key)
                if common is not None:
                    self.prefixes.append(common)
                    self.last = common
                    position = (after_prefix(common), None)
                    ask = fewest  # the next prefix is probably near: read little before the seek
                    break
                self.rows.append(row)
                self.last = row
                position = (row.key, self._place(row))
            else:
                if len(batch) < count:
                    return False
                ask = min(ask * 8, _MANY)

    def _first(self, start: Position) -> Position:
        common = self._common(start[0]) if start[0].startswith(self._prefix) else None
        if common is not None:
            return after_prefix(common), None
        return max(start, (self._prefix, None), key=lambda position: position[0])

    def _common(self, key: bytes) -> bytes | None:
        if not self._delimiter:
            return None
        at = key.find(self._delimiter, len(self._prefix))
        return None if at < 0 else key[: at + len(self._delimiter)]


def after_prefix(prefix: bytes) -> bytes:
    """The least key above all that begin with `prefix`, which is not empty. UTF-8 has no byte 0xFF to carry over."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


class Listings:
    """Pages of what the index holds."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def objects(self, bucket: str, *, prefix: str, delimiter: str, after: str, limit: int) -> Page:
        """The latest versions, delete markers left out. NotFound("bucket")."""
        column = schema.objects.c
        base = sa.select(column.key, column.document).where(
            column.bucket == bucket, column.latest.is_(True), column.marker.is_(False)
        )
        with self._index.look() as connection:
            find_bucket(connection, bucket)

            def fetch(position: Position, count: int) -> Sequence[Any]:
                key, row = position
                query = base.where(column.key >= key if row is None else column.key > key)
                return connection.execute(query.order_by(column.key).limit(count)).all()

            page = Rows(fetch, lambda _: 0, prefix.encode(), delimiter.encode())
            more = limit > 0 and page.fill((after.encode(), 0 if after else None), limit)
        return Page(
            objects=[as_info(row.document, latest=True) for row in page.rows],
            prefixes=[common.decode() for common in page.prefixes],
            next_after=_name(page.last) if more else "",
            is_truncated=more,
        )

    def versions(self, bucket: str, *, prefix: str, delimiter: str, after: str, after_version: str, limit: int) -> Page:
        """All versions and delete markers, newest first within a key. NotFound("bucket")."""
        column = schema.objects.c
        base = sa.select(column.id, column.key, column.document, column.latest).where(column.bucket == bucket)
        with self._index.look() as connection:
            find_bucket(connection, bucket)
            start = _version_start(connection, bucket, after, after_version)

            def fetch(position: Position, count: int) -> Sequence[Any]:
                key, row = position
                if row is None:
                    query = base.where(column.key >= key)
                else:
                    query = base.where(sa.or_(column.key > key, sa.and_(column.key == key, column.id < row)))
                return connection.execute(query.order_by(column.key, column.id.desc()).limit(count)).all()

            page = Rows(fetch, lambda row: row.id, prefix.encode(), delimiter.encode())
            more = limit > 0 and page.fill(start, limit)
        found: list[ObjectInfo] = [as_info(row.document, latest=row.latest) for row in page.rows]
        ends_in_version = more and not isinstance(page.last, bytes)
        return Page(
            objects=found,
            prefixes=[common.decode() for common in page.prefixes],
            next_after=_name(page.last) if more else "",
            next_version_id=found[-1].version_id if ends_in_version else "",
            is_truncated=more,
        )

    def uploads(
        self, bucket: str, *, prefix: str, delimiter: str, after: str, after_upload: str, limit: int
    ) -> UploadPage:
        """Uploads under way, oldest first within a key. NotFound("bucket")."""
        column = schema.uploads.c
        base = sa.select(column.number, column.key, column.document).where(column.bucket == bucket)
        with self._index.look() as connection:
            find_bucket(connection, bucket)
            start: Position = (after.encode(), None)
            if after:
                known = sa.select(column.number).where(column.bucket == bucket, column.id == after_upload)
                start = (after.encode(), connection.scalar(known) if after_upload else _NO_MORE)

            def fetch(position: Position, count: int) -> Sequence[Any]:
                key, row = position
                if row is None:
                    query = base.where(column.key >= key)
                else:
                    query = base.where(sa.or_(column.key > key, sa.and_(column.key == key, column.number > row)))
                return connection.execute(query.order_by(column.key, column.number).limit(count)).all()

            page = Rows(fetch, lambda row: row.number, prefix.encode(), delimiter.encode())
            more = limit > 0 and page.fill(start, limit)
        found = [_upload(row.document) for row in page.rows]
        return UploadPage(
            uploads=found,
            prefixes=[common.decode() for common in page.prefixes],
            next_key=_name(page.last) if more else "",
            next_upload_id=found[-1].id if more and not isinstance(page.last, bytes) else "",
            is_truncated=more,
        )


_NO_MORE = 2**62  # above every row number


def _version_start(connection: sa.Connection, bucket: str, after: str, after_version: str) -> Position:
    key = after.encode()
    if not after:
        return key, None
    column = schema.objects.c
    known = sa.select(column.id).where(column.bucket == bucket, column.key == key, column.version == after_version)
    return key, (connection.scalar(known) or 0) if after_version else 0


def _name(last: Any) -> str:
    name: bytes = last if isinstance(last, bytes) else last.key
    return name.decode()
