"""Autoscaling's durable part: targets, policies, scheduled actions, activities, and what cooldowns go by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final, Protocol, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Connection, Table, delete, insert, select, update

from trimtab.resources.names import key_of
from trimtab.resources.scaling import ACTIVITIES_KEPT_S, ScalableTarget, ScalingActivity, ScalingPolicy, ScheduledAction
from trimtab.store import schema

ACTIVITIES_KEPT: Final = 5000  # per variant; older ones make room, whatever their age

T = TypeVar("T")
_encode = msgspec.msgpack.Encoder().encode


class ScalingStore(Protocol):
    """Each call is one transaction: all of it is durable when the call returns, or none of it is.

    Endpoints and variants are found without regard to case.
    """

    def targets(self) -> Sequence[ScalableTarget]:
        """All, in no particular order; so are the following."""
        ...

    def policies(self) -> Sequence[ScalingPolicy]: ...

    def actions(self) -> Sequence[ScheduledAction]: ...

    def save_target(self, target: ScalableTarget) -> None:
        """Add or replace it."""
        ...

    def delete_target(self, endpoint: str, variant: str, dimension: str) -> None:
        """With its policies, actions and state; activities stay. No effect when it is not there."""
        ...

    def save_policy(self, policy: ScalingPolicy) -> None:
        """Add or replace it."""
        ...

    def delete_policy(self, endpoint: str, variant: str, dimension: str, name: str) -> None:
        """No effect when it is not there."""
        ...

    def save_action(self, action: ScheduledAction) -> None:
        """Add or replace it."""
        ...

    def delete_action(self, endpoint: str, variant: str, dimension: str, name: str) -> None:
        """No effect when it is not there."""
        ...

    def save_activity(self, activity: ScalingActivity) -> None:
        """Add it, or replace the one with its id; activities older than ACTIVITIES_KEPT_S, and more than
        ACTIVITIES_KEPT of one variant, are forgotten."""
        ...

    def activities(
        self, endpoint: str = "", variant: str = "", *, before: str = "", limit: int = 50
    ) -> Sequence[ScalingActivity]:
        """Newest first ("" is any endpoint, any variant), those older than the one with the id `before`; none when
        that one is forgotten."""
        ...

    def save_state(self, endpoint: str, variant: str, state: bytes) -> None:
        """What `policies.scaling.state.pack` made: forgotten with the target."""
        ...

    def state(self, endpoint: str, variant: str) -> bytes | None: ...


class SqlScaling:
    """A ScalingStore on SQLAlchemy Core, in the transactions of a SqlStore."""

    def __init__(self, write: _Transaction, read: _Transaction) -> None:
        self._write = write
        self._read = read

    def targets(self) -> Sequence[ScalableTarget]:
        """See ScalingStore."""
        return self._all(schema.scaling_targets, ScalableTarget)

    def policies(self) -> Sequence[ScalingPolicy]:
        """See ScalingStore."""
        return self._all(schema.scaling_policies, ScalingPolicy)

    def actions(self) -> Sequence[ScheduledAction]:
        """See ScalingStore."""
        return self._all(schema.scaling_actions, ScheduledAction)

    def save_target(self, target: ScalableTarget) -> None:
        """See ScalingStore."""
        self._save(schema.scaling_targets, _keys(target), _encode(target))

    def delete_target(self, endpoint: str, variant: str, dimension: str) -> None:
        """See ScalingStore."""
        keys = {"endpoint": key_of(endpoint), "variant": key_of(variant), "dimension": dimension}
        place = {name: keys[name] for name in ("endpoint", "variant")}
        with self._write() as connection:
            for table in (schema.scaling_targets, schema.scaling_policies, schema.scaling_actions):
                connection.execute(delete(table).where(*_where(table, keys)))
            connection.execute(delete(schema.scaling_states).where(*_where(schema.scaling_states, place)))

    def save_policy(self, policy: ScalingPolicy) -> None:
        """See ScalingStore."""
        self._save(schema.scaling_policies, {**_keys(policy), "name": policy.name}, _encode(policy))

    def delete_policy(self, endpoint: str, variant: str, dimension: str, name: str) -> None:
        """See ScalingStore."""
        self._delete(schema.scaling_policies, endpoint, variant, dimension, name)

    def save_action(self, action: ScheduledAction) -> None:
        """See ScalingStore."""
        self._save(schema.scaling_actions, {**_keys(action), "name": action.name}, _encode(action))

    def delete_action(self, endpoint: str, variant: str, dimension: str, name: str) -> None:
        """See ScalingStore."""
        self._delete(schema.scaling_actions, endpoint, variant, dimension, name)

    def save_activity(self, activity: ScalingActivity) -> None:
        """See ScalingStore."""
        table = schema.scaling_activities
        endpoint, variant, start_ms = (
            key_of(activity.endpoint),
            key_of(activity.variant),
            round(activity.start_s * 1000),
        )
        values = {"endpoint": endpoint, "variant": variant, "start_ms": start_ms, "value": _encode(activity)}
        with self._write() as connection:
            _put(connection, table, {"id": activity.id}, values)
            _forget(connection, endpoint, variant, start_ms)

    def activities(
        self, endpoint: str = "", variant: str = "", *, before: str = "", limit: int = 50
    ) -> Sequence[ScalingActivity]:
        """See ScalingStore."""
        table = schema.scaling_activities
        query = select(table.c.value).order_by(table.c.position.desc()).limit(limit)
        wanted = {"endpoint": key_of(endpoint), "variant": key_of(variant)}
        query = query.where(*_where(table, {name: value for name, value in wanted.items() if value}))
        if before:
            query = query.where(
                table.c.position < select(table.c.position).where(table.c.id == before).scalar_subquery()
            )
        decoder = msgspec.msgpack.Decoder(ScalingActivity)
        with self._read() as connection:
            return [decoder.decode(value) for (value,) in connection.execute(query)]

    def save_state(self, endpoint: str, variant: str, state: bytes) -> None:
        """See ScalingStore."""
        self._save(schema.scaling_states, {"endpoint": key_of(endpoint), "variant": key_of(variant)}, state)

    def state(self, endpoint: str, variant: str) -> bytes | None:
        """See ScalingStore."""
        table = schema.scaling_states
        keys = {"endpoint": key_of(endpoint), "variant": key_of(variant)}
        with self._read() as connection:
            return connection.execute(select(table.c.value).where(*_where(table, keys))).scalar_one_or_none()

    def _all(self, table: Table, type_: type[T]) -> Sequence[T]:
        decoder = msgspec.msgpack.Decoder(type_)
        with self._read() as connection:
            return [decoder.decode(value) for (value,) in connection.execute(select(table.c.value))]

    def _save(self, table: Table, keys: Mapping[str, str], value: bytes) -> None:
        with self._write() as connection:
            _put(connection, table, keys, {"value": value})

    def _delete(self, table: Table, endpoint: str, variant: str, dimension: str, name: str) -> None:
        keys = {"endpoint": key_of(endpoint), "variant": key_of(variant), "dimension": dimension, "name": name}
        with self._write() as connection:
            connection.execute(delete(table).where(*_where(table, keys)))


class _Transaction(Protocol):
    def __call__(self) -> AbstractContextManager[Connection]: ...


def _keys(of: ScalableTarget | ScalingPolicy | ScheduledAction) -> dict[str, str]:
    return {"endpoint": key_of(of.endpoint), "variant": key_of(of.variant), "dimension": of.dimension}


def _where(table: Table, keys: Mapping[str, str]) -> list[ColumnElement[bool]]:
    return [table.c[name] == value for name, value in keys.items()]


def _put(connection: Connection, table: Table, keys: Mapping[str, str], values: Mapping[str, object]) -> None:
    if connection.execute(update(table).where(*_where(table, keys)).values(**values)).rowcount == 0:
        connection.execute(insert(table).values(**keys, **values))


def _forget(connection: Connection, endpoint: str, variant: str, newest_ms: int) -> None:
    table = schema.scaling_activities
    connection.execute(delete(table).where(table.c.start_ms < newest_ms - ACTIVITIES_KEPT_S * 1000))
    mine = _where(table, {"endpoint": endpoint, "variant": variant})
    newest = select(table.c.position).where(*mine).order_by(table.c.position.desc())
    oldest_kept = newest.offset(ACTIVITIES_KEPT - 1).limit(1)
    connection.execute(delete(table).where(*mine, table.c.position < oldest_kept.scalar_subquery()))
