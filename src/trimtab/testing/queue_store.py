"""What every `QueueStore` promises. A test class inherits the suite, and has the fixture `open_store`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings

from trimtab.queues.model import (
    DEDUPLICATION_S,
    Ack,
    Bury,
    Count,
    Declare,
    Depth,
    Done,
    Drop,
    Extend,
    Free,
    Full,
    Lease,
    Leases,
    List,
    Look,
    Lost,
    Message,
    Messages,
    NoQueue,
    Op,
    Purge,
    Put,
    QueueSettings,
    Redrive,
    Result,
    Return,
    Rewrite,
)
from trimtab.queues.store import QueueStore
from trimtab.testing.queue_worlds import Comparison, Turn, lives

OpenStore = Callable[[str], QueueStore]
NOW_S = 1_000_000.0
BIG_BYTES = 6 * 2**20


class Stepped:
    """A store, and the time that it is told."""

    def __init__(self, store: QueueStore) -> None:
        self.store = store
        self.now_s = NOW_S
        self._asks = itertools.count()

    def do(self, *ops: Op) -> list[Result]:
        """All in one transaction."""
        return list(self.store.apply(ops, self.now_s))

    def one(self, op: Op) -> Result:
        """One."""
        return self.do(op)[0]

    def declare(self, queue: str = "q", **of: object) -> None:
        """A queue."""
        assert self.one(Declare(queue=queue, settings=QueueSettings(**of))) == Done()  # type: ignore[arg-type]

    def put(self, *ids: str, queue: str = "q", group: str = "") -> None:
        """Messages, accepted."""
        results = self.do(*(Put(queue=queue, id=message_id, body=b"x", group=group) for message_id in ids))
        assert results == [Done()] * len(ids)

    def lease(self, most: int = 1, queue: str = "q", owner: str = "me", lease_s: float = 0.0) -> list[Message]:
        """What is next."""
        ask = f"{owner}:{next(self._asks)}"
        found = self.one(Lease(queue=queue, owner=owner, most=most, lease_s=lease_s, ask=ask))
        assert isinstance(found, Leases)
        return list(found.messages)

    def ids(self, most: int = 1, queue: str = "q") -> list[str]:
        """What is next, leased."""
        return [message.id for message in self.lease(most, queue)]

    def depth(self, queue: str = "q") -> Depth:
        """How it is."""
        found = self.one(Look(queue=queue))
        assert isinstance(found, Depth)
        return found

    def contents(self, queue: str = "q", state: str = "") -> list[Message]:
        """What is in it."""
        found = self.one(List(queue=queue, state=state))
        assert isinstance(found, Messages)
        return list(found.messages)


class QueueStoreSuite:
    """`open_store(name)` opens the store of that name: empty at first, and what it was when opened again."""

    @pytest.fixture
    def open_store(self) -> OpenStore:
        """To be given by the class that inherits."""
        raise NotImplementedError

    @pytest.fixture
    def queues(self, open_store: OpenStore) -> Stepped:
        """One queue, `q`."""
        stepped = Stepped(open_store("queues"))
        stepped.declare()
        return stepped

    @settings(
        max_examples=150,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.too_slow,
            HealthCheck.differing_executors,
        ],
    )
    @given(life=lives)
    def test_it_answers_as_perfect_queues_would(self, open_store: OpenStore, life: list[Turn]) -> None:
        name = f"life-{id(life)}-{next(_lives)}"

        def reopen(store: QueueStore) -> QueueStore:
            store.close()
            return open_store(name)

        comparison = Comparison(open_store(name), reopen)
        try:
            comparison.live(life)
        finally:  # else each try to make a failing life shorter keeps a connection, until the server has no more
            comparison.store.close()

    def test_messages_are_leased_in_the_order_of_their_acceptance(self, queues: Stepped) -> None:
        queues.put("3", "1", "2")
        assert queues.ids(2) == ["3", "1"]
        assert queues.ids(2) == ["2"]
        assert queues.ids() == []

    def test_a_large_batch_is_accepted_in_order(self, queues: Stepped) -> None:
        ids = [str(number) for number in range(300)]
        queues.put(*ids)
        assert queues.ids(1000) == ids

    def test_the_same_put_twice_is_one_message(self, queues: Stepped) -> None:
        queues.put("1", "1")
        queues.put("1")
        (message,) = queues.lease(10)
        assert queues.one(Ack(queue="q", id="1", token=message.token)) == Done()
        queues.put("1")
        assert queues.ids() == []
        assert queues.depth().put == 1

    def test_an_id_is_forgotten_a_while_after_its_end(self, queues: Stepped) -> None:
        queues.put("1")
        (first,) = queues.lease()
        queues.one(Ack(queue="q", id="1", token=first.token))
        queues.now_s += DEDUPLICATION_S + 1
        queues.do()
        queues.put("1")
        (second,) = queues.lease()
        assert second.token != first.token
        assert queues.one(Ack(queue="q", id="1", token=first.token)) == Lost()

    def test_whoever_lost_the_lease_changes_nothing(self, queues: Stepped) -> None:
        queues.put("1")
        (old,) = queues.lease(lease_s=1.0)
        queues.now_s += 1.0
        (new,) = queues.lease()
        held = {"queue": "q", "id": "1", "token": old.token}
        late: list[Op] = [
            Ack(**held, puts=(Put(queue="q", id="2", body=b""),)),  # type: ignore[arg-type]
            Extend(**held, lease_s=5.0),  # type: ignore[arg-type]
            Rewrite(**held, body=b"new"),  # type: ignore[arg-type]
            Return(**held, reason="no"),  # type: ignore[arg-type]
            Bury(**held, reason="bad"),  # type: ignore[arg-type]
        ]
        assert queues.do(*late) == [Lost()] * len(late)
        assert [(message.id, message.body, message.token) for message in queues.contents()] == [("1", b"x", new.token)]

    def test_an_end_that_is_asked_again_is_done_and_one_that_was_not_the_callers_is_lost(self, queues: Stepped) -> None:
        queues.put("1", "2", "3")
        one, two, three = queues.lease(3, lease_s=5.0)
        outbox = (Put(queue="q", id="4", body=b""),)
        ack = Ack(queue="q", id=one.id, token=one.token, puts=outbox)
        bury = Bury(queue="q", id=two.id, token=two.token, reason="bad")
        assert queues.do(ack, ack, bury, bury) == [Done()] * 4
        queues.now_s += 5.0
        assert queues.one(Ack(queue="q", id=three.id, token=three.token)) == Lost()
        assert queues.depth().waiting == 2

    def test_an_outbox_is_put_whole_or_not_at_all(self, queues: Stepped) -> None:
        queues.declare("small", max_items=1)
        queues.put("1")
        (message,) = queues.lease()
        puts = tuple(Put(queue="small", id=str(number), body=b"") for number in range(2))
        ack = Ack(queue="q", id="1", token=message.token, puts=puts)
        assert queues.one(ack) == Full(what="items", limit=1)
        assert queues.depth("small").waiting == 0
        assert queues.depth().leased == 1
        queues.declare("small", max_items=2)
        assert queues.one(ack) == Done()
        assert queues.depth("small").waiting == 2

    def test_a_full_queue_refuses_and_takes_again_when_there_is_room(self, queues: Stepped) -> None:
        queues.declare(max_bytes=10)
        big = Put(queue="q", id="big", body=b"x" * 10)
        assert queues.do(big, Put(queue="q", id="2", body=b"y")) == [Done(), Full(what="bytes", limit=10)]
        (message,) = queues.lease()
        queues.one(Ack(queue="q", id="big", token=message.token))
        assert queues.one(Put(queue="q", id="2", body=b"y")) == Done()

    def test_a_lease_that_is_asked_again_is_answered_with_what_it_leased(self, queues: Stepped) -> None:
        queues.put("1", "2", "3")
        first = queues.one(Lease(queue="q", owner="me", most=2, ask="me:1"))
        assert queues.one(Lease(queue="q", owner="me", most=2, ask="me:1", again=True)) == first
        other = queues.one(Lease(queue="q", owner="me", most=2, ask="me:2", again=True))
        assert isinstance(other, Leases)
        assert [message.id for message in other.messages] == ["3"]

    def test_what_an_owner_held_waits_again_when_it_is_gone(self, queues: Stepped) -> None:
        queues.put("1", "2", "3")
        queues.lease(owner="me", lease_s=math.inf)
        queues.lease(owner="other", lease_s=math.inf)
        queues.lease(owner="", lease_s=math.inf)
        assert sorted(queues.store.owners()) == ["me", "other"]
        assert queues.one(Free(owner="me")) == Count(count=1)
        assert [(message.id, message.leases) for message in queues.lease(9)] == [("1", 2)]

    def test_a_delayed_message_does_not_wait_behind_those_that_came_since(self, queues: Stepped) -> None:
        queues.do(Put(queue="q", id="late", body=b"", visible_s=NOW_S + 5))
        queues.put("1")
        assert queues.store.due(NOW_S) == NOW_S + 5
        assert queues.ids() == ["1"]
        queues.now_s += 5
        queues.put("2")
        assert queues.ids() == ["late"]

    def test_a_message_is_buried_when_it_was_leased_as_often_as_it_may_be(self, queues: Stepped) -> None:
        queues.declare("dead")
        queues.declare(max_leases=2, dead_letters="dead")
        queues.put("1")
        for _ in range(2):
            (message,) = queues.lease()
            queues.one(Return(queue="q", id="1", token=message.token, reason="it failed"))
        assert queues.ids() == []
        (letter,) = queues.contents("dead")
        assert letter.reason == "leased 2 times without being acknowledged; last: it failed"
        assert letter.origin == "q"
        assert queues.one(Redrive(queue="dead")) == Count(count=1)
        assert queues.ids() == ["1"]

    def test_a_return_that_does_not_count_may_be_repeated_for_ever(self, queues: Stepped) -> None:
        queues.declare(max_leases=2)
        queues.put("1")
        for _ in range(5):
            (message,) = queues.lease()
            queues.one(Return(queue="q", id="1", token=message.token, reason="no room", counts=False))
        assert queues.depth().waiting == 1

    def test_an_expired_message_is_removed_or_told_once(self, queues: Stepped) -> None:
        queues.declare("told", tell_expired=True)
        for queue in ("q", "told"):
            queues.do(Put(queue=queue, id="1", body=b"", expires_s=NOW_S + 1))
        queues.now_s += 1
        assert queues.lease() == []
        (message,) = queues.lease(queue="told")
        assert message.expired
        assert (queues.depth().expired, queues.depth("told").expired) == (1, 1)

    def test_what_remains_is_what_it_was_when_the_clock_jumps(self, queues: Stepped) -> None:
        queues.do(
            Put(queue="q", id="late", body=b"", visible_s=NOW_S + 5),
            Put(queue="q", id="dies", body=b"", visible_s=NOW_S + 50, expires_s=NOW_S + 9),
        )
        queues.put("1")
        queues.lease(lease_s=3.0)
        for jump_s in (7200.0, -7200.0 * 2):
            queues.store.shift(jump_s)
            queues.now_s += jump_s
            assert queues.store.due(queues.now_s) == queues.now_s + 3
            depth = queues.depth()
            assert (depth.leased, depth.delayed, depth.oldest_put_s) == (1, 2, queues.now_s)
        queues.now_s += 5
        assert queues.ids(2) == ["late", "1"]
        queues.now_s += 4
        assert queues.depth().expired == 1

    def test_groups_take_turns(self, queues: Stepped) -> None:
        queues.put("a1", "a2", "a3", group="a")
        queues.put("b1", group="b")
        queues.put("0")
        assert queues.ids() == ["a1"]
        assert queues.ids(4) == ["b1", "0", "a2", "a3"]

    def test_a_fifo_group_waits_for_its_first_and_others_do_not(self, queues: Stepped) -> None:
        queues.declare(fifo=True)
        queues.put("a1", "a2", group="a")
        queues.put("b1", group="b")
        (a1, b1) = queues.lease(9)
        assert (a1.id, b1.id) == ("a1", "b1")
        queues.one(Return(queue="q", id="a1", token=a1.token, reason="later", visible_s=NOW_S + 5))
        assert queues.ids(9) == []
        queues.now_s += 5
        (a1,) = queues.lease()
        queues.one(Ack(queue="q", id="a1", token=a1.token))
        assert queues.ids(9) == ["a2"]

    def test_a_lease_carries_no_more_than_fits_an_answer(self, queues: Stepped) -> None:
        body = b"x" * BIG_BYTES
        queues.do(*(Put(queue="q", id=str(number), body=body) for number in range(4)))
        assert len(queues.ids(4)) < 4

    def test_a_purge_takes_what_waits_or_what_is_dead(self, queues: Stepped) -> None:
        queues.put("1", "2", "3")
        one, _ = queues.lease(2)
        queues.one(Bury(queue="q", id=one.id, token=one.token, reason="bad"))
        assert queues.one(Purge(queue="q")) == Count(count=1)
        assert queues.one(Purge(queue="q", dead=True)) == Count(count=1)
        assert [message.id for message in queues.contents()] == ["2"]

    def test_a_dropped_queue_is_gone_with_all_that_it_held(self, queues: Stepped) -> None:
        queues.put("1")
        (message,) = queues.lease()
        assert queues.one(Drop(queue="q")) == Done()
        assert queues.one(Ack(queue="q", id="1", token=message.token)) == Lost()
        assert queues.one(Put(queue="q", id="1", body=b"")) == NoQueue(queue="q")
        queues.declare()
        queues.put("1")
        assert queues.depth().waiting == 1

    def test_it_says_which_queues_have_changed(self, queues: Stepped) -> None:
        queues.declare("other")
        queues.put("1")
        assert list(queues.store.changed()) == ["q"]
        queues.one(Look())
        assert list(queues.store.changed()) == []
        queues.one(Drop(queue="other"))
        assert list(queues.store.changed()) == ["other"]
        assert queues.store.depths(["other", "q"])[0] is None

    def test_all_is_there_after_it_was_opened_again(self, queues: Stepped, open_store: OpenStore) -> None:
        queues.put("1", "2", "3", group="g")
        one, two = queues.lease(2)
        queues.do(
            Rewrite(queue="q", id=one.id, token=one.token, body=b"further"),
            Bury(queue="q", id=two.id, token=two.token, reason="bad"),
        )
        before = (queues.depth(), queues.contents())
        queues.store.close()
        queues.store = open_store("queues")
        assert (queues.depth(), queues.contents()) == before

    # --- for queues of the user's own ----------------------------------------------------------------------------

    def test_a_key_is_put_once_for_a_while_whatever_becomes_of_the_message(self, queues: Stepped) -> None:
        assert queues.one(Put(queue="q", id="1", body=b"x", once="k")) == Done()
        assert queues.one(Put(queue="q", id="2", body=b"x", once="k")) == Done(id="1")
        (message,) = queues.lease(most=10)
        queues.now_s += DEDUPLICATION_S - 1
        assert queues.one(Ack(queue="q", id="1", token=message.token, late=True)) == Done()
        assert queues.one(Put(queue="q", id="3", body=b"x", once="k")) == Done(id="1")
        assert queues.lease() == []
        queues.now_s += 1
        assert queues.one(Put(queue="q", id="4", body=b"x", once="k")) == Done()
        assert [found.id for found in queues.lease()] == ["4"]

    def test_a_key_that_was_refused_is_free(self, queues: Stepped) -> None:
        queues.declare(max_bytes=10)
        big, small = (Put(queue="q", id=str(n), body=b"x" * n, once="k") for n in (11, 5))
        assert queues.do(big, small) == [Full(what="bytes", limit=10), Done()]

    def test_whoever_had_it_last_may_acknowledge_late_until_it_is_leased_again(self, queues: Stepped) -> None:
        queues.put("1")
        (first,) = queues.lease(lease_s=1.0)
        queues.now_s += 2
        assert queues.one(Ack(queue="q", id="1", token=first.token)) == Lost()
        (second,) = queues.lease(lease_s=1.0)
        assert queues.one(Ack(queue="q", id="1", token=first.token, late=True)) == Lost()
        queues.now_s += 2
        assert queues.one(Ack(queue="q", id="1", token=second.token, late=True)) == Done()
        depth = queues.one(Look(queue="q"))
        assert isinstance(depth, Depth)
        assert (depth.waiting, depth.leased, depth.bytes) == (0, 0, 0)

    def test_a_purge_takes_what_is_leased_when_asked_to(self, queues: Stepped) -> None:
        queues.put("1", "2")
        (held,) = queues.lease()
        assert queues.one(Purge(queue="q", leased=True)) == Count(count=2)
        assert queues.one(Ack(queue="q", id=held.id, token=held.token)) == Lost()


_lives = itertools.count()
