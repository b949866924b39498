"""PostgresqlQueueStore: queues in one database, written by the keepers of many machines.

A transaction locks the queues that it changes (see book.py), tells the other keepers which they were (NOTIFY), and is
durable when it is answered. Times in the database are the database's: machines need not agree about the time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

import psycopg
from psycopg import errors

from trimtab.errors import Invalid, Unavailable
from trimtab.queues.model import Depth, Free, Lease, Op, QueuesFull, Result
from trimtab.queues.postgresql import schema, times
from trimtab.queues.postgresql.book import PostgresqlBook
from trimtab.queues.postgresql.hearing import Hearing, tell
from trimtab.queues.sql import lapsing, managing
from trimtab.queues.sql.book import COLUMNS, Row
from trimtab.queues.sql.carrying import carry_out, may_be_lost
from trimtab.queues.sql.ending import wait_again

logger = logging.getLogger(__name__)

_CONNECT_S: Final = 5
_TRIES: Final = 5  # of a transaction that PostgreSQL ended so that another could go on
_FORGET_EVERY_S: Final = 1.0
_SEEN_EVERY_S: Final = 2.0
_COMPARE_EVERY_S: Final = 30.0
_GONE_S: Final = 15.0  # a keeper that was not seen for so long is gone: what its clients held waits again
_SESSION: Final = (
    "SET lock_timeout = '20s'",
    "SET idle_in_transaction_session_timeout = '20s'",  # a machine that was cut off holds up the others no longer
    "SET default_transaction_isolation = 'read committed'",
)


def check(url: str) -> None:
    """That queues can be kept there. Invalid, with what to do, when they cannot."""
    try:
        with _connect(url):
            pass
    except psycopg.Error as error:
        raise Invalid(f"--queues-url: PostgreSQL does not take it: {_said(error)}") from error


class PostgresqlQueueStore:
    """See `QueueStore`. It connects when it is first asked, and again when the connection is lost."""

    def __init__(self, url: str, *, house: str = "", database_clock: bool = True) -> None:
        """`house` names this keeper: it stands before its clients' names; others free what they held when it is gone.
        "": nobody looks after it. Without `database_clock` the times that are told are the database's."""
        self._url = url
        self._house = house
        self._database_clock = database_clock
        self._db: psycopg.Connection[Any] | None = None
        self._ahead_s = 0.0  # of the database's clock before the keeper's
        self._compared_s = 0.0  # when the clocks were compared
        self._forget_s = self._seen_s = 0.0
        self._changed: tuple[str, ...] = ()
        self._doubtful: list[Lease] = []  # leases whose transaction may have been committed, unanswered
        self._hearing: Hearing | None = None

    def close(self) -> None:
        """See QueueStore."""
        if self._hearing is not None:
            self._hearing.close()
        self._lose()

    # --- transactions ------------------------------------------------------------------------------------------

    def apply(self, ops: Sequence[Op], now_s: float) -> Sequence[Result]:
        """See QueueStore."""
        for tries_left in reversed(range(_TRIES)):
            try:
                return self._attempt(ops, now_s)
            except (errors.DeadlockDetected, errors.SerializationFailure, errors.UniqueViolation) as error:
                if not tries_left:
                    raise Unavailable(f"The queues are asked too much at once ({_said(error)}). Try again.") from error
            except errors.DiskFull as error:
                raise QueuesFull(
                    f"The disk of the queues' database has no room ({_said(error)}): nothing was done."
                ) from error
            except psycopg.OperationalError as error:  # the connection, a lock that is not let go
                if not tries_left or self._db is None or not self._db.broken:
                    raise _away(error) from error
                self._lose()
        raise AssertionError

    def _attempt(self, ops: Sequence[Op], now_s: float) -> Sequence[Result]:
        connection = self._connection(now_s)
        try:
            connection.execute("BEGIN")
            book, results = self._carry_out(connection, ops, now_s + self._ahead_s)
        except BaseException:
            if not connection.broken:
                connection.execute("ROLLBACK")
            raise
        try:
            connection.execute("COMMIT")
        except psycopg.OperationalError as error:
            self._doubtful += [op for op in ops if isinstance(op, Lease) and op.ask]
            self._lose()
            raise _away(error) from error
        self._doubtful.clear()
        self._changed = tuple(book.touched)
        return times.results_here(results, self._ahead_s)

    def _carry_out(
        self, connection: psycopg.Connection[Any], ops: Sequence[Op], now_s: float
    ) -> tuple[PostgresqlBook, list[Result]]:
        """Within a transaction, in the database's time."""
        if may_be_lost(ops):
            connection.execute("SET LOCAL synchronous_commit = off")
        left = self._left_by_others(connection, now_s)
        book = PostgresqlBook(connection)
        book.lock([*left, *self._doubtful, *ops], now_s)
        lapsing.lapse(book, now_s)
        self._settle(book, now_s)
        carry_out(book, left, now_s)
        results = carry_out(book, times.ops_there(ops, self._ahead_s), now_s)
        if not self._forget_s - _FORGET_EVERY_S <= now_s < self._forget_s:
            self._forget_s = now_s if lapsing.forget(book, now_s) else now_s + _FORGET_EVERY_S
        book.save()
        if self._house:
            tell(connection, book.touched)
        return book, results

    def _settle(self, book: PostgresqlBook, now_s: float) -> None:
        """Nobody was told of these leases: what they took waits again."""
        for lease in self._doubtful:
            found = book.run(f"SELECT {COLUMNS} FROM messages WHERE state = 1 AND ask = ? ORDER BY seq", (lease.ask,))
            for values in found.fetchall():
                wait_again(book, Row(values), 0.0, "its lease was not answered", now_s, counts=False)

    def _left_by_others(self, connection: psycopg.Connection[Any], now_s: float) -> list[Free]:
        """Say that this keeper is here; whose leases are free because their keepers are gone."""
        if not self._house or self._seen_s - _SEEN_EVERY_S <= now_s < self._seen_s:
            return []
        connection.execute(
            "INSERT INTO houses (house, seen_s) VALUES (%s, %s) "
            "ON CONFLICT (house) DO UPDATE SET seen_s = excluded.seen_s",
            (self._house, now_s),
        )
        gone = connection.execute(
            "DELETE FROM houses WHERE house IN "
            "(SELECT house FROM houses WHERE seen_s < %s FOR UPDATE SKIP LOCKED) RETURNING house",
            (now_s - _GONE_S,),
        ).fetchall()
        self._seen_s = now_s + _SEEN_EVERY_S
        owners = [owner for (house,) in gone for owner in _owners(connection, house)]
        if owners:
            logger.warning("keepers of the queues are gone: what their clients held waits again")
        return [Free(owner=owner) for owner in owners]

    # --- the connection ----------------------------------------------------------------------------------------

    def _connection(self, now_s: float) -> psycopg.Connection[Any]:
        db = self._connected()
        if self._database_clock and not 0 <= now_s - self._compared_s < _COMPARE_EVERY_S:
            (there_s,) = db.execute("SELECT EXTRACT(EPOCH FROM clock_timestamp())::FLOAT8").fetchone() or (now_s,)
            self._ahead_s, self._compared_s = there_s - now_s, now_s
        return db

    def _connected(self) -> psycopg.Connection[Any]:
        if self._db is not None and self._db.broken:
            self._lose()
        if self._db is None:
            self._db = _connect(self._url)
            if self._hearing is not None:
                self._hearing.own_pid = self._db.info.backend_pid
        return self._db

    def _lose(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _ask(self, question: Callable[[psycopg.Connection[Any]], Any]) -> Any:
        """Something that changes nothing."""
        try:
            return question(self._connected())
        except psycopg.OperationalError as error:
            self._lose()
            raise _away(error) from error

    # --- what it knows -----------------------------------------------------------------------------------------

    def due(self, now_s: float) -> float:
        """See QueueStore."""
        due_s: float = self._ask(lambda db: lapsing.due(PostgresqlBook(db))) - self._ahead_s
        return min(due_s, self._seen_s - self._ahead_s) if self._house else due_s

    def changed(self) -> Sequence[str]:
        """See QueueStore."""
        return self._changed

    def depths(self, queues: Sequence[str]) -> Sequence[Depth | None]:
        """See QueueStore."""

        def read(db: psycopg.Connection[Any]) -> dict[str, Depth]:
            book = PostgresqlBook(db)
            return {queue.name: managing.depth_of(book, queue) for queue in book.committed(queues)}

        found = self._ask(read) if queues else {}
        return [times.depth_here(found[name], self._ahead_s) if name in found else None for name in queues]

    def names(self, prefix: str) -> Sequence[str]:
        """See QueueStore."""
        found = self._ask(
            lambda db: db.execute("SELECT name FROM queues WHERE starts_with(name, %s)", (prefix,)).fetchall()
        )
        return sorted(name for (name,) in found)

    def owners(self) -> Sequence[str]:
        """See QueueStore."""
        found: list[str] = self._ask(lambda db: _owners(db, ""))
        return found

    def shift(self, by_s: float) -> None:
        """See QueueStore: the database's clock has not jumped."""
        self._ahead_s -= by_s

    def hear(self, told: Callable[[Sequence[str]], None]) -> None:
        """See QueueStore."""
        self._hearing = Hearing(lambda: _connect(self._url), told)
        self._hearing.own_pid = self._db.info.backend_pid if self._db is not None else 0


def _connect(url: str) -> psycopg.Connection[Any]:
    connection = psycopg.connect(
        url,
        autocommit=True,
        connect_timeout=_CONNECT_S,
        application_name="trimtab queues",
        keepalives_idle=5,
        keepalives_interval=2,
        keepalives_count=3,
        tcp_user_timeout=15_000,  # ms
    )
    try:
        for statement in _SESSION:
            connection.execute(statement)
        if connection.execute("SHOW synchronous_commit").fetchone() == ("off",):
            connection.execute("SET synchronous_commit = on")  # what is accepted is on disk
        schema.prepare(connection)
        connection.execute(f"SET search_path = {schema.SCHEMA}")
    except BaseException:
        connection.close()
        raise
    return connection


def _owners(connection: psycopg.Connection[Any], house: str) -> list[str]:
    found = connection.execute(
        "SELECT DISTINCT owner FROM messages WHERE state = 1 AND owner != '' AND starts_with(owner, %s)", (house,)
    )
    return [owner for (owner,) in found.fetchall()]


def _away(error: psycopg.Error) -> Unavailable:
    return Unavailable(f"The queues' database does not answer: {_said(error)}. Nothing is lost; try again.")


def _said(error: psycopg.Error) -> str:
    return " ".join(str(error).split()) or type(error).__name__
