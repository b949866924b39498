"""What a simulation is of: workloads that ask, an architecture that answers, and what became of it.

A scenario file (docs/guides/simulating.md) holds the same in YAML. Nothing here knows a price: outcomes tell how much
of what was used, and `advisor` makes dollars of that.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace

from trimtab.policies.scaling.decisions import Decision
from trimtab.resources.alarm import Watched
from trimtab.resources.cost import Part
from trimtab.resources.scaling import ScalingPolicy, ScheduledAction
from trimtab.sim.load import Floats

Ints = np.ndarray[Any, np.dtype[np.int64]]


class Mode(enum.StrEnum):
    """How an endpoint serves."""

    REAL_TIME = "real-time"
    MULTI_MODEL = "multi-model"
    ASYNC = "async"
    SERVERLESS = "serverless"
    BATCH = "batch"  # transform: all that came since the last run, at scheduled times


# --- workloads ------------------------------------------------------------------------------------------------------


class Chunk(Struct, frozen=True):
    """Some requests of one workload, in order of time."""

    at_s: Floats  # seconds since the epoch
    uniform: Floats  # each one's own draw, 0 <= u < 1: `Work.service_s` makes of it how long it takes


class Arrivals(Protocol):
    """When requests come. Iterated anew for each run, with the same outcome; memory bounded by a chunk."""

    @property
    def start_s(self) -> float: ...  # seconds since the epoch

    @property
    def end_s(self) -> float: ...

    def chunks(self, seed: int) -> Iterator[Chunk]: ...  # at most some 10^6 requests each; ordered


class Work(Struct, frozen=True, kw_only=True):
    """What a request takes a slot of a replica, on one instance type.

    `quantiles_s`: 2 or more points of its distribution at even distances from 0 to 1 (one: always the same). A batch of
    n requests takes the largest of its requests' times plus (n - 1) x `row_s`.
    """

    quantiles_s: tuple[float, ...]
    row_s: float = 0.0
    batch: int = 1  # most requests in one batch
    slots: int = 1  # requests (or batches) that a replica works on at once
    beside_s: float = 0.0  # of it on average, a slot is taken and the replica has nothing to do (asynchronous: S3)
    first_s: float = 0.0  # multi-model: the first request of a model that was just loaded takes so much longer

    @property
    def mean_s(self) -> float:
        """Of the distribution (straight lines between the points)."""
        points = np.asarray(self.quantiles_s)
        return float(points[0]) if len(points) == 1 else float((points[1:] + points[:-1]).mean() / 2)

    def times(self, factor: float) -> Work:
        """So many times as long."""
        return replace(
            self,
            quantiles_s=tuple(factor * point for point in self.quantiles_s),
            row_s=factor * self.row_s,
            beside_s=factor * self.beside_s,
            first_s=factor * self.first_s,
        )

    @property
    def busy_share(self) -> float:
        """The part of the time in which all slots are taken that the replica has something to do."""
        mean_s = self.mean_s
        return 1 - (min(1.0, self.beside_s / mean_s) if mean_s > 0 else 0.0) ** self.slots

    def service_s(self, uniform: Floats) -> Floats:
        """How long each takes, by its draw."""
        points = np.asarray(self.quantiles_s)
        if len(points) == 1:
            return np.full(len(uniform), points[0])
        made: Floats = np.interp(uniform, np.linspace(0.0, 1.0, len(points)), points)
        return made


class Slo(Struct, frozen=True, kw_only=True):
    """At least `kept` of the requests are answered within `within_s`, failures and refusals counted as not."""

    within_s: float
    kept: float = 0.99


class PastLoad(Struct, frozen=True):
    """One load of a model, as it was."""

    took_s: float
    memory_bytes: int


class Workload(Struct, frozen=True, kw_only=True):
    """One stream of requests for one model."""

    name: str
    arrivals: Arrivals
    work: dict[str, Work]  # by instance type; "*" for those that are not named
    slo: Slo | None = None
    request_bytes: int = 0
    answer_bytes: int = 0
    may_wait: bool = False  # answers may come later: asynchronous or batch would do
    memory_bytes: int = 0  # of its model, loaded
    load_s: float = 0.0  # into a replica that runs, the artifact being on its disk
    loads: tuple[PastLoad, ...] = ()  # its first loads, in their order; later ones are as the two fields above say
    artifact_bytes: int = 0  # unpacked; 0: as many as would have its memory foretold rightly
    container: str = ""  # image or the like: those that have the same one may share a multi-model endpoint


# --- architectures --------------------------------------------------------------------------------------------------


class OwnAlarm(Struct, frozen=True):
    """An alarm that a caller made for a step policy."""

    policy: str  # name
    watched: Watched
    is_high: bool = True


class Serving(Struct, frozen=True, kw_only=True):
    """One endpoint: who is served, how, and on what."""

    name: str
    mode: Mode
    workloads: tuple[str, ...]
    instance_type: str = ""  # not of a serverless one
    min_replicas: int = 1
    max_replicas: int = 1
    initial_replicas: int | None = None
    start_s: float = 0.0  # from a decision until the replica takes requests
    drain_s: float | None = None  # None: until it has answered what it has
    policies: tuple[ScalingPolicy, ...] = ()
    alarms: tuple[OwnAlarm, ...] = ()  # of step policies
    schedule: tuple[ScheduledAction, ...] = ()
    queue: int = 10_000  # requests that may wait, all together; more are refused
    timeout_s: float = 60.0  # of waiting and work together; then it is a failure
    is_spot: bool = False
    models_bytes: int = 0  # multi-model: memory for models, of a replica
    pinned: tuple[str, ...] = ()  # multi-model: workloads whose model stays loaded
    slots: int = 0  # multi-model: requests that a replica works on at once, of all its models; 0: as of one
    unload_s: float = 0.05  # multi-model: from a model's last answer until its memory is back
    memory_mb: int = 0  # serverless
    max_concurrency: int = 0  # serverless
    provisioned: int = 0  # serverless
    keep_warm: str = "learned"  # serverless: learned, off, or seconds
    runs_at: str = ""  # batch: cron expression
    work_times: float = 1.0  # its models are compiled, quantized, ...: what a request takes, times this

    def served(self, workload: Workload) -> Workload:
        """A workload with what its requests take here."""
        if self.work_times == 1.0:
            return workload
        return replace(workload, work={kind: work.times(self.work_times) for kind, work in workload.work.items()})


class Architecture(Struct, frozen=True, kw_only=True):
    """Endpoints that serve each workload once."""

    name: str
    endpoints: tuple[Serving, ...]


class Fault(Struct, frozen=True, kw_only=True):
    """What happens to an endpoint at a time. `kind`: kill (replicas die), spot (as kill, told 120 s before, and only
    those of endpoints on spot instances), slow (work takes `factor` times as long, for `lasting_s`), outage (no start
    succeeds, for `lasting_s`)."""

    at_s: float
    endpoint: str
    kind: str
    count: int = 1
    factor: float = 1.0
    lasting_s: float = 0.0


class Scenario(Struct, frozen=True, kw_only=True):
    """All that a run depends upon, beside the seed.

    `is_coarse`: event policies are told of load as seldom as hardly matters beside the minutes that a start takes
    (`sim.scaling.scaled.coarse_s`), rather than as often as live ones.
    """

    name: str
    workloads: tuple[Workload, ...]
    architectures: tuple[Architecture, ...]
    faults: tuple[Fault, ...] = ()
    seed: int = 0
    region: str = "us-east-1"
    is_coarse: bool = False

    def faults_of(self, serving: Serving) -> list[Fault]:
        """Those that hit this endpoint: nobody takes an instance away that was not lent on spot."""
        return [one for one in self.faults if one.endpoint == serving.name and (one.kind != "spot" or serving.is_spot)]


# --- outcomes -------------------------------------------------------------------------------------------------------


class Served(Struct, frozen=True, kw_only=True):
    """What became of one workload's requests. `histogram`: answered ones by latency, in bins of `sim.latency`."""

    workload: str
    requests: int
    answered: int
    refused: int  # queue full, throttled
    failed: int  # timed out, lost with a replica
    waiting: int  # at the end
    cold: int  # found no replica, or their model not loaded
    within_slo: float | None  # part of all requests; None without an SLO
    mean_s: float
    p50_s: float
    p95_s: float
    p99_s: float
    max_s: float
    histogram: Floats


class Series(Struct, frozen=True):
    """An endpoint over time: each of so many values is of one step. For plots: at most some thousand points."""

    step_s: float
    start_s: float
    requests: Floats  # per second
    ready: Floats  # replicas
    wanted: Floats
    p99_s: Floats  # NaN where nothing was answered


class Used(Struct, frozen=True, kw_only=True):
    """What one endpoint has used. The seconds of `parts` sum to `replica_s`, those of serverless to what is billed."""

    endpoint: str
    mode: Mode
    instance_type: str
    is_spot: bool
    replica_s: float  # replicas, from order to end
    billed_gb_s: float  # serverless
    provisioned_gb_s: float  # serverless
    request_bytes: float  # in and out, for prices by the byte
    requests: int
    loads: int  # of models into running replicas
    evictions: int
    parts: dict[Part, float] = field(default_factory=dict)
    decisions: tuple[Decision, ...] = ()
    series: Series | None = None


class Outcome(Struct, frozen=True, kw_only=True):
    """Of one architecture. Equal scenario, architecture and seed give an equal outcome, bit for bit."""

    architecture: str
    start_s: float
    end_s: float
    served: tuple[Served, ...]
    used: tuple[Used, ...]
