"""Keepers of one database tell each other which queues they have changed (LISTEN, NOTIFY)."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import psycopg

from trimtab.errors import Invalid

logger = logging.getLogger(__name__)

_CHANNEL: Final = "trimtab_queues"
_PAYLOAD_MOST: Final = 7000  # PostgreSQL takes less than 8000 bytes
_LOOK_S: Final = 0.5  # how soon `close` is seen
_AGAIN_S: Final = 1.0


def tell(connection: psycopg.Connection[Any], queues: Iterable[str]) -> None:
    """With the transaction's commit, the others hear of these."""
    said: list[str] = []
    size = 0
    for name in queues:
        size += len(json.dumps(name)) + 2
        if said and size > _PAYLOAD_MOST:
            _notify(connection, said)
            said, size = [], len(json.dumps(name)) + 2
        said.append(name)
    if said:
        _notify(connection, said)


def _notify(connection: psycopg.Connection[Any], queues: Sequence[str]) -> None:
    connection.execute("SELECT pg_notify(%s, %s)", (_CHANNEL, json.dumps(queues)))


class Hearing:
    """Hears, in a thread with a connection of its own, what others have changed; of all, after it could not hear."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]], told: Callable[[Sequence[str]], None]) -> None:
        self.own_pid = 0  # of the connection whose notices are this keeper's own
        self._connect = connect
        self._told = told
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="queues of others", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Hear no more."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                with self._connect() as connection:
                    self._hear(connection)
            except (psycopg.OperationalError, Invalid) as error:
                logger.warning("does not hear what other keepers of the queues change; tries again: %s", error)
                self._over.wait(_AGAIN_S)

    def _hear(self, connection: psycopg.Connection[Any]) -> None:
        connection.execute(f"LISTEN {_CHANNEL}")
        names = connection.execute("SELECT name FROM queues").fetchall()
        self._told([name for (name,) in names])
        while not self._over.is_set():
            for notice in connection.notifies(timeout=_LOOK_S):
                if notice.pid != self.own_pid and not self._over.is_set():
                    self._told(json.loads(notice.payload))
