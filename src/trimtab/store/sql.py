"""The store on SQLAlchemy Core; which database it is only `store/sqlite.py` and its like know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, Engine, Table, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError, OperationalError

from trimtab.errors import AlreadyExists, NotFound, Unavailable
from trimtab.resources.deployment import EndpointRecord
from trimtab.resources.endpoint import Event
from trimtab.resources.endpoint_config import EndpointConfig
from trimtab.resources.model import Model
from trimtab.resources.names import key_of
from trimtab.store import schema
from trimtab.store.alarms import SqlAlarms
from trimtab.store.hosting import SqlHosting, forget_endpoint
from trimtab.store.migrations import migrate
from trimtab.store.scaling import SqlScaling
from trimtab.store.store import EVENTS_KEPT, Stale

T = TypeVar("T")

_TABLES: Mapping[str, Table] = {
    "model": schema.models,
    "endpoint-config": schema.configs,
    "endpoint": schema.endpoints,
}
# Said once: to build a statement takes longer than to execute it, and these are on the way to every new replica.
_READ = {kind: select(table.c.value).where(table.c.key == bindparam("of")) for kind, table in _TABLES.items()}
_SAVE_ENDPOINT = (
    update(schema.endpoints)
    .where(schema.endpoints.c.key == bindparam("of"), schema.endpoints.c.revision == bindparam("held"))
    .values(value=bindparam("value"), revision=bindparam("revision"))
)
_EVENTS = schema.events.c
_OLDEST_KEPT = (
    select(_EVENTS.id).where(_EVENTS.endpoint == bindparam("of")).order_by(_EVENTS.id.desc()).offset(EVENTS_KEPT - 1)
).limit(1)
_ADD_EVENT = insert(schema.events)
_FORGET_EVENTS = delete(schema.events).where(
    _EVENTS.endpoint == bindparam("of"), _EVENTS.id < _OLDEST_KEPT.scalar_subquery()
)
_KEYS_AT_ONCE = 500  # in one query: databases limit how many values it may have
_encode = msgspec.msgpack.Encoder().encode


class SqlStore:
    """A `Store`. Used from one thread. Its write transactions carry `trimtab_write`, and `trimtab_lazily` when they
    need not wait for the disk."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._endpoints: dict[str, tuple[int, EndpointRecord]] = {}  # by key, with the revision that was read
        self.alarms = SqlAlarms(self._write, self._read)
        self.scaling = SqlScaling(self._write, self._read)
        self.hosting = SqlHosting(self._write, self._read)
        with self._write() as connection:
            migrate(connection)

    # models and configs: added, read, deleted, never changed

    def add_model(self, model: Model, tags: Mapping[str, str]) -> None:
        """See Store."""
        self._add("model", model.name, tags, {"value": _encode(model)})

    def get_model(self, name: str) -> Model:
        """See Store."""
        return self._get("model", name, Model)

    def list_models(self) -> Sequence[Model]:
        """See Store."""
        return self._list("model", Model)

    def delete_model(self, name: str) -> None:
        """See Store."""
        self._delete("model", name)

    def add_config(self, config: EndpointConfig, tags: Mapping[str, str]) -> None:
        """See Store."""
        self._add("endpoint-config", config.name, tags, {"value": _encode(config)})

    def get_config(self, name: str) -> EndpointConfig:
        """See Store."""
        return self._get("endpoint-config", name, EndpointConfig)

    def list_configs(self) -> Sequence[EndpointConfig]:
        """See Store."""
        return self._list("endpoint-config", EndpointConfig)

    def delete_config(self, name: str) -> None:
        """See Store."""
        self._delete("endpoint-config", name)

    # endpoints: every write is fenced by the revision that it was decided upon

    def add_endpoint(
        self, record: EndpointRecord, tags: Mapping[str, str], events: Sequence[Event] = ()
    ) -> EndpointRecord:
        """See Store."""
        record = _revised(record, 1)
        name = record.endpoint.name
        self._endpoints.pop(key_of(name), None)  # revisions begin anew
        self._add("endpoint", name, tags, {"value": _encode(record), "revision": 1}, events)
        return record

    def get_endpoint(self, name: str) -> EndpointRecord:
        """See Store."""
        return self._get("endpoint", name, EndpointRecord)

    def list_endpoints(self) -> Sequence[EndpointRecord]:
        """See Store. Only what was written since the last time is read and decoded: this is asked every second."""
        table = schema.endpoints
        known = self._endpoints
        with self._read() as connection:
            rows = connection.execute(select(table.c.key, table.c.revision))
            revisions: dict[str, int] = {row.key: row.revision for row in rows}
            changed = [key for key, revision in revisions.items() if key not in known or known[key][0] != revision]
            for start in range(0, len(changed), _KEYS_AT_ONCE):
                some = table.c.key.in_(changed[start : start + _KEYS_AT_ONCE])
                for key, revision, value in connection.execute(
                    select(table.c.key, table.c.revision, table.c.value).where(some)
                ):
                    known[key] = (revision, msgspec.msgpack.decode(value, type=EndpointRecord))
        for key in known.keys() - revisions.keys():
            del known[key]
        return [record for _, record in known.values()]

    def save_endpoint(
        self, record: EndpointRecord, events: Sequence[Event] = (), *, lazily: bool = False
    ) -> EndpointRecord:
        """See Store."""
        key, held = key_of(record.endpoint.name), record.endpoint.revision
        record = _revised(record, held + 1)
        with self._write(lazily=lazily) as connection:
            new = {"of": key, "held": held, "value": _encode(record), "revision": held + 1}
            written = connection.execute(_SAVE_ENDPOINT, new)
            if written.rowcount != 1:
                raise Stale(f"The endpoint {record.endpoint.name!r} is no longer at revision {held}.")
            _append(connection, key, events)
        return record

    def remove_endpoint(self, name: str, *, revision: int) -> None:
        """See Store."""
        key, table = key_of(name), schema.endpoints
        with self._write() as connection:
            removed = connection.execute(delete(table).where(table.c.key == key, table.c.revision == revision))
            if removed.rowcount == 1:
                connection.execute(delete(schema.events).where(schema.events.c.endpoint == key))
                _delete_tags(connection, "endpoint", key)
                forget_endpoint(connection, key)
            elif _exists(connection, "endpoint", key):
                raise Stale(f"The endpoint {name!r} is no longer at revision {revision}.")

    def add_events(self, endpoint: str, events: Sequence[Event]) -> None:
        """See Store."""
        key = key_of(endpoint)
        with self._write(lazily=True) as connection:
            if _exists(connection, "endpoint", key):
                _append(connection, key, events)

    def list_events(self, endpoint: str, *, last: int = EVENTS_KEPT) -> Sequence[Event]:
        """See Store."""
        table = schema.events
        mine = table.c.endpoint == key_of(endpoint)
        query = select(table.c.value).where(mine).order_by(table.c.id.desc()).limit(last)
        with self._read() as connection:
            found = [msgspec.msgpack.decode(value, type=Event) for (value,) in connection.execute(query)]
        return found[::-1]

    # tags

    def get_tags(self, kind: str, name: str) -> Mapping[str, str]:
        """See Store."""
        key, table = key_of(name), schema.tags
        query = (
            select(table.c.key, table.c.value)
            .where(table.c.kind == kind, table.c.owner == key)
            .order_by(table.c.position)
        )
        with self._read() as connection:
            if not _exists(connection, kind, key):
                raise NotFound(kind, name)
            return {row.key: row.value for row in connection.execute(query)}

    def set_tags(self, kind: str, name: str, tags: Mapping[str, str]) -> None:
        """See Store."""
        key = key_of(name)
        with self._write() as connection:
            if not _exists(connection, kind, key):
                raise NotFound(kind, name)
            _delete_tags(connection, kind, key)
            _insert_tags(connection, kind, key, tags)

    def close(self) -> None:
        """See Store."""
        self._engine.dispose()

    # one transaction each

    @contextmanager
    def _write(self, *, lazily: bool = False) -> Iterator[Connection]:
        options = {"trimtab_write": True, "trimtab_lazily": lazily}
        with (
            _named_failures(),
            self._engine.connect().execution_options(**options) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with _named_failures(), self._engine.connect() as connection:
            yield connection

    def _add(
        self, kind: str, name: str, tags: Mapping[str, str], row: dict[str, Any], events: Sequence[Event] = ()
    ) -> None:
        key = key_of(name)
        try:
            with self._write() as connection:
                connection.execute(insert(_TABLES[kind]).values(key=key, **row))
                _insert_tags(connection, kind, key, tags)
                _append(connection, key, events)
        except IntegrityError as error:
            raise AlreadyExists(kind, name) from error

    def _get(self, kind: str, name: str, type_: type[T]) -> T:
        with self._read() as connection:
            value = connection.execute(_READ[kind], {"of": key_of(name)}).scalar_one_or_none()
        if value is None:
            raise NotFound(kind, name)
        return msgspec.msgpack.decode(value, type=type_)

    def _list(self, kind: str, type_: type[T]) -> list[T]:
        decoder = msgspec.msgpack.Decoder(type_)
        with self._read() as connection:
            return [decoder.decode(value) for (value,) in connection.execute(select(_TABLES[kind].c.value))]

    def _delete(self, kind: str, name: str) -> None:
        key, table = key_of(name), _TABLES[kind]
        with self._write() as connection:
            if connection.execute(delete(table).where(table.c.key == key)).rowcount != 1:
                raise NotFound(kind, name)
            _delete_tags(connection, kind, key)


@contextmanager
def _named_failures() -> Iterator[None]:
    """A full disk, a lock that is held for too long: not the caller's fault, and it may pass."""
    try:
        yield
    except OperationalError as error:
        raise Unavailable(
            f"The store does not answer: {error.orig}. When the disk is full, free space in the data directory.",
            retry_after_s=5.0,
        ) from error


def _revised(record: EndpointRecord, revision: int) -> EndpointRecord:
    return msgspec.structs.replace(record, endpoint=msgspec.structs.replace(record.endpoint, revision=revision))


def _exists(connection: Connection, kind: str, key: str) -> bool:
    table = _TABLES[kind]
    return connection.execute(select(table.c.key).where(table.c.key == key)).first() is not None


def _append(connection: Connection, endpoint: str, events: Sequence[Event]) -> None:
    if not events:
        return
    connection.execute(_ADD_EVENT, [{"endpoint": endpoint, "value": _encode(e)} for e in events[-EVENTS_KEPT:]])
    connection.execute(_FORGET_EVENTS, {"of": endpoint})


def _insert_tags(connection: Connection, kind: str, owner: str, tags: Mapping[str, str]) -> None:
    if tags:
        rows = [
            {"kind": kind, "owner": owner, "position": position, "key": key, "value": value}
            for position, (key, value) in enumerate(tags.items())
        ]
        connection.execute(insert(schema.tags), rows)


def _delete_tags(connection: Connection, kind: str, owner: str) -> None:
    table = schema.tags
    connection.execute(delete(table).where(table.c.kind == kind, table.c.owner == owner))
