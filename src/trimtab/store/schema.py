"""Tables of schema version 2. Values are MessagePack of the structs in `resources`; columns are what is searched by."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, String, Table, Text

SCHEMA_VERSION = 2

metadata = MetaData()

# One row: which schema the tables have. Read before anything else.
schema = Table(
    "trimtab_schema",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("version", Integer, nullable=False),
)


def _noun(table: str, *more: Column[object]) -> Table:
    return Table(
        table,
        metadata,
        Column("key", String(255), primary_key=True),  # the name, case-folded
        *more,
        Column("value", LargeBinary, nullable=False),
    )


models = _noun("models")
configs = _noun("endpoint_configs")
endpoints = _noun("endpoints", Column("revision", BigInteger, nullable=False))

tags = Table(
    "tags",
    metadata,
    Column("kind", String(32), primary_key=True),
    Column("owner", String(255), primary_key=True),  # key of the tagged resource
    Column("key", String(255), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("value", Text, nullable=False),
)

events = Table(
    "events",
    metadata,
    # SQLite numbers rows only in an INTEGER column; elsewhere it is a bigint.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("endpoint", String(255), nullable=False),
    Column("value", LargeBinary, nullable=False),
    Index("events_by_endpoint", "endpoint", "id"),
    sqlite_autoincrement=True,
)

# Since schema 2. An alarm's name keeps its case; its history outlives it.
alarms = Table(
    "alarms",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

alarm_history = Table(
    "alarm_history",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("alarm", String(255), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("value", LargeBinary, nullable=False),
    Index("alarm_history_by_alarm", "alarm", "id"),
    Index("alarm_history_by_time", "at_ms"),
    sqlite_autoincrement=True,
)
