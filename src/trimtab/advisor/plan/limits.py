"""What a plan may choose from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct, field

from trimtab.advisor.plan.signals import Signal, Where
from trimtab.sim.world import Mode, Workload

MIB: Final = 2**20
GIB: Final = 2**30
REAL_TIME_BYTES: Final = 25 * 10**6  # AWS: of a request or an answer ("Real-time inference"; 6 MB before 2025)
REAL_TIME_S: Final = 60.0  # AWS: a container has to answer within it
SERVERLESS_BYTES: Final = 4 * 10**6  # AWS: "Serverless inference"
SERVERLESS_S: Final = 60.0
SERVERLESS_START_S: Final = {Where.TRIMTAB: 0.5, Where.AWS: 5.0}
"""Of an environment, before its model is loaded. trimtab's: a birth. AWS tells none: an assumption, image included."""
START_S: Final = {Where.TRIMTAB: 0.5, Where.AWS: 300.0}
"""Of an instance, where nobody tells, without its model's load: trimtab's births; AWS's take four to eight minutes."""
LOAD_S: Final = 6.0
"""Of a model of an audited endpoint, as CloudWatch does not tell it: a published case's (docs/case-study.md)."""
SERVERLESS_MB: Final = (1024, 2048, 3072, 4096, 5120, 6144)
SERVERLESS_MOST: Final = 200  # concurrency of one endpoint
ASYNC_S: Final = 3600.0
WAKE_S: Final = 120.0
"""AWS: two minutes with a backlog and no instance, until the alarm that leaves zero goes off. Taken for each start."""
MEMORY_SHARE: Final = 0.7  # of a machine's memory, for models: the rest is of the runtime and of requests


class Freedom(Struct, frozen=True):
    """What may differ from the architecture that there is. Each stage of a plan may change more than the one before."""

    types: bool = False
    modes: bool = False
    sharing: bool = False


STAGES: Final = (
    ("scaling", Freedom()),
    ("instance types", Freedom(types=True)),
    ("modes", Freedom(types=True, modes=True)),
    ("shared endpoints", Freedom(types=True, modes=True, sharing=True)),
)
"""Policies and bounds of the endpoints that there are; then of other types; then other modes; then fewer endpoints."""


class Limits(Struct, frozen=True, kw_only=True):
    """`model_bytes`: memory for models of a replica, by instance type; of those that are missing nothing is shared.

    `min_replicas` holds for real-time endpoints: 2 where one instance may fail without anybody noticing. With
    `to_zero`, endpoints of one replica may also have none while nobody asks.
    """

    where: Where = Where.TRIMTAB
    types: tuple[str, ...] = ()  # none: those that workloads name
    modes: tuple[Mode, ...] = tuple(Mode)
    min_replicas: int = 1
    max_replicas: int = 64
    to_zero: bool = True
    start_s: float = 0.0  # of an instance of which no endpoint tells it; 0: not known
    model_bytes: Mapping[str, int] = field(default_factory=dict)

    @property
    def signals(self) -> tuple[Signal, ...]:
        """Of real-time endpoints, the quickest first."""
        if self.where is Where.AWS:
            return Signal.TEN, Signal.MINUTE
        return Signal.EVENT, Signal.TEN, Signal.MINUTE


def least_replicas(limits: Limits, mode: Mode) -> int:
    """Below which an endpoint may not scale in. AWS lets asynchronous endpoints alone go to zero."""
    if mode is Mode.ASYNC:
        return 0
    if limits.min_replicas <= 1 and limits.to_zero and limits.where is Where.TRIMTAB and mode is Mode.REAL_TIME:
        return 0
    return limits.min_replicas


def forbidden(workload: Workload, mode: Mode) -> str:
    """Why AWS or its callers would not have a workload served so; "" where they would."""
    size = max(workload.request_bytes, workload.answer_bytes)
    if mode in (Mode.REAL_TIME, Mode.MULTI_MODEL):
        if size > REAL_TIME_BYTES:
            return f"requests of {size / 1e6:.1f} MB; at most {REAL_TIME_BYTES / 1e6:.0f} MB are taken"
    elif mode is Mode.SERVERLESS:
        if size > SERVERLESS_BYTES:
            return f"requests of {size / 1e6:.1f} MB; at most {SERVERLESS_BYTES / 1e6:.0f} MB are taken"
    elif not workload.may_wait:
        return "its callers wait for the answer"
    if mode in (Mode.MULTI_MODEL, Mode.SERVERLESS) and workload.memory_bytes <= 0:
        return "how much memory its model takes is not known"
    return ""
