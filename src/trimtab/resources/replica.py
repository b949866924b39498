"""Replica: one running copy of a variant's model server; and the budget that its start used up."""

from __future__ import annotations

import enum

from msgspec import Struct, field

from trimtab.resources.hosting import Hosting
from trimtab.resources.runtime import Runtime


class Wire(enum.StrEnum):
    """How a gateway talks to a replica."""

    FRAMES = "frames"  # trimtab's own worker: multiplexed frames (wire/frames.py)
    HTTP = "http"  # the SageMaker container contract: GET /ping, POST /invocations
    MODELS = "models"  # a model host: it says which worker has which model (wire/hosting.py)


class ReplicaState(enum.StrEnum):
    """What an engine observes of a replica. See `resources/lifecycles.py` for the arrows."""

    STARTING = "Starting"
    READY = "Ready"  # it answered a warm-up or a ping: requests may be sent
    DRAINING = "Draining"  # takes nothing new, finishes what it has
    FAILED = "Failed"  # will not become ready by itself; `failure` says why
    GONE = "Gone"


class StartCause(enum.StrEnum):
    """Why a replica was started."""

    DEPLOYMENT = "Deployment"  # an endpoint was created or updated
    RESTART = "Restart"  # another one was lost
    SCALE_OUT = "ScaleOut"  # more of them are wanted


class StartBudget(Struct, frozen=True, kw_only=True):
    """Where the time of one start went, in seconds; None where the step did not happen or is not over.

    The steps follow one another; together they are what a request that waited from the beginning would have waited.
    """

    detect_s: float | None = None  # from the need (request, death, call) to its observation
    decide_s: float | None = None  # observation to the decision
    place_s: float | None = None  # decision to the order to the machine
    fetch_s: float | None = None  # artifact to local disk, unpacked; 0 when it was there
    fork_s: float | None = None  # order to the child's first line
    import_s: float | None = None  # imports that the nursery had not done yet
    load_s: float | None = None  # model_fn, or reading the file
    warm_s: float | None = None  # warm-up answers
    first_answer_s: float | None = None  # what the first request of a caller took in the worker

    @property
    def load_time_s(self) -> float | None:
        """From the decision until it was ready; None when nothing of it was measured."""
        steps = (self.place_s, self.fetch_s, self.fork_s, self.import_s, self.load_s, self.warm_s)
        known = [seconds for seconds in steps if seconds is not None]
        return sum(known) if known else None


class Failure(Struct, frozen=True, kw_only=True):
    """Why a replica failed. `reason` is one stable word, `message` says what happened and what to do.

    Reasons: ArtifactMissing, ArtifactInvalid, RequirementsFailed, RuntimeUnknown, RuntimeMissing, ModelLoadFailed,
    StartTimeout, HealthCheckFailed, Exited, OutOfMemory, Hung, NoCapacity, Invalid (a setting that no start can meet).
    `tail` holds the last lines of the traceback or log that show it.
    """

    reason: str
    message: str
    tail: str = ""


class ReplicaSpec(Struct, frozen=True, kw_only=True):
    """Everything an engine must know to start one replica. `id` is unique for ever: a restart is a new replica."""

    id: str
    endpoint: str
    variant: str
    version: str  # the endpoint config that asked for it
    model_name: str
    runtime: Runtime
    artifact_url: str = ""  # "" = the model has no artifact
    artifact_compressed: bool = True
    environment: dict[str, str] = field(default_factory=dict)
    instance_type: str = "ml.m5.large"
    startup_timeout_s: float = 240.0
    download_timeout_s: float = 3600.0
    decided_monotonic_s: float = 0.0  # when the plan decided on it; budgets count from here
    detect_s: float | None = None
    decide_s: float | None = None
    cause: StartCause = StartCause.DEPLOYMENT
    invocation_limit_s: float = 0.0  # that one request may take; 0: the engine's own limit
    hosting: Hosting | None = None  # many models below one prefix: a model host is started; `artifact_url` is ""


class ReplicaStatus(Struct, frozen=True, kw_only=True):
    """What an engine observes of one replica. A replica that was never ready and failed stays listed until stopped."""

    id: str
    endpoint: str
    variant: str
    version: str
    state: ReplicaState
    wire: Wire = Wire.FRAMES
    addresses: tuple[str, ...] = ()  # `unix:/path` or `tcp:host:port`; one per model server process
    pids: tuple[int, ...] = ()
    concurrency: int = 1  # requests that one address works on at the same time
    batch_size: int = 0  # the most that one address works on together; 0: it does not batch
    batching: str = ""  # its bounds, or why there is none; "" = nobody asked for it
    in_flight: int = 0
    gpus: tuple[int, ...] = ()
    started_s: float = 0.0  # wall time of the order to start
    cause: StartCause = StartCause.DEPLOYMENT
    budget: StartBudget = StartBudget()
    failure: Failure | None = None
