"""From an older schema to this one, a step at a time, inside one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy import Connection, insert, inspect, select, update

from trimtab.errors import Invalid
from trimtab.store import schema


def _alarms(connection: Connection) -> None:
    """1 -> 2: alarms and their history."""
    schema.metadata.create_all(connection, tables=[schema.alarms, schema.alarm_history])


def _scaling(connection: Connection) -> None:
    """2 -> 3: autoscaling."""
    schema.metadata.create_all(connection, tables=schema.SCALING)


def _hosting(connection: Connection) -> None:
    """3 -> 4: settings of models of multi-model endpoints."""
    schema.metadata.create_all(connection, tables=[schema.model_settings])


# MIGRATIONS[n] turns schema n into schema n + 1. Steps are never edited after a release; they are added to.
MIGRATIONS: Mapping[int, Callable[[Connection], None]] = {1: _alarms, 2: _scaling, 3: _hosting}


def migrate(
    connection: Connection,
    *,
    steps: Mapping[int, Callable[[Connection], None]] = MIGRATIONS,
    target: int = schema.SCHEMA_VERSION,
) -> None:
    """Bring the database to schema `target`: make it when it is empty, step it up when it is older.

    Invalid when a newer trimtab made it: nothing is touched then.
    """
    if not inspect(connection).has_table(schema.schema.name):
        schema.metadata.create_all(connection)
        connection.execute(insert(schema.schema).values(id=1, version=target))
        return
    found = connection.execute(select(schema.schema.c.version)).scalar_one()
    if found > target:
        raise Invalid(
            f"The database has schema {found}, made by a newer trimtab; this one knows schema {target}. "
            "Upgrade trimtab, or use another data directory (--data-dir)."
        )
    for version in range(found, target):
        steps[version](connection)
    if found != target:
        connection.execute(update(schema.schema).values(version=target))
