"""What has been seen of one variant's load: a window of steps, and the newest second finely. Immutable and bounded.

Marks hold sums since the beginning, so that any stretch of time between two of them costs one subtraction.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from msgspec import Struct

from trimtab.policies.scaling.headroom import QUANTILE
from trimtab.policies.scaling.inputs import Load
from trimtab.resources.scaling import TargetTracking

STABLE_S: Final = 60.0  # Knative's default; so is a tenth of it for the panic window
LEAST_STABLE_S: Final = 1.0
MOST_STABLE_S: Final = 3600.0
MOST_PATIENCE_S: Final = 86_400.0
LEAST_PANIC_S: Final = 0.5
FINE_S: Final = 1.0  # so much is kept finely
TOLD_WITHIN_S: Final = 0.02  # a gateway that has said nothing for a while tells a change at once, or after so long
SILENT_S: Final = 0.15  # gateways tell ten times a second while there is anything to tell: silence was empty
UNSEEN_S: Final = 5.0  # nothing at all for so long, not even a Tick: nobody looked, and what was is not known
_STEPS_A_PANIC: Final = 6
_MOST_STEPS: Final = 360
_SLACK_S: Final = 1.0  # counters of several gateways are not read at the same moment


class Windows(Struct, frozen=True):
    """Lengths of the windows of a policy. Steps are a sixth of the panic window (1 s by default), and 360 at most.

    `headroom`: spare replicas are kept for this part of the rises of the last hour; 0: none. `patience_s`: callers
    may wait for so long (see event_patient, where `headroom` is of the stable window, and leaves room rather than
    replicas); 0: they may not, and the panic window is 0.5 s at least.
    """

    stable_s: float
    panic_s: float
    headroom: float = QUANTILE
    patience_s: float = 0.0

    @property
    def step_s(self) -> float:
        """How finely the stable window is kept."""
        return max(max(self.panic_s, LEAST_PANIC_S) / _STEPS_A_PANIC, self.stable_s / _MOST_STEPS)


def windows_of(tracking: TargetTracking) -> Windows:
    """As the metric's dimensions StableWindowSeconds, PanicWindowSeconds, HeadroomQuantile and PatienceSeconds say.
    ValueError names what is wrong."""
    return _windows(tracking.stat.dimensions if tracking.stat is not None else ())


@lru_cache(maxsize=1024)
def _windows(dimensions: tuple[tuple[str, str], ...]) -> Windows:
    given = dict(dimensions)
    seconds = "a number of seconds"
    stable_s = _number(given, "StableWindowSeconds", STABLE_S, LEAST_STABLE_S, MOST_STABLE_S, seconds)
    patience_s = _number(given, "PatienceSeconds", 0.0, 0.0, MOST_PATIENCE_S, seconds)
    panic_s = max(stable_s / 10, LEAST_PANIC_S)
    least_panic_s = 0.0 if patience_s else LEAST_PANIC_S
    return Windows(
        stable_s,
        _number(given, "PanicWindowSeconds", panic_s, least_panic_s, stable_s, seconds),
        _number(given, "HeadroomQuantile", QUANTILE, 0.0, 1.0, "a number"),
        patience_s,
    )


def _number(given: dict[str, str], name: str, default: float, least: float, most: float, what: str) -> float:
    text = given.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise ValueError(f"{name} must be {what} from {least:g} to {most:g}, not {text!r}")
    return value


class Mark(Struct, frozen=True, gc=False):
    """Sums up to `at_s`."""

    at_s: float
    arrived: int
    ended: int
    work_s: float  # replica-seconds
    held_s: float  # request-seconds in hand


class Seen(Struct, frozen=True):
    """What has come so far. `began_s`: since then nothing is missing."""

    began_s: float
    told: Load
    at: Mark  # now
    held_told_s: float  # request-seconds in hand up to `told`
    fine: tuple[Mark, ...]  # the newest second
    steps: tuple[Mark, ...]  # the stable window; the newest is at most a step old

    @property
    def last_step_s(self) -> float:
        """When the newest step was closed."""
        return self.steps[-1].at_s


def begin(load: Load) -> Seen:
    """The first that is told."""
    mark = Mark(load.at_s, 0, 0, 0.0, 0.0)
    return Seen(load.at_s, load, mark, 0.0, (mark,), (mark,))


def is_broken(seen: Seen, at_s: float) -> bool:
    """The clock was set back, or nobody looked for a while: differences over this moment mean nothing."""
    return at_s < seen.at.at_s - FINE_S or at_s > seen.at.at_s + UNSEEN_S


def pass_time(seen: Seen, at_s: float) -> Seen:
    """Nothing was told since: what was in hand still is."""
    before = seen.at
    if at_s <= before.at_s:
        return seen
    held_s = before.held_s + seen.told.now * (at_s - before.at_s)
    mark = Mark(at_s, before.arrived, before.ended, before.work_s, held_s)
    return Seen(seen.began_s, seen.told, mark, seen.held_told_s, _fine(seen.fine, mark), seen.steps)


def tell(seen: Seen, load: Load) -> Seen:
    """A Load. Counters that fall, or grow by more than replicas can do, tell of gateways that came or went."""
    before, told = seen.at, seen.told
    at_s = max(load.at_s, before.at_s)
    arrived, ended, work_s = load.arrived - told.arrived, load.ended - told.ended, load.work_s - told.work_s
    most_s = (max(load.ready, told.ready, load.capacity, told.capacity) + 1) * (at_s - told.at_s) + _SLACK_S
    if arrived < 0 or ended < 0 or not 0 <= work_s <= 2 * most_s:
        arrived, ended, work_s = 0, 0, 0.0
    held_s = seen.held_told_s + max(load.in_hand, 0.0) * max(at_s - told.at_s, 0.0)
    mark = Mark(at_s, before.arrived + arrived, before.ended + ended, before.work_s + work_s, held_s)
    fine = seen.fine
    if arrived and at_s - fine[-1].at_s > 2 * TOLD_WITHIN_S:  # silence until just now
        quiet_s = at_s - TOLD_WITHIN_S
        share = (quiet_s - before.at_s) / (at_s - before.at_s)
        quiet_held_s = before.held_s + (held_s - before.held_s) * share
        fine = _fine(fine, Mark(quiet_s, before.arrived, before.ended, before.work_s, quiet_held_s))
    return Seen(seen.began_s, load, mark, held_s, _fine(fine, mark), seen.steps)


def close_step(seen: Seen, windows: Windows) -> Seen:
    """Let the present moment be the end of a step, and forget what is older than the stable window."""
    oldest_s = seen.at.at_s - windows.stable_s - windows.step_s / 2
    steps = seen.steps
    first = 0
    while first < len(steps) and steps[first].at_s < oldest_s:
        first += 1
    return Seen(seen.began_s, seen.told, seen.at, seen.held_told_s, seen.fine, (*steps[first:], seen.at))


def since(marks: tuple[Mark, ...], at_s: float) -> Mark:
    """The newest mark that is not younger than `at_s`; the oldest there is when all are."""
    for mark in reversed(marks):
        if mark.at_s <= at_s + 1e-6:
            return mark
    return marks[0]


def _fine(fine: tuple[Mark, ...], mark: Mark) -> tuple[Mark, ...]:
    first = 0
    while first < len(fine) and fine[first].at_s < mark.at_s - FINE_S:
        first += 1
    first = max(first - 1, 0)  # one from before, so that a whole second is covered
    if len(fine) > 1 and mark.at_s - fine[-2].at_s < TOLD_WITHIN_S * 0.75:
        return (*fine[first:-1], mark)  # told more often than is of use: bounded all the same
    return (*fine[first:], mark)
