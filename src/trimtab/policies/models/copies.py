"""How many copies of one model one gateway uses: a further one when it is hot, one less when it has cooled.

Every gateway decides alone from its own requests. A copy that has cooled is not unloaded: it gets no requests, and
leaves when its replica needs the room (or its time to live is over); if the model is hot again before, it is there.
Copies are used in the model's order (`placement.order`), so that all gateways leave the same ones alone.
"""

from __future__ import annotations

from msgspec import Struct

BUSY = 0.8  # a copy with so large a share of its slots in use, on average, is busy
IDLE = 0.5  # one copy less is used when what is left would be busy to no more than this
AVERAGE_S = 1.0  # time constant of the averages
COOL_S = 10.0  # quiet for so long before a copy is left alone


class Seen(Struct, frozen=True):
    """One model as a gateway sees it now."""

    in_hand: int  # sent to copies, not answered
    waiting: int  # in the gateway's queue
    ready: int  # copies that are ready
    coming: int = 0  # copies that are being loaded, as far as hosts have told
    slots: int = 1  # requests that one copy works on at the same time
    replicas: int = 1
    least: int = 0  # ModelSetting.least
    most: int = 0  # ModelSetting.max_copies; 0: as many as there are replicas
    load_s: float = 1.0  # what a load takes, as last seen


class Verdict(Struct, frozen=True):
    """`use`: requests go to the first so many copies in the model's order (all that are ready, when there are fewer).
    `want`: ask the host that `placement.next_replica` names for a further copy; `words` has the numbers."""

    use: int
    want: bool = False
    words: str = ""


class Copies:
    """Of one model, in one gateway. Step it with `look` a few times a second while the model has requests; forget it
    when the model has been idle for a while: nothing is lost."""

    __slots__ = ("_busy", "_last_s", "_quiet_s", "_use", "_waited_s")

    def __init__(self, now_s: float) -> None:
        self._last_s = now_s
        self._busy = 0.0  # requests in hand or waiting, on average
        self._waited_s = 0.0  # request-seconds of waiting that a further copy would have saved
        self._quiet_s = 0.0  # for so long one copy less would have done
        self._use = 1

    def look(self, now_s: float, seen: Seen) -> Verdict:
        """Take in what is seen now, and decide."""
        elapsed_s = max(0.0, now_s - self._last_s)
        self._last_s = now_s
        share = min(1.0, elapsed_s / AVERAGE_S)
        demand = seen.in_hand + seen.waiting
        self._busy += (demand - self._busy) * share
        self._waited_s = max(0.0, self._waited_s * (1 - share) + seen.waiting * elapsed_s)
        most = min(seen.most or seen.replicas, seen.replicas)
        use = max(1, self._use, seen.least)
        hot = self._busy > BUSY * use * seen.slots or self._waited_s > seen.load_s
        if hot and use < most:
            self._quiet_s = 0.0
            if use < seen.ready:
                use += 1
            elif not seen.coming and self._waited_s > min(seen.load_s, 1.0):
                self._use = use
                words = f"{self._busy:.1f} requests for {use * seen.slots} slots"
                self._waited_s = 0.0
                return Verdict(use, True, words)
        elif use > max(1, seen.least) and self._busy <= IDLE * (use - 1) * seen.slots:
            self._quiet_s += elapsed_s
            if self._quiet_s >= COOL_S:
                self._quiet_s = 0.0
                use -= 1
        else:
            self._quiet_s = 0.0
        self._use = use
        return Verdict(use)
