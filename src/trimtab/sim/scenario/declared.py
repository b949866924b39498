"""What a scenario file may say, field by field, as msgspec reads it. `build` makes `sim.world` of it."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct, field

from trimtab.sim.scenario.quantities import Bytes, Moment, Part, PerSecond, Seconds, When
from trimtab.sim.world import Mode


class DailyIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A wave: `low` and `high` once in `every`, `high` at `peak` of it."""

    low: PerSecond
    high: PerSecond
    peak: Seconds = Seconds(14 * 3600)
    every: Seconds = Seconds(86_400)


class ArrivalsIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Exactly one of `trace`, `rate`, `steps`, `daily`, `times` says when requests come."""

    trace: str = ""  # a CSV file, relative to the scenario
    only: str | list[str] = ""  # of several series in it
    time: str = ""  # columns, where their names do not tell
    count: str = ""
    by: str = ""
    took: str = ""
    step: Seconds | None = None
    gaps: Literal["none", "hold"] = "none"
    timezone: str = "UTC"
    cut_from: When | None = field(default=None, name="from")  # of the trace's own time
    until: When | None = None
    rate: PerSecond | None = None
    steps: list[tuple[Seconds, PerSecond]] | None = None  # from when on, how many
    daily: DailyIn | None = None
    times: list[Seconds] | None = None
    lasting: Seconds | None = field(default=None, name="for")
    cv: float | None = None  # of the times between requests: 1 is Poisson, 0 is even
    scale: float = 1.0  # so many times the requests
    speed: float = 1.0  # so many times as fast
    repeat: int = 1  # one after the other


class SizesIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Times from recorded sizes: `base` and, for each unit of a column, so much more."""

    file: str
    per: dict[str, Seconds]
    base: Seconds = Seconds(0)
    only: str = ""


class WorkIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a request takes: one of `takes`, `mean` (and `cv`), `p50` and `p99`, `quantiles`, `trace`, `sizes`."""

    takes: Seconds | None = None
    mean: Seconds | None = None
    cv: float | None = None  # None: 1
    p50: Seconds | None = None
    p99: Seconds | None = None
    quantiles: list[Seconds] | None = None
    trace: bool = False  # as the workload's own trace recorded it
    sizes: SizesIn | None = None
    times: float = 1.0  # so many times all that
    slots: int = 1
    batch: int = 1
    row: Seconds = Seconds(0)
    beside: Seconds = Seconds(0)
    first: Seconds = Seconds(0)


class SloIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`kept` of all requests are answered within `within`."""

    within: Seconds
    kept: Part = Part(0.99)


class WorkloadIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One stream of requests."""

    arrivals: ArrivalsIn
    work: Any  # a time, a WorkIn, or these by instance type
    slo: str | SloIn | None = None
    request: Bytes = Bytes(0)
    answer: Bytes = Bytes(0)
    may_wait: bool = False
    memory: Bytes = Bytes(0)
    load: Seconds = Seconds(0)
    loads: list[tuple[Seconds, Bytes]] = []  # the first ones: time and memory of each
    artifact: Bytes = Bytes(0)
    container: str = ""


class EventIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """trimtab's event policy: so many requests in hand for each replica."""

    target: float
    scale_in_cooldown: Seconds = Seconds(300)
    scale_in: bool = True
    stable: Seconds | None = None
    panic: Seconds | None = None
    headroom: float | None = None  # quantile of the rises to be ready for: 0 to 1
    patience: float | None = None  # seconds that callers may wait for a replica


class TrackingIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Target tracking as Application Auto Scaling does it."""

    on: Literal["invocations", "concurrency", "concurrency-10s", "concurrency-1s", "utilization", "cpu"]
    target: float
    scale_in_cooldown: Seconds = Seconds(300)
    scale_out_cooldown: Seconds = Seconds(300)
    scale_in: bool = True


class PolicyIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Exactly one of these."""

    event: EventIn | None = None
    tracking: TrackingIn | None = None
    aws: dict[str, Any] | None = None  # as PutScalingPolicy takes it
    file: str = ""  # the same, in a file


class ActionIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A scheduled action: AWS's at(), rate(), cron()."""

    schedule: str
    timezone: str = "UTC"
    min: int | None = None
    max: int | None = None


class ReplicasIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds of scaling, and how many there are in the beginning."""

    min: int
    max: int
    initial: int | None = None


class ServingIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One endpoint."""

    mode: Mode = Mode.REAL_TIME
    serves: str | list[str] | None = None  # None: the workload of its own name
    instance_type: str = ""
    replicas: int | ReplicasIn = 1
    start: Seconds | None = None
    drain: Seconds | None = None
    policies: list[PolicyIn] = []
    schedule: list[ActionIn] = []
    queue: int | None = None
    timeout: Seconds | None = None
    spot: bool = False
    models: Bytes = Bytes(0)
    pinned: list[str] = []
    slots: int = 0
    unload: Seconds = Seconds(0.05)
    memory: Bytes = Bytes(0)
    concurrency: int = 0
    provisioned: int = 0
    keep_warm: str | int | float = "learned"
    runs_at: str = ""
    times: float = 1.0  # what requests take here, times this


class FaultIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`sim.world.Fault`."""

    at: When
    endpoint: str
    kind: Literal["kill", "spot", "slow", "outage"]
    count: int | None = None  # of replicas that it hits: 1
    factor: float | None = None
    lasting: Seconds | None = field(default=None, name="for")


class ScenarioIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file. `templates` is for YAML's anchors alone."""

    workloads: dict[str, Any]
    architectures: dict[str, Any] = {}
    name: str = ""
    start: Moment | None = None
    faults: list[FaultIn] = []
    seed: int = 0
    region: str = "us-east-1"
    templates: Any = None
