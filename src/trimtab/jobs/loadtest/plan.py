"""What a load test is to do."""

from __future__ import annotations

import math

from msgspec import Struct

from trimtab.errors import Invalid
from trimtab.jobs.loadtest.patterns import ProfileArrivals, Schedule
from trimtab.jobs.loadtest.payloads import Payload
from trimtab.jobs.loadtest.profiles import constant

_MOST_STEPS = 900  # a test of up to 15 minutes is told by the second, a longer one in longer steps


class LoadPlan(Struct, frozen=True, kw_only=True):
    """One test. Times are in seconds."""

    schedule: Schedule
    payloads: tuple[Payload, ...]
    timeout_s: float = 60.0  # from the intended time until the whole answer; AWS: a model has 60 s
    warm_up_s: float = 0.0  # requests at the test's first rate, whose answers do not count
    warm_up_rate: float = 0.0
    max_connections: int = 1000  # of all processes together
    max_requests: int = 1_000_000  # warm-up included
    limit_s: float = math.inf  # slower good answers are counted as late
    processes: int = 1

    @property
    def duration_s(self) -> float:
        """How long requests are sent."""
        return self.schedule.arrivals.duration_s

    @property
    def step_s(self) -> float:
        """How long a step of the timeline is: whole seconds."""
        return float(max(1, math.ceil(self.duration_s / _MOST_STEPS)))

    def warm_up(self) -> Schedule | None:
        """What is sent before the test."""
        if not (self.warm_up_s and self.warm_up_rate):
            return None
        profile = constant(self.warm_up_rate, self.warm_up_s)
        return Schedule(ProfileArrivals(profile, random=False), self.schedule.weights, self.schedule.seed)

    def requests(self) -> int:
        """How many requests will be sent, warm-up included. Raises Invalid when they are more than `max_requests`."""
        warm = self.warm_up()
        expected = self.schedule.arrivals.expected + (warm.arrivals.expected if warm else 0.0)
        counted = (
            expected if expected > 2 * self.max_requests else self.schedule.count() + (warm.count() if warm else 0)
        )
        if counted > self.max_requests:
            raise Invalid(
                f"The test would send {counted:,.0f} requests, more than --max-requests {self.max_requests:,} allows."
            )
        return int(counted)
