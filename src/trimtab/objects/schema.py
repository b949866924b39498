"""The tables of the index, and its two doors: one that writes, one at a time, and one that reads beside it.

Keys are kept as bytes, so that SQLite sorts and compares them as S3 does: by their UTF-8, zero bytes included.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from trimtab.errors import Invalid

FORMAT = 1

metadata = sa.MetaData()

buckets = sa.Table(
    "buckets",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("document", sa.LargeBinary, nullable=False),  # msgpack of model.Bucket
)

# One row per version. `id` grows with time: of two versions of a key, the one with the larger id is the newer.
objects = sa.Table(
    "objects",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("bucket", sa.Text, nullable=False),
    sa.Column("key", sa.LargeBinary, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("latest", sa.Boolean, nullable=False),
    sa.Column("marker", sa.Boolean, nullable=False),
    sa.Column("document", sa.LargeBinary, nullable=False),  # msgpack of model.ObjectInfo
    sa.Column("layout", sa.LargeBinary, nullable=False),  # msgpack of model.Layout
    sa.UniqueConstraint("bucket", "key", "version"),
    sqlite_autoincrement=True,
)
sa.Index("objects_latest", objects.c.bucket, objects.c.key, unique=True, sqlite_where=objects.c.latest.is_(True))
sa.Index("objects_by_age", objects.c.bucket, objects.c.key, objects.c.id.desc())

uploads = sa.Table(
    "uploads",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("bucket", sa.Text, nullable=False),
    sa.Column("key", sa.LargeBinary, nullable=False),
    sa.Column("document", sa.LargeBinary, nullable=False),  # msgpack of model.Upload
)
sa.Index("uploads_by_key", uploads.c.bucket, uploads.c.key, uploads.c.number)

parts = sa.Table(
    "parts",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("upload", sa.Text, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("document", sa.LargeBinary, nullable=False),  # msgpack of model.Part
    sa.Column("layout", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("upload", "number"),
    sqlite_autoincrement=True,
)

# Which blobs are needed, and by whom: `o12` is row 12 of objects, `p12` of parts.
references = sa.Table(
    "blob_references",
    metadata,
    sa.Column("blob", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, primary_key=True),
)
sa.Index("references_by_owner", references.c.owner)

# Blobs that nobody needs any more. `claimed`: being removed; no copy may take it back.
garbage = sa.Table(
    "garbage",
    metadata,
    sa.Column("blob", sa.Text, primary_key=True),
    sa.Column("claimed", sa.Boolean, nullable=False),
)

# Folders of blobs that are, or were when the process was killed, being written to: see `reaper.py`.
generations = sa.Table("generations", metadata, sa.Column("name", sa.Text, primary_key=True))


def open_writer(path: Path) -> sa.Engine:
    """The door for changes: every transaction takes SQLite's write lock when it begins. Makes the tables.

    Raises Invalid when the file was written by another version of trimtab.
    """
    engine = _engine(path)
    event.listen(engine, "begin", _begin_immediate)
    with engine.begin() as connection:
        found = connection.exec_driver_sql("PRAGMA user_version").scalar()
        if found not in (0, FORMAT):
            raise Invalid(
                f"{path} has format {found}, and this trimtab reads format {FORMAT}. "
                "Start the trimtab that wrote it, or another data directory."
            )
        if not found:
            metadata.create_all(connection)
            connection.exec_driver_sql(f"PRAGMA user_version = {FORMAT}")
    return engine


def open_reader(path: Path) -> sa.Engine:
    """The door for look-ups: they see the last committed state and wait for nobody."""
    engine = _engine(path)
    event.listen(engine, "begin", _begin)
    return engine


def _engine(path: Path) -> sa.Engine:
    engine = sa.create_engine(f"sqlite:///{path}", connect_args={"check_same_thread": False})
    event.listen(engine, "connect", _configure)
    return engine


def _configure(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun by the listeners here, not by the driver
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "busy_timeout = 10000", "cache_size = -8192"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_immediate(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN")
