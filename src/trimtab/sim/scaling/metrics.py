"""CloudWatch's view of a simulated variant: points of the metrics that policies track, and the alarms over them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from math import floor
from typing import Final

from msgspec import Struct

from trimtab.errors import Invalid
from trimtab.metrics.names import INSTANCES, SAGEMAKER, TRIMTAB
from trimtab.policies.alarm_words import COMPARISONS, AlarmPoint
from trimtab.policies.alarms import EXTRA_PERIODS, LATE_S, state_of, step_s
from trimtab.resources.alarm import AlarmState, Watched
from trimtab.resources.metric_query import MetricStat
from trimtab.resources.scaling import SIGNAL_1S, SIGNAL_10S
from trimtab.sim.replicas import watching as w

REPEAT_S: Final = w.REPEAT_S  # AWS: how often a policy is told that its alarm still is in ALARM


class Sample(Struct, frozen=True):
    """What a span of the simulation shows to whoever measures: means, and sums of it."""

    arrivals: float
    in_hand: float
    waiting: float
    busy_s: float
    ready: int
    wanted: int
    span_s: float
    least_hand: float  # in hand at any moment of it
    most_hand: float


Added = tuple[float, float, float, float]
"""Values: their mean, how many samples have it, the least and the most."""


def _one(value: float, count: float) -> Added:
    return value, count, value, value


def _in_hand(s: Sample) -> Added:
    """As live metering has it: least and most of each second, of which CloudWatch takes the Maximum."""
    each = 1 / max(1, s.ready)
    return (s.least_hand + s.most_hand) / 2 * each, s.span_s, s.least_hand * each, s.most_hand * each


def _backlog(s: Sample) -> Added:
    """AWS: of an asynchronous endpoint; what is in work counts."""
    return _one(s.in_hand / max(1, s.ready), s.span_s)


# What a sample adds.
_METRICS: Final[dict[tuple[str, str], Callable[[Sample], Added]]] = {
    (SAGEMAKER, "Invocations"): lambda s: _one(1.0, s.arrivals),
    (SAGEMAKER, "InvocationsPerInstance"): lambda s: _one(1.0 / max(1, s.ready), s.arrivals),
    (SAGEMAKER, "ConcurrentRequestsPerModel"): _in_hand,
    (SAGEMAKER, "ApproximateBacklogSize"): lambda s: _one(s.in_hand, s.span_s),
    (SAGEMAKER, "ApproximateBacklogSizePerInstance"): _backlog,
    (SAGEMAKER, "HasBacklogWithoutCapacity"): lambda s: _one(float(s.in_hand > 0 and s.ready == 0), s.span_s),
    (TRIMTAB, SIGNAL_1S): lambda s: _one(s.in_hand / max(1, s.wanted), s.span_s),
    (TRIMTAB, SIGNAL_10S): lambda s: _one(s.in_hand / max(1, s.wanted), s.span_s),
    (TRIMTAB, "QueueDepth"): lambda s: _one(s.waiting, s.span_s),
    (TRIMTAB, "Utilization"): lambda s: _one(100 * s.busy_s / max(1e-9, s.ready * s.span_s), s.span_s),
    (INSTANCES, "CPUUtilization"): lambda s: _one(100 * s.busy_s / max(1e-9, s.ready * s.span_s), s.span_s),
}
_STATISTICS: Final = ("Sum", "Average", "Maximum", "Minimum", "SampleCount")
_CODES: Final = {
    (SAGEMAKER, "ConcurrentRequestsPerModel"): w.IN_HAND,
    (SAGEMAKER, "InvocationsPerInstance"): w.INVOCATIONS,
    (SAGEMAKER, "ApproximateBacklogSizePerInstance"): w.BACKLOG,
}
_BEYOND: Final = ("GreaterThanThreshold", "LessThanThreshold")


class Measured(Struct, frozen=True):
    """A statistic of a metric that the model has."""

    adds: Callable[[Sample], Added]
    statistic: str

    def value(self, buckets: Sequence[Bucket]) -> float:
        """Over several buckets, one at least."""
        if len(buckets) == 1:
            return self._of_one(buckets[0])
        count = sum(bucket.count for bucket in buckets)
        total = sum(bucket.total for bucket in buckets)
        if self.statistic == "Sum":
            return total
        if self.statistic == "Average":
            return total / count if count else 0.0
        if self.statistic == "SampleCount":
            return count
        return max(b.most for b in buckets) if self.statistic == "Maximum" else min(b.least for b in buckets)

    def _of_one(self, bucket: Bucket) -> float:
        match self.statistic:
            case "Sum":
                return bucket.total
            case "Average":
                return bucket.total / bucket.count if bucket.count else 0.0
            case "SampleCount":
                return bucket.count
        return bucket.most if self.statistic == "Maximum" else bucket.least


def measured(stat: MetricStat | None) -> Measured:
    """Invalid for a metric or a statistic that the model does not have, and without one (metric math)."""
    if stat is None:
        raise Invalid("Policies over metric math cannot be simulated; name a single metric.")
    adds = _METRICS.get((stat.namespace, stat.name))
    if adds is None:
        known = ", ".join(sorted({name for _, name in _METRICS}))
        raise Invalid(f"The metric {stat.namespace} {stat.name} is not known to the simulator, which has {known}.")
    if stat.stat not in _STATISTICS:
        raise Invalid(f"The statistic {stat.stat} cannot be simulated: name one of {', '.join(_STATISTICS)}.")
    return Measured(adds, stat.stat)


class Bucket:
    """All samples of one evaluation step."""

    __slots__ = ("count", "least", "most", "start_s", "total")

    def __init__(self, start_s: int) -> None:
        self.start_s = start_s
        self.total = self.count = 0.0
        self.least, self.most = float("inf"), float("-inf")

    def add(self, mean: float, count: float, least: float, most: float) -> None:
        self.total += mean * count
        self.count += count
        if least < self.least:
            self.least = least
        if most > self.most:
            self.most = most


class SimAlarm:
    """One alarm over a metric of the model. It is evaluated when AWS would, `LATE_S` after a step's end.

    Invalid for a metric or a statistic that the model does not have.
    """

    def __init__(self, watched: Watched, name: str = "") -> None:
        self._measured = measured(watched.stat)
        self.name = name
        self.watched = watched
        self.state = AlarmState.INSUFFICIENT_DATA
        self.value = 0.0  # the newest point's
        self._compare, _ = COMPARISONS[watched.comparison]
        self._step_s = step_s(watched)
        self._per_point = max(1, watched.period_s // self._step_s)
        self._buckets: deque[Bucket] = deque(
            maxlen=(watched.evaluation_periods + EXTRA_PERIODS + 1) * self._per_point + LATE_S + 1
        )
        self._end_s = -1  # of the window that was evaluated last
        self._points = self._run = 0  # seen so far; of these, breaching ones in a row up to the newest
        self._told_minute = -1
        self._due_s = self._told_until_s = float("-inf")  # evaluated next; its policy is told again, if it is in ALARM

    @property
    def adds(self) -> Callable[[Sample], Added]:
        """What it makes of a sample."""
        return self._measured.adds

    def see(self, at_s: float, sample: Sample) -> None:
        """A sample that began at `at_s`."""
        self.take(at_s, self._measured.adds(sample))

    def take(self, at_s: float, added: Added) -> None:
        """As `see`, of what `adds` made of the sample."""
        buckets = self._buckets
        if not buckets or not 0 <= at_s - buckets[-1].start_s < self._step_s:
            buckets.append(Bucket(floor(at_s / self._step_s) * self._step_s))
        buckets[-1].add(*added)

    # --- in machine code (watching.py)

    @property
    def is_plain(self) -> bool:
        """Whether `watching` could look at it, by its metric and its rule."""
        watched = self.watched
        return (
            watched.stat is not None
            and (watched.stat.namespace, watched.stat.name) in _CODES
            and watched.comparison in _BEYOND
            and self._per_point == 1
            and watched.needed == watched.evaluation_periods
        )

    @property
    def is_steady(self) -> bool:
        """Whether it has all the points that it goes by: from then on there are no gaps."""
        return self._points >= self.watched.evaluation_periods and len(self._buckets) > 1

    def row(self) -> list[float]:
        """What `watching` goes on with. Only of one that is plain and steady."""
        watched = self.watched
        assert watched.stat is not None
        buckets = (self._buckets[-1], self._buckets[-2])
        return [
            self._step_s, _CODES[watched.stat.namespace, watched.stat.name], w.STATISTICS.index(watched.stat.stat),
            float(watched.comparison == _BEYOND[0]), watched.threshold, watched.evaluation_periods, self._end_s,
            self._due_s, self._told_until_s, self._told_minute, float(self.state is AlarmState.ALARM), self.value,
            self._run, self._points, 0.0,
            *(value for one in buckets for value in (one.start_s, one.total, one.count, one.least, one.most)),
        ]  # fmt: skip

    def after(self, row: Sequence[float]) -> None:
        """`watching` is done: as it has left the row."""
        self._end_s, self._due_s, self._told_until_s = int(row[w.END_S]), row[w.DUE_S], row[w.TOLD_UNTIL_S]
        self._told_minute, self.value = int(row[w.TOLD_MINUTE]), row[w.VALUE]
        self.state = AlarmState.ALARM if row[w.IS_ALARM] else AlarmState.OK
        self._run, self._points = int(row[w.IN_A_ROW]), int(row[w.SEEN])
        self._buckets.clear()
        for place in (w.BEFORE, w.NEWEST):
            bucket = Bucket(int(row[place]))
            bucket.total, bucket.count, bucket.least, bucket.most = row[place + 1 : place + 5]
            self._buckets.append(bucket)

    # --- when it is looked at

    def fires(self, now_s: float) -> bool:
        """Evaluate, if that is due. Whether its policy is told: when it goes into ALARM, then once a minute."""
        if now_s < self._due_s and (now_s < self._told_until_s or self.state is not AlarmState.ALARM):
            return False
        end_s = floor((now_s - LATE_S) / self._step_s) * self._step_s
        if end_s != self._end_s:
            self._end_s = end_s
            self._due_s = end_s + self._step_s + LATE_S
            before = self.state
            self._evaluate(end_s, now_s)
            if self.state is AlarmState.ALARM and before is not AlarmState.ALARM:
                return self._tells(now_s)
        if self.state is AlarmState.ALARM and floor(now_s / REPEAT_S) != self._told_minute:
            return self._tells(now_s)
        return False

    def _tells(self, now_s: float) -> bool:
        self._told_minute = floor(now_s / REPEAT_S)
        self._told_until_s = (self._told_minute + 1) * REPEAT_S
        return True

    def _evaluate(self, end_s: int, now_s: float) -> None:
        found = self._found(end_s)
        if found:
            self.value = self._measured.value(found)
            self._points += 1
            self._run = self._run + 1 if self._compare(self.value, self.watched.threshold) else 0
        count = self.watched.evaluation_periods
        if self._per_point == 1 and self.watched.needed == count <= self._points:
            # no gaps: what `state_of` says then, without looking at every point each time (a test compares)
            self.state = AlarmState.ALARM if self._run >= count else AlarmState.OK
            return
        ends = range(end_s, end_s - (count + EXTRA_PERIODS) * self.watched.period_s, -self.watched.period_s)
        self.state = state_of(self.watched, [p for at_s in ends if (p := self._point(at_s))], now_s) or self.state

    def _point(self, end_s: int) -> AlarmPoint | None:
        """Of the whole period that ends there."""
        found = self._found(end_s)
        if not found:
            return None
        start_s = end_s - self._per_point * self._step_s
        return AlarmPoint(start_s, self._measured.value(found), sum(bucket.count for bucket in found))

    def _found(self, end_s: int) -> list[Bucket]:
        """All buckets of that period; none where one is missing."""
        start_s = end_s - self._per_point * self._step_s
        found: list[Bucket] = []
        for bucket in reversed(self._buckets):
            if bucket.start_s < start_s:
                break
            if bucket.start_s < end_s:
                found.append(bucket)
        return found if len(found) >= self._per_point else []
