"""Alarms and their history, durable: part of every Store."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Final, Protocol

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update

from trimtab.errors import NotFound
from trimtab.resources.alarm import HISTORY_KEPT_S, Alarm, HistoryItem
from trimtab.store import schema

HISTORY_KEPT: Final = 2000  # items per alarm; older ones make room, whatever their age
_encode = msgspec.msgpack.Encoder().encode


class AlarmStore(Protocol):
    """Each call is one transaction: all of it is durable when the call returns, or none of it is. Names keep their
    case."""

    def load(self) -> Sequence[Alarm]:
        """All, in no particular order."""
        ...

    def save(self, alarm: Alarm, history: Sequence[HistoryItem] = ()) -> None:
        """Add the alarm, or replace it, and add to its history."""
        ...

    def delete(self, history: Sequence[HistoryItem]) -> None:
        """Delete the alarms that `history` tells of; it stays. NotFound("alarm") when one is not there."""
        ...

    def add_history(self, items: Sequence[HistoryItem]) -> None:
        """Append; items older than two weeks, and more than `HISTORY_KEPT` of one alarm, are forgotten."""
        ...

    def history(
        self, alarm: str = "", *, beyond: int = 0, descending: bool = False, limit: int = 1000
    ) -> Sequence[HistoryItem]:
        """At most `limit` things that happened to `alarm` ("": to any), oldest or newest first, beyond the item with
        the id `beyond` (0: from the first)."""
        ...


class SqlAlarms:
    """An AlarmStore on SQLAlchemy Core, in the transactions of a SqlStore."""

    def __init__(
        self,
        write: _Transaction,
        read: _Transaction,
    ) -> None:
        self._write = write
        self._read = read

    def load(self) -> Sequence[Alarm]:
        """See AlarmStore."""
        decoder = msgspec.msgpack.Decoder(Alarm)
        with self._read() as connection:
            return [decoder.decode(value) for (value,) in connection.execute(select(schema.alarms.c.value))]

    def save(self, alarm: Alarm, history: Sequence[HistoryItem] = ()) -> None:
        """See AlarmStore."""
        table, value = schema.alarms, _encode(alarm)
        with self._write() as connection:
            written = connection.execute(update(table).where(table.c.name == alarm.name).values(value=value))
            if written.rowcount == 0:
                connection.execute(insert(table).values(name=alarm.name, value=value))
            _append(connection, history)

    def delete(self, history: Sequence[HistoryItem]) -> None:
        """See AlarmStore."""
        table = schema.alarms
        with self._write() as connection:
            for item in history:
                if connection.execute(delete(table).where(table.c.name == item.alarm)).rowcount != 1:
                    raise NotFound("alarm", item.alarm)
            _append(connection, history)

    def add_history(self, items: Sequence[HistoryItem]) -> None:
        """See AlarmStore."""
        with self._write() as connection:
            _append(connection, items)

    def history(
        self, alarm: str = "", *, beyond: int = 0, descending: bool = False, limit: int = 1000
    ) -> Sequence[HistoryItem]:
        """See AlarmStore."""
        table = schema.alarm_history
        order = table.c.id.desc() if descending else table.c.id
        query = select(table.c.id, table.c.value).order_by(order).limit(limit)
        if beyond:
            query = query.where(table.c.id < beyond if descending else table.c.id > beyond)
        if alarm:
            query = query.where(table.c.alarm == alarm)
        decoder = msgspec.msgpack.Decoder(HistoryItem)
        with self._read() as connection:
            return [msgspec.structs.replace(decoder.decode(value), id=id) for id, value in connection.execute(query)]


class _Transaction(Protocol):
    def __call__(self) -> AbstractContextManager[Connection]: ...


def _append(connection: Connection, items: Sequence[HistoryItem]) -> None:
    if not items:
        return
    table = schema.alarm_history
    rows = [{"alarm": item.alarm, "at_ms": round(item.at_s * 1000), "value": _encode(item)} for item in items]
    connection.execute(insert(table), rows)
    newest_ms = round(max(item.at_s for item in items) * 1000)
    connection.execute(delete(table).where(table.c.at_ms < newest_ms - HISTORY_KEPT_S * 1000))
    for alarm in {item.alarm for item in items}:
        count = select(func.count()).select_from(table).where(table.c.alarm == alarm)
        if connection.execute(count).scalar_one() > HISTORY_KEPT:
            _forget_oldest(connection, alarm)


def _forget_oldest(connection: Connection, alarm: str) -> None:
    table = schema.alarm_history
    newest = select(table.c.id).where(table.c.alarm == alarm).order_by(table.c.id.desc())
    oldest_kept = newest.offset(HISTORY_KEPT - 1).limit(1)
    connection.execute(delete(table).where(table.c.alarm == alarm, table.c.id < oldest_kept.scalar_subquery()))
