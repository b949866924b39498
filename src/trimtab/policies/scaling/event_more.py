"""Whether a variant needs more replicas at once, and for how long they stay when what called for them has gone."""

from __future__ import annotations

from msgspec import Struct

from trimtab.policies.scaling import event_words
from trimtab.policies.scaling.event_levels import Levels, busy_of, capped, coarse, drain_s
from trimtab.policies.scaling.inputs import Load
from trimtab.policies.scaling.queueing import replicas_for
from trimtab.policies.scaling.surge import surge_of
from trimtab.policies.scaling.windows import Mark, Seen, Windows, since

_PANIC_FACTOR = 2.0  # so far beyond the target one second of it is enough to act (Knative's threshold: 200 %)
_MOST_HELD = 5  # stable windows


class More(Struct, frozen=True):
    """`wanted` replicas, and why."""

    wanted: int
    reason: str
    arithmetic: str
    inputs: dict[str, float]
    is_sure: bool = True  # false: it may have been chance after all


class Held(Struct, frozen=True):
    """More replicas, for a reason that was last seen at `at_s`. They stay for `for_s` after that at least.

    What may have been chance holds them for the panic window, so that chance costs little. So does what is sure, when
    it comes once; what comes again holds them for twice as long each time, up to five stable windows, until it has
    stayed away for as long (two stable windows at least): what comes back does not flap. An empty stable window ends
    it.
    """

    more: More
    at_s: float
    for_s: float

    def wanted(self, now_s: float) -> int:
        """Replicas that are not to be given up now."""
        return self.more.wanted if now_s <= self.at_s + self.for_s else 0


class Holds(Struct, frozen=True):
    """What is held for sure, and what may have been chance."""

    sure: Held | None = None
    maybe: Held | None = None

    def wanted(self, now_s: float) -> int:
        """Replicas that are not to be given up now."""
        return max((held.wanted(now_s) for held in (self.sure, self.maybe) if held is not None), default=0)

    def newest(self, now_s: float, within_s: float) -> More | None:
        """The most that was called for in the last `within_s`."""
        recent = [h.more for h in (self.sure, self.maybe) if h is not None and now_s - h.at_s <= within_s]
        return max(recent, key=lambda more: more.wanted, default=None)


def hold(holds: Holds, more: More, now_s: float, windows: Windows) -> Holds:
    """What stays after `more` was called for."""
    if not more.is_sure:
        return Holds(holds.sure, _longer(holds.maybe, more, now_s, windows.panic_s))
    sure = holds.sure
    if sure is None or now_s > sure.at_s + sure.for_s + max(sure.for_s, 2 * windows.stable_s):
        for_s = windows.panic_s
    elif now_s - sure.at_s <= windows.panic_s:  # it goes on
        for_s = sure.for_s
    else:
        for_s = min(2 * sure.for_s, _MOST_HELD * windows.stable_s)
    return Holds(_longer(sure, more, now_s, for_s), holds.maybe)


def _longer(held: Held | None, more: More, now_s: float, for_s: float) -> Held:
    kept = held.more if held is not None and held.wanted(now_s) > more.wanted else more
    return Held(kept, now_s, for_s)


class Asked(Struct, frozen=True):
    """Are more replicas needed than `there`, so that each has `aim` in hand? Of more than `most` nothing is said.

    `mistake_s`: for how long a replica that was not needed would stay.
    """

    aim: float
    there: int
    most: int
    windows: Windows
    mistake_s: float


def more_of(asked: Asked, seen: Seen, levels: Levels, load: Load) -> More | None:
    """How many replicas are needed at once, when it is more than there are."""
    if load.capacity == 0:
        return More(1, *event_words.waking(load))
    windows = asked.windows
    found = [_by_surge(asked, seen, levels, load)]
    if seen.at.at_s - seen.began_s >= windows.step_s:
        second = since(seen.fine, seen.at.at_s - min(windows.step_s, 1.0))
        known = levels.work_s > 0
        if known:
            found.append(_by_hand(asked, seen, levels, load, since(seen.steps, seen.at.at_s - windows.panic_s)))
        if not known or _mean(seen, second) > _PANIC_FACTOR * asked.aim * asked.there:
            found.append(_by_hand(asked, seen, levels, load, second))
    return max((more for more in found if more is not None), key=lambda more: more.wanted, default=None)


def _by_surge(asked: Asked, seen: Seen, levels: Levels, load: Load) -> More | None:
    """By requests that come at a new rate."""
    if levels.work_s <= 0:
        return None  # what a request costs is not known
    surge = surge_of(seen, levels.rate_before, levels.work_s, asked.mistake_s / asked.windows.panic_s)
    if surge is None:
        return None
    work_s = surge.work_s / surge.ended if surge.ended >= Levels.ENOUGH else levels.work_s
    busy = surge.rate * work_s
    likely = replicas_for(coarse(surge.likely_rate * work_s), asked.aim, asked.most)
    needed = max(replicas_for(coarse(busy), asked.aim, asked.most), min(likely, asked.there + 1))
    in_hand = max(float(load.now), surge.rate * levels.stay_s)
    wanted = capped(in_hand / asked.aim, needed)
    if wanted <= asked.there:
        return None
    said = event_words.surge(surge, work_s, in_hand, asked.aim, needed, wanted)
    return More(wanted, *said, is_sure=surge.is_sure)


def _by_hand(asked: Asked, seen: Seen, levels: Levels, load: Load, start: Mark) -> More | None:
    """By what was in hand since `start`."""
    in_hand = _mean(seen, start)
    if in_hand <= asked.aim * asked.there:
        return None
    busy, work_s = busy_of(seen, levels, asked.windows)
    gone_s = drain_s(load)
    needed = asked.most
    if work_s > 0:
        needed = replicas_for(coarse(busy + load.waiting * work_s / gone_s), asked.aim, asked.most)
    wanted = capped(in_hand / asked.aim, needed)
    if wanted <= asked.there:
        return None
    span_s = seen.at.at_s - start.at_s
    known = needed if work_s > 0 else None
    said = event_words.in_hand(in_hand, span_s, asked.aim, busy, work_s, load.waiting, gone_s, known, wanted)
    return More(wanted, *said)


def _mean(seen: Seen, start: Mark) -> float:
    span_s = seen.at.at_s - start.at_s
    return max(seen.at.held_s - start.held_s, 0.0) / span_s if span_s > 0 else 0.0
