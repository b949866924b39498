"""What a predictive policy foresees in a simulation: the live forecast, of what the run itself has seen so far."""

from __future__ import annotations

from collections import deque
from math import floor
from typing import Final

from trimtab.policies.scaling.predictive import HISTORY_S, forecast, wanted
from trimtab.policies.scaling.tracking import is_per_wanted, metric_of
from trimtab.resources.metric_query import MetricStat
from trimtab.resources.scaling import Predictive, ScalingPolicy, TargetTracking
from trimtab.sim.scaling.metrics import Bucket, Sample, measured

STEP_S: Final = 300  # these four as live: control/scaling/forecasts.py
HORIZON_S: Final = 48 * 3600.0
MADE_ANEW_S: Final = 3600.0
LOOK_EVERY_S: Final = 60.0
_SUMS: Final = ("Sum", "SampleCount")


class Foresight:
    """One policy. It is told samples, none over the end of a step of five minutes, and looked at each minute.

    Invalid for a metric that the model does not have.
    """

    def __init__(self, policy: ScalingPolicy, now_s: float) -> None:
        assert policy.predictive is not None
        self.policy = policy
        self._foresees: Predictive = policy.predictive
        tracking = TargetTracking(
            target_value=1.0, predefined=policy.predictive.predefined, stat=policy.predictive.stat
        )
        stat = metric_of(tracking, policy.endpoint, policy.variant)
        self._measured = measured(stat if isinstance(stat, MetricStat) else None)
        period_s = stat.period_s if isinstance(stat, MetricStat) else 0
        self._scale = (period_s or STEP_S) / STEP_S if self._measured.statistic in _SUMS else 1.0
        self._per_wanted = is_per_wanted(tracking)
        self._bucket = Bucket(floor(now_s / STEP_S) * STEP_S)
        self._replica_s = self._span_s = 0.0
        self._points: deque[tuple[float, float]] = deque(maxlen=int(HISTORY_S) // STEP_S + 1)
        self._load: list[tuple[float, float]] = []
        self._made_s = self._told_s = float("-inf")
        self._told: float | None = None

    def see(self, at_s: float, sample: Sample) -> None:
        """A sample that began at `at_s`."""
        start_s = floor(at_s / STEP_S) * STEP_S
        if start_s != self._bucket.start_s:
            self._close(start_s)
        self._bucket.add(*self._measured.adds(sample))
        self._replica_s += (sample.wanted if self._per_wanted else sample.ready) * sample.span_s
        self._span_s += sample.span_s

    def _close(self, start_s: int) -> None:
        if self._span_s:
            replicas = max(1.0, self._replica_s / self._span_s)
            value = self._measured.value([self._bucket])
            self._points.append((float(self._bucket.start_s), value * self._scale * replicas))
        self._bucket, self._replica_s, self._span_s = Bucket(start_s), 0.0, 0.0

    def look(self, now_s: float, most: int) -> float | None:
        """Replicas to have now, when that is something new, or an hour has passed."""
        if now_s - self._made_s >= MADE_ANEW_S:
            self._made_s, self._load = now_s, forecast(self._points, now_s, HORIZON_S)
        replicas = wanted(self._foresees, self._load, now_s, max_capacity=most)
        if replicas is None or (replicas == self._told and now_s - self._told_s < MADE_ANEW_S):
            return None
        self._told, self._told_s = replicas, now_s
        return replicas
