"""How many copies of one model one gateway uses: a further one when it is hot, one less when it has cooled.

Every gateway decides alone, from its own requests. A further copy costs a load and the room of others, so it is asked
for when the waiting that it would have saved has come to what it costs: as one who rents skis buys a pair when the
rents have come to its price. A copy that has cooled is not unloaded: it gets no requests, and leaves when its replica
needs the room or its time to live is over. When the model is hot again before, it is there; a request for which the
others have no room goes there at once. Copies are used in the model's order (`placement.order`), so all gateways leave
the same ones alone, and hosts see which are not needed.
"""

from __future__ import annotations

from math import exp

from msgspec import Struct

BUSY = 0.8  # copies with so large a share of their slots in use, on average, are busy
IDLE = 0.5  # one copy less is used when the others would be busy to no more than this
AVERAGE_S = 2.0  # time constant of the averages
LOADS = 2.0  # a copy costs its own load, and one more for what it sweeps out
COST_LEAST_S = 4.0  # request-seconds of waiting that a further copy must have been worth, however quickly it loads
MEMORY_LEAST_S = 10.0  # waiting is forgotten with this time constant, or ten loads
COOL_LEAST_S = 10.0  # one copy less would have done for so long, or four loads, before it is left alone
ASK_AGAIN_LEAST_S = 5.0  # no word of a copy that was asked for: it is asked for again after this, or three loads
REFUSED_FIRST_S = 10.0  # a host has refused a copy: how long before another is asked for; doubles each time
REFUSED_LAST_S = 300.0
UNSEEN_S = 1.0  # not looked at for so long: nothing was in hand meanwhile


class Seen(Struct, frozen=True):
    """One model as a gateway sees it now.

    `slots`: requests that one copy works on together, its concurrency or its batch size. `least` and `most` are
    ModelSetting's `least` and `max_copies`. `load_s`: from asking for a copy until it was ready, when last seen.
    """

    in_hand: int  # sent to copies, not answered
    waiting: int  # in the gateway's queue
    ready: int  # copies that are ready
    coming: int = 0  # copies that are being loaded, as far as hosts have told
    slots: int = 1
    replicas: int = 1
    least: int = 0
    most: int = 0
    load_s: float = 1.0

    @property
    def demand(self) -> int:
        """Requests that want a slot."""
        return self.in_hand + self.waiting


class Verdict(Struct, frozen=True):
    """`use`: requests go to the first so many copies in the model's order (to all, when fewer are ready), and to the
    others only while none of these has room. `want`: a further copy is to be asked for, of the replica that
    `placement.next_replica` names; `words`: why."""

    use: int
    want: bool = False
    words: str = ""


class Copies:
    """Of one model, in one gateway. `look` a few times a second while it has requests; forget it when the model has
    been idle for a while."""

    __slots__ = (
        "_asked_s",
        "_average",
        "_demand",
        "_last_s",
        "_patience_s",
        "_quiet_s",
        "_refused_s",
        "_saved_s",
        "_use",
    )

    def __init__(self, now_s: float) -> None:
        self._last_s = now_s
        self._demand = 0  # when last looked at
        self._average = 0.0  # of demand
        self._saved_s = 0.0  # request-seconds of waiting that one more copy would have saved
        self._quiet_s = 0.0  # for so long, one copy less would have done
        self._use = 1
        self._asked_s: float | None = None  # for a copy of which nothing has been heard yet
        self._refused_s = -REFUSED_LAST_S
        self._patience_s = 0.0  # after the last refusal

    def look(self, now_s: float, seen: Seen) -> Verdict:
        """Take in what is seen now, and decide. `now_s` never goes back."""
        most = max(1, min(seen.most or seen.replicas, seen.replicas))
        least = min(max(1, seen.least), most)
        use = min(max(self._use, least), most, max(seen.ready, least))
        self._take_in(now_s, seen, use)
        busy = self._average > BUSY * use * seen.slots
        words = ""
        if busy and use < min(seen.ready, most):
            use += 1
            self._quiet_s = 0.0
        elif busy and use < most and self._pays(seen) and self._may_ask(now_s, seen):
            words = self._words(seen, use)
            self._asked_s = now_s
            self._saved_s = 0.0
        elif use > least and self._quiet_s >= max(COOL_LEAST_S, 4 * seen.load_s):
            use -= 1
            self._quiet_s = 0.0
        self._use = use
        return Verdict(use, bool(words), words)

    def refused(self, now_s: float) -> None:
        """A host has refused a copy that was asked for because the model is hot: others need the room more."""
        self._asked_s = None
        self._refused_s = now_s
        self._patience_s = min(max(REFUSED_FIRST_S, 2 * self._patience_s), REFUSED_LAST_S)

    def _take_in(self, now_s: float, seen: Seen, use: int) -> None:
        elapsed_s, self._last_s = now_s - self._last_s, now_s
        if elapsed_s > UNSEEN_S:
            self._demand = 0
        demand = 0.0 if elapsed_s > UNSEEN_S else (self._demand + seen.demand) / 2  # since the last look
        self._demand = seen.demand
        self._average = demand + (self._average - demand) * exp(-elapsed_s / AVERAGE_S)
        # With one more copy the same work is done in use / (use + 1) of the time: so much of the waiting is saved.
        saved = max(0.0, demand - use * seen.slots) / (use + 1)
        kept = exp(-elapsed_s / max(MEMORY_LEAST_S, 10 * seen.load_s))
        self._saved_s = self._saved_s * kept + saved * elapsed_s
        self._quiet_s = self._quiet_s + elapsed_s if self._average <= IDLE * (use - 1) * seen.slots else 0.0
        if seen.coming or seen.ready > use:
            self._asked_s = None
        if seen.ready > use:
            self._patience_s = 0.0

    def _pays(self, seen: Seen) -> bool:
        return self._saved_s >= max(COST_LEAST_S, LOADS * seen.load_s)

    def _may_ask(self, now_s: float, seen: Seen) -> bool:
        if seen.coming or now_s < self._refused_s + self._patience_s:
            return False
        return self._asked_s is None or now_s >= self._asked_s + max(ASK_AGAIN_LEAST_S, 3 * seen.load_s)

    def _words(self, seen: Seen, use: int) -> str:
        copies = "one copy works" if use == 1 else f"{use} copies work"
        return (
            f"{self._average:.1f} requests in hand on average, where {copies} on {use * seen.slots}: "
            f"{self._saved_s:.1f} s of waiting that a further copy would have saved, for a load of {seen.load_s:.2f} s"
        )
