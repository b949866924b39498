"""What users have set of models of multi-model endpoints, durable: part of every Store."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from trimtab.errors import LimitExceeded, NotFound
from trimtab.resources.hosting import MAX_SETTINGS, ModelSetting
from trimtab.resources.names import key_of
from trimtab.store import schema

_COLUMNS = schema.model_settings.c
# Said once: routes are made of it.
_OF_ENDPOINT = select(_COLUMNS.value).where(_COLUMNS.endpoint == bindparam("of")).order_by(_COLUMNS.model)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ModelSetting).decode


class HostingStore(Protocol):
    """Each call is one transaction: all of it is durable when the call returns, or none of it is.

    Endpoints are found without regard to case; models keep theirs. What was set goes with the endpoint.
    """

    def settings(self, endpoint: str) -> Sequence[ModelSetting]:
        """By model. Empty for an endpoint that is not there."""
        ...

    def save_setting(self, endpoint: str, setting: ModelSetting) -> None:
        """Add or replace it. NotFound("endpoint"); LimitExceeded beyond MAX_SETTINGS."""
        ...

    def delete_setting(self, endpoint: str, model: str) -> None:
        """No effect when it is not there. NotFound("endpoint")."""
        ...


class SqlHosting:
    """A HostingStore on SQLAlchemy Core, in the transactions of a SqlStore."""

    def __init__(self, write: _Transaction, read: _Transaction) -> None:
        self._write = write
        self._read = read

    def settings(self, endpoint: str) -> Sequence[ModelSetting]:
        """See HostingStore."""
        with self._read() as connection:
            return [_decode(value) for (value,) in connection.execute(_OF_ENDPOINT, {"of": key_of(endpoint)})]

    def save_setting(self, endpoint: str, setting: ModelSetting) -> None:
        """See HostingStore."""
        table, key, model, value = schema.model_settings, key_of(endpoint), setting.model.encode(), _encode(setting)
        here = (table.c.endpoint == key, table.c.model == model)
        with self._write() as connection:
            _require_endpoint(connection, endpoint)
            if connection.execute(update(table).where(*here).values(value=value)).rowcount:
                return
            count = select(func.count()).select_from(table).where(table.c.endpoint == key)
            if connection.execute(count).scalar_one() >= MAX_SETTINGS:
                raise LimitExceeded(
                    f"The endpoint {endpoint!r} has settings of {MAX_SETTINGS:,} models, which is the most. "
                    "Take back those that are not needed (`trimtab models unset`)."
                )
            connection.execute(insert(table).values(endpoint=key, model=model, value=value))

    def delete_setting(self, endpoint: str, model: str) -> None:
        """See HostingStore."""
        table = schema.model_settings
        with self._write() as connection:
            _require_endpoint(connection, endpoint)
            here = (table.c.endpoint == key_of(endpoint), table.c.model == model.encode())
            connection.execute(delete(table).where(*here))


class _Transaction(Protocol):
    def __call__(self) -> AbstractContextManager[Connection]: ...


def forget_endpoint(connection: Connection, key: str) -> None:
    """Take the settings of an endpoint out with it."""
    connection.execute(delete(schema.model_settings).where(schema.model_settings.c.endpoint == key))


def _require_endpoint(connection: Connection, endpoint: str) -> None:
    table = schema.endpoints
    if connection.execute(select(table.c.key).where(table.c.key == key_of(endpoint))).first() is None:
        raise NotFound("endpoint", endpoint)
