"""However much a file of queues holds, no statement of everyday looks at all of it."""

import sqlite3
from pathlib import Path

from trimtab.queues.model import (
    Ack,
    Bury,
    Declare,
    Extend,
    Free,
    Lease,
    Leases,
    Look,
    Op,
    Put,
    QueueSettings,
    Return,
    Rewrite,
)
from trimtab.queues.sqlite import SqliteQueueStore


def everyday(store: SqliteQueueStore, queue: str, group: str) -> None:
    def put(message_id: str) -> Put:
        return Put(queue=queue, id=message_id, body=b"x", group=group, visible_s=2.0, expires_s=9.0)

    store.apply([put(str(number)) for number in range(10)], 1.0)
    for number in range(4):
        (leased,) = store.apply([Lease(queue=queue, owner="o", ask=f"o:{number}", again=True)], 3.0)
        assert isinstance(leased, Leases)
        (message,) = leased.messages
        held = {"queue": queue, "id": message.id, "token": message.token}
        ends: list[Op] = [
            Ack(**held, puts=(put(f"more {number}"),)),  # type: ignore[arg-type]
            Bury(**held, reason=""),  # type: ignore[arg-type]
            Return(**held, reason=""),  # type: ignore[arg-type]
            Extend(**held, lease_s=1.0),  # type: ignore[arg-type]
        ]
        store.apply([Rewrite(**held, body=b"y"), ends[number], Look(queue=queue)], 3.0)  # type: ignore[arg-type]
        store.due(3.0)
    store.apply([Free(owner="o")], 1000.0)


def test_no_statement_of_everyday_looks_at_all_messages(tmp_path: Path) -> None:
    store = SqliteQueueStore(tmp_path / "queues.db")
    said: set[str] = set()
    store._db.set_trace_callback(said.add)
    for queue, settings in (("plain", QueueSettings()), ("fifo", QueueSettings(fifo=True))):
        store.apply([Declare(queue=queue, settings=settings)], 1.0)
        everyday(store, queue, "g" if settings.fifo else "")
    store.close()
    plans = sqlite3.connect(tmp_path / "queues.db")
    scans = []
    for statement in said:
        if not statement.startswith(("BEGIN", "COMMIT", "PRAGMA", "--")):
            for *_, step in plans.execute(f"EXPLAIN QUERY PLAN {statement}"):
                if step.startswith("SCAN") and "json_each" not in step and "CONSTANT ROW" not in step:
                    scans.append((step, statement))
    plans.close()
    assert not [scan for scan in scans if "INDEX" not in scan[0]]
