"""What only the store in SQLite does."""

from pathlib import Path

from trimtab.queues.model import DEDUPLICATION_S, Count, Declare, Done, Purge, Put, QueueSettings, Redrive
from trimtab.queues.sqlite import SqliteQueueStore


def test_keys_of_puts_follow_the_clock_when_it_jumps(tmp_path: Path) -> None:
    store = SqliteQueueStore(tmp_path / "queues.db")
    store.apply([Declare(queue="q", settings=QueueSettings()), Put(queue="q", id="1", body=b"", once="k")], 1000.0)
    for jump_s in (3600.0, -7200.0):
        store.shift(jump_s)
    later_s = 1000.0 - 3600.0 + DEDUPLICATION_S - 1.0
    assert store.apply([Put(queue="q", id="2", body=b"", once="k")], later_s) == [Done(id="1")]
    assert store.apply([Put(queue="q", id="3", body=b"", once="k")], later_s + 2.0) == [Done()]
    store.close()


def test_more_messages_than_are_read_at_a_time_are_moved_and_removed(tmp_path: Path) -> None:
    store = SqliteQueueStore(tmp_path / "queues.db")
    for queue, fifo in (("plain", False), ("groups", True)):
        store.apply([Declare(queue=name, settings=QueueSettings(fifo=fifo)) for name in (queue, f"{queue}-2")], 1.0)
        puts = [Put(queue=queue, id=str(n), body=b"x", group=f"g{n % 3}" if fifo else "") for n in range(700)]
        store.apply(puts, 1.0)
        assert store.apply([Redrive(queue=queue, into=f"{queue}-2", most=300)], 1.0) == [Count(count=300)]
        assert store.apply([Redrive(queue=queue, into=f"{queue}-2")], 1.0) == [Count(count=400)]
        assert store.apply([Purge(queue=f"{queue}-2")], 1.0) == [Count(count=700)]
        for depth in store.depths([queue, f"{queue}-2"]):
            assert depth is not None
            assert (depth.waiting, depth.bytes) == (0, 0)
    store.close()
