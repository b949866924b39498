"""Tables of schema version 4. Values are MessagePack of the structs in `resources`; columns are what is searched by."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, String, Table, Text

SCHEMA_VERSION = 4

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

# Since schema 3. Autoscaling: `endpoint` and `variant` are case-folded; names of policies and actions keep their case.
_TARGET = ("endpoint", "variant", "dimension")


def _of_target(table: str, *more: str) -> Table:
    keys: list[Column[Any]] = [Column(name, String(255), primary_key=True) for name in (*_TARGET, *more)]
    return Table(table, metadata, *keys, Column("value", LargeBinary, nullable=False))


scaling_targets = _of_target("scaling_targets")
scaling_policies = _of_target("scaling_policies", "name")
scaling_actions = _of_target("scaling_actions", "name")

scaling_states = Table(
    "scaling_states",
    metadata,
    Column("endpoint", String(255), primary_key=True),
    Column("variant", String(255), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

scaling_activities = Table(
    "scaling_activities",
    metadata,
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("id", String(255), nullable=False, unique=True),
    Column("endpoint", String(255), nullable=False),
    Column("variant", String(255), nullable=False),
    Column("start_ms", BigInteger, nullable=False),
    Column("value", LargeBinary, nullable=False),
    Index("scaling_activities_by_variant", "endpoint", "variant", "position"),
    Index("scaling_activities_by_time", "start_ms"),
    sqlite_autoincrement=True,
)

SCALING = (scaling_targets, scaling_policies, scaling_actions, scaling_states, scaling_activities)

# Since schema 4. Settings of models of multi-model endpoints: `endpoint` is case-folded, `model` is the key in UTF-8.
model_settings = Table(
    "model_settings",
    metadata,
    Column("endpoint", String(255), primary_key=True),
    Column("model", LargeBinary(1024), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
