"""Endpoints of an architecture in a scenario, each checked against its mode and the workloads that it serves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from trimtab.errors import Invalid
from trimtab.policies.scaling.schedule import next_after
from trimtab.resources.scaling import ScalingPolicy, ScheduledAction
from trimtab.resources.serverless import MAX_CONCURRENCY, MEMORY_MIB
from trimtab.sim.load import MOST_REPLICAS
from trimtab.sim.scenario.declared import ReplicasIn, ServingIn
from trimtab.sim.scenario.document import Document, Path_
from trimtab.sim.scenario.scaling import PolicyReader, action_of, policy_of
from trimtab.sim.scenario.usual import queue_of, timeout_s_of
from trimtab.sim.world import Architecture, Mode, Serving, Workload

_OF_MODE: Final = {  # fields that one mode alone has
    "models": Mode.MULTI_MODEL, "pinned": Mode.MULTI_MODEL, "slots": Mode.MULTI_MODEL, "unload": Mode.MULTI_MODEL,
    "memory": Mode.SERVERLESS, "concurrency": Mode.SERVERLESS,
    "provisioned": Mode.SERVERLESS, "keep_warm": Mode.SERVERLESS, "runs_at": Mode.BATCH,
}  # fmt: skip
_FROM_ZERO: Final = (Mode.SERVERLESS, Mode.BATCH)
_NOT_SERVERLESS: Final = ("instance_type", "replicas", "policies", "schedule", "spot", "drain")
_NOT_BATCH: Final = ("policies", "schedule", "drain")
_UNBOUND: Final = {  # where a `queue` would bound nothing
    Mode.SERVERLESS: "a serverless endpoint has it not: what finds no room is refused.",
    Mode.ASYNC: "the queue of an asynchronous endpoint has no bound.",
    Mode.BATCH: "a batch endpoint has it not: all requests wait until `runs_at`.",
}


class Context(Struct, frozen=True):
    """What endpoints are checked against."""

    document: Document
    workloads: Mapping[str, Workload]
    start_s: float
    read_policy: PolicyReader | None


def architecture_of(context: Context, name: str, value: Any) -> Architecture:
    """The architecture of this name. Raises Invalid unless each workload is served once."""
    document, path = context.document, ("architectures", name)
    if not isinstance(value, dict) or not value:
        raise document.fault(path, "an architecture is a mapping of endpoints, one at least.")
    endpoints = tuple(_serving(context, (*path, endpoint), endpoint, inner) for endpoint, inner in value.items())
    served: dict[str, str] = {}
    for endpoint in endpoints:
        for workload in endpoint.workloads:
            if workload in served:
                raise document.fault(
                    (*path, endpoint.name), f"{workload} is served by {served[workload]} already: once is enough."
                )
            served[workload] = endpoint.name
    if missing := [workload for workload in context.workloads if workload not in served]:
        raise document.fault(path, f"nobody serves {', '.join(missing)}: name it in an endpoint's `serves`.")
    return Architecture(name=name, endpoints=endpoints)


def _serving(context: Context, path: Path_, name: str, value: Any) -> Serving:
    document = context.document
    declared = document.take(path, ServingIn, value)
    for field in value if isinstance(value, dict) else ():
        if field in _OF_MODE and declared.mode is not _OF_MODE[field]:
            raise document.fault(
                (*path, field), f"only the mode {_OF_MODE[field].value} has it, not {declared.mode.value}."
            )
        if field in _NOT_SERVERLESS and declared.mode is Mode.SERVERLESS:
            raise document.fault((*path, field), "a serverless endpoint has it not: say memory and concurrency.")
        if field in _NOT_BATCH and declared.mode is Mode.BATCH:
            raise document.fault((*path, field), "a batch endpoint has it not: all its replicas run at `runs_at`.")
    if declared.queue is not None and declared.mode in _UNBOUND:
        raise document.fault((*path, "queue"), _UNBOUND[declared.mode])
    workloads = _workloads(context, path, name, declared)
    _check_mode(context, path, declared, workloads)
    low, high, initial = _replicas(document, path, declared)
    queue = queue_of(declared.mode) if declared.queue is None else declared.queue
    timeout_s = float(timeout_s_of(declared.mode) if declared.timeout is None else declared.timeout)
    counts = ((queue, "queue"), (declared.provisioned, "provisioned"), (declared.slots, "slots"))
    for number, field in counts:
        if number < 0:
            raise document.fault((*path, field), "it must be 0 or more.")
    if timeout_s <= 0:
        raise document.fault((*path, "timeout"), "it must be more than 0.")
    if not 0 < declared.times < float("inf"):
        raise document.fault((*path, "times"), "it must be more than 0.")
    comes_and_goes = low != high or declared.policies or declared.schedule or declared.mode in _FROM_ZERO
    if declared.start is None and comes_and_goes:
        raise document.fault(path, "say how long a start takes, as `start: 4m`: replicas come and go here.")
    return Serving(
        name=name,
        mode=declared.mode,
        workloads=workloads,
        instance_type=declared.instance_type,
        min_replicas=low,
        max_replicas=high,
        initial_replicas=initial,
        start_s=float(declared.start or 0.0),
        drain_s=None if declared.drain is None else float(declared.drain),
        policies=_policies(context, path, name, declared),
        schedule=tuple(
            action_of(document, (*path, "schedule", number), one, name, number, context.start_s)
            for number, one in enumerate(declared.schedule)
        ),
        queue=queue,
        timeout_s=timeout_s,
        is_spot=declared.spot,
        models_bytes=int(declared.models),
        pinned=tuple(declared.pinned),
        slots=declared.slots,
        unload_s=float(declared.unload),
        memory_mb=_memory_mb(document, path, declared),
        max_concurrency=declared.concurrency,
        provisioned=declared.provisioned,
        keep_warm=_keep_warm(document, path, declared),
        runs_at=_runs_at(context, path, declared),
        work_times=declared.times,
    )


def _workloads(context: Context, path: Path_, name: str, declared: ServingIn) -> tuple[str, ...]:
    document = context.document
    serves = declared.serves
    if serves is None:
        if name not in context.workloads:
            raise document.fault(path, f"say what it serves: `serves: [...]`, of {', '.join(context.workloads)}.")
        return (name,)
    names = (serves,) if isinstance(serves, str) else tuple(serves)
    if not names:
        raise document.fault((*path, "serves"), "an endpoint serves one workload at least.")
    if unknown := [one for one in names if one not in context.workloads]:
        there = ", ".join(context.workloads)
        raise document.fault((*path, "serves"), f"there is no workload {unknown[0]!r}; there are {there}.")
    return names


def _check_mode(context: Context, path: Path_, declared: ServingIn, names: tuple[str, ...]) -> None:
    document, mode = context.document, declared.mode
    if len(names) > 1 and mode is not Mode.MULTI_MODEL:
        raise document.fault(path, f"a {mode.value} endpoint serves one workload; several are for multi-model.")
    if mode is not Mode.SERVERLESS and not declared.instance_type:
        raise document.fault(path, "say on what it runs: `instance_type: ml.m5.large` (or a name of your own).")
    for name in names:
        kinds = context.workloads[name].work
        if "*" not in kinds and declared.instance_type not in kinds:
            runs = declared.instance_type or "a serverless endpoint (say it under `*`)"
            raise document.fault(path, f"the work of {name} is not known on {runs}, but on {', '.join(kinds)}.")
    if mode in (Mode.ASYNC, Mode.BATCH) and not context.workloads[names[0]].may_wait:
        raise document.fault((*path, "mode"), f"answers of {names[0]} would come later: say `may_wait: true` there.")
    if mode is Mode.MULTI_MODEL:
        if declared.models <= 0:
            raise document.fault(path, "say how much memory a replica has for models: `models: 12GB`.")
        for name in names:
            workload = context.workloads[name]
            size = max([workload.memory_bytes, *(load.memory_bytes for load in workload.loads)])
            if not 0 < workload.memory_bytes <= size <= declared.models:
                fits = "does not fit in that" if workload.memory_bytes else "is not known: say its `memory`"
                raise document.fault((*path, "models"), f"the model of {name} {fits}.")
        if unknown := [one for one in declared.pinned if one not in names]:
            raise document.fault((*path, "pinned"), f"it does not serve {unknown[0]!r}.")
    if mode is Mode.SERVERLESS and not 1 <= declared.concurrency <= MAX_CONCURRENCY:
        raise document.fault(path, f"say the most requests at once: `concurrency:` 1 to {MAX_CONCURRENCY}.")
    if mode is Mode.SERVERLESS and declared.provisioned > declared.concurrency:
        raise document.fault((*path, "provisioned"), "it is at most `concurrency`.")


def _replicas(document: Document, path: Path_, declared: ServingIn) -> tuple[int, int, int | None]:
    at = (*path, "replicas")
    given = declared.replicas
    if not isinstance(given, ReplicasIn):
        given = ReplicasIn(min=given, max=given)
    initial = given.initial
    if not 0 <= given.min <= given.max <= MOST_REPLICAS or given.max == 0:
        raise document.fault(at, f"`min` is 0 or more, `max` not less, and from 1 to {MOST_REPLICAS:,}.")
    if initial is not None and not given.min <= initial <= given.max:
        raise document.fault((*at, "initial"), "it is from `min` to `max`.")
    return given.min, given.max, initial


def _policies(context: Context, path: Path_, name: str, declared: ServingIn) -> tuple[ScalingPolicy, ...]:
    document, at = context.document, (*path, "policies")
    found = tuple(
        policy_of(document, (*at, number), one, name, number, context.read_policy)
        for number, one in enumerate(declared.policies)
    )
    if found and not isinstance(declared.replicas, ReplicasIn) and not declared.schedule:
        many = declared.replicas
        raise document.fault(
            at,
            f"they have nothing to decide where replicas are always {many}: say `replicas: {{min: {many}, max: ...}}`.",
        )
    return found


def _memory_mb(document: Document, path: Path_, declared: ServingIn) -> int:
    if declared.mode is not Mode.SERVERLESS:
        return 0
    for unit in (2**20, 10**6):
        found = declared.memory / unit
        if found in MEMORY_MIB or (unit == 10**6 and found % 1000 == 0 and 1 <= found / 1000 <= len(MEMORY_MIB)):
            return int(found) if unit == 2**20 else round(found / 1000) * 1024
    raise document.fault(path, f"`memory` of a serverless endpoint is 1GB to {len(MEMORY_MIB)}GB, in whole GB.")


def _keep_warm(document: Document, path: Path_, declared: ServingIn) -> str:
    text = str(declared.keep_warm)
    if text in ("learned", "off") or re.fullmatch(r"\d+(\.\d+)?", text):
        return text
    if found := re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)", text):
        return f"{float(found[1]) * {'s': 1, 'm': 60, 'h': 3600}[found[2]]:g}"
    raise document.fault((*path, "keep_warm"), f"it is learned, off, or a time like 5m, not {text!r}.")


def _runs_at(context: Context, path: Path_, declared: ServingIn) -> str:
    if declared.mode is not Mode.BATCH:
        return ""
    if not declared.runs_at:
        raise context.document.fault(path, "say when it runs: `runs_at: cron(0 3 * * ? *)`.")
    action = ScheduledAction(
        name="", arn="", endpoint="", variant="", schedule=declared.runs_at, created_s=context.start_s
    )
    try:
        due_s = next_after(action, context.start_s)
    except Invalid as error:
        raise context.document.fault((*path, "runs_at"), str(error)) from None
    if due_s is None:
        raise context.document.fault((*path, "runs_at"), "it is never due after the start.")
    return declared.runs_at
