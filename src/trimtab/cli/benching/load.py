"""From options to a load: arrivals, payloads, bounds."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from msgspec import Struct

from trimtab.cli.render import CliError, say
from trimtab.errors import Invalid
from trimtab.jobs.loadtest import profiles
from trimtab.jobs.loadtest.patterns import Arrivals, ProfileArrivals, Schedule
from trimtab.jobs.loadtest.payloads import Payload, read_payloads
from trimtab.jobs.loadtest.plan import LoadPlan
from trimtab.jobs.loadtest.quantities import positive, seconds_of
from trimtab.jobs.loadtest.traces import arrivals_of, read_trace

DEFAULT_DURATION = "30s"


class Pattern(StrEnum):
    """When requests are due."""

    CONSTANT = "constant"
    POISSON = "poisson"
    STEP = "step"
    DIURNAL = "diurnal"
    TRACE = "trace"


class Load(Struct, frozen=True, kw_only=True):
    """The options that say when requests are due."""

    pattern: Pattern
    rate: float | None
    duration: str
    seed: int = 0
    steps: int = 5
    day: str = ""
    trough: float = 0.2
    trace: Path | None = None
    speed_up: float = 1.0
    time_column: str = ""
    count_column: str = ""

    def arrivals(self) -> Arrivals:
        """When requests are due. Raises CliError, Invalid."""
        if self.trace is not None or self.pattern is Pattern.TRACE:
            return self._trace()
        if self.rate is None:
            raise CliError("Say how many requests a second to send.", "--rate 50, or --find-max --p99 200ms")
        rate = positive(self.rate, "--rate")
        duration_s = seconds_of(self.duration or DEFAULT_DURATION, "--duration")
        match self.pattern:
            case Pattern.CONSTANT:
                return ProfileArrivals(profiles.constant(rate, duration_s), random=False, seed=self.seed)
            case Pattern.STEP:
                return ProfileArrivals(profiles.steps(rate, duration_s, self.steps), seed=self.seed)
            case Pattern.DIURNAL:
                day_s = seconds_of(self.day, "--day") if self.day else duration_s
                profile = profiles.diurnal(rate, duration_s, day_s=day_s, trough=self.trough)
                return ProfileArrivals(profile, seed=self.seed)
            case _:
                return ProfileArrivals(profiles.constant(rate, duration_s), seed=self.seed)

    def _trace(self) -> Arrivals:
        if self.trace is None:
            raise CliError("The pattern trace needs a file.", "--pattern trace --trace FILE")
        if self.pattern is not Pattern.TRACE:
            raise CliError(f"--trace is for --pattern trace, not {self.pattern}.")
        trace = read_trace(self.trace, time_column=self.time_column, count_column=self.count_column)
        if trace.unread:
            say(
                f"note: each row of {self.trace.name} is one request; not read: {', '.join(trace.unread)}"
                " (--count-column names a count)"
            )
        duration_s = seconds_of(self.duration, "--duration") if self.duration else None
        rate = None if self.rate is None else positive(self.rate, "--rate")
        return arrivals_of(trace, rate=rate, speed_up=self.speed_up, duration_s=duration_s, seed=self.seed)

    def document(self) -> dict[str, object]:
        """For JSON."""
        return {
            "pattern": str(self.pattern),
            "rate": self.rate,
            "seed": self.seed,
            "trace": self.trace.name if self.trace else None,
        }


def payloads_of(payload: Path | None, body: str | None, content_type: str, variant: str) -> tuple[Payload, ...]:
    """What to send. Raises CliError, Invalid."""
    if (payload is None) == (body is None):
        raise CliError(
            "Say what to send, once: --payload FILE or --body TEXT.",
            "FILE: JSON Lines of bodies, CSV rows, one body, or a folder of bodies; see docs/guides/load-testing.md.",
        )
    for option, text in (("--content-type", content_type), ("--variant", variant)):
        if not (text.isascii() and (text.isprintable() or not text)):
            raise Invalid(f"{option} must be printable ASCII.")
    if payload is not None:
        return tuple(read_payloads(payload, content_type=content_type, variant=variant))
    assert body is not None
    return (Payload(body.encode(), content_type or "application/json", target_variant=variant),)


class Bounds(Struct, frozen=True, kw_only=True):
    """The options that limit a test."""

    timeout: str
    warm_up: str
    max_connections: int
    max_requests: int
    processes: int

    def plan(self, arrivals: Arrivals, payloads: tuple[Payload, ...], seed: int) -> LoadPlan:
        """A plan within these limits; its warm-up has half of the mean rate. Raises Invalid."""
        if self.max_connections < self.processes:
            raise Invalid(f"--max-connections {self.max_connections} is less than one for each of the processes.")
        schedule = Schedule(arrivals, tuple(payload.weight for payload in payloads), seed)
        warm_up_s = 0.0 if self.warm_up.strip() in ("0", "0s", "") else seconds_of(self.warm_up, "--warm-up")
        return LoadPlan(
            schedule=schedule,
            payloads=payloads,
            timeout_s=seconds_of(self.timeout, "--timeout"),
            warm_up_s=warm_up_s,
            warm_up_rate=arrivals.expected / arrivals.duration_s / 2,
            max_connections=self.max_connections,
            max_requests=self.max_requests,
            processes=self.processes,
        )
