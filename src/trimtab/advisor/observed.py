"""Workloads as CloudWatch has seen them: what an audit writes down and a plan begins with."""

from __future__ import annotations

from msgspec import Struct, field

from trimtab.resources.scaling import ScalingPolicy, ScheduledAction
from trimtab.sim.world import Mode


class Observed(Struct, frozen=True, kw_only=True):
    """One model on one endpoint. `counts[i]` requests came in the step of `step_s` that begins at
    `start_s + i * step_s`; gaps in the metrics are 0 there, and `gaps` says how many steps they are.

    `service_s`: seconds that the model took, by percentile (`{"50": 0.04, "99": 0.2}`; "0" and "100" are the least and
    the most); at least one of them.
    """

    name: str  # of the workload
    endpoint: str
    mode: Mode
    counts: tuple[float, ...]
    start_s: float
    step_s: float
    service_s: dict[str, float]
    instance_type: str = ""
    as_fast_on: tuple[str, ...] = ()  # further types: of the same accelerators, with room for what memory it held
    replicas: int = 1  # now
    min_replicas: int | None = None  # of its scalable target; None: it has none
    max_replicas: int | None = None
    policies: tuple[ScalingPolicy, ...] = ()
    schedule: tuple[ScheduledAction, ...] = ()
    memory_mb: int = 0  # serverless
    max_concurrency: int = 0  # serverless
    provisioned: int = 0  # serverless
    request_bytes: int = 0
    answer_bytes: int = 0
    memory_bytes: int = 0  # of its model; 0: not known
    load_s: float = 0.0
    container: str = ""
    slots: int = 1  # requests that a replica was seen to work on at once
    gaps: int = 0
    models_bytes: int = 0  # multi-model: memory for models, of a replica
    two_asked_by: str = ""  # who asks for two instances of it, in words: one may be lost then
    notes: tuple[str, ...] = field(default_factory=tuple)
