"""From what an audit has observed to a scenario.

CloudWatch tells requests by the minute or by five, and percentiles of how long models took. What it does not tell is
assumed: that requests come as a Poisson process, how long starts and loads of models take, and that serverless
environments, and types that a user names, are as fast as the instances that there are (where these have no
accelerator), and types with the same accelerators, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from msgspec.structs import replace

from trimtab.advisor.observed import Observed
from trimtab.advisor.plan.demand import ANY_TYPE
from trimtab.advisor.plan.limits import LOAD_S, SERVERLESS_START_S, START_S
from trimtab.advisor.plan.sense import must_make_sense
from trimtab.advisor.plan.signals import Where
from trimtab.advisor.plan.words import names_of, seconds
from trimtab.advisor.prices.shapes import shape_of
from trimtab.errors import Invalid
from trimtab.resources.scaling import ScalingPolicy
from trimtab.sim.arrivals import Rates
from trimtab.sim.load import Floats
from trimtab.sim.scenario.usual import queue_of, timeout_s_of
from trimtab.sim.world import Architecture, Mode, Scenario, Serving, Work, Workload

_POINTS: Final = 101  # of the distribution of service times
_ON_INSTANCES: Final = (Mode.REAL_TIME, Mode.MULTI_MODEL)  # whose callers wait for the answer
TWO: Final = 2
"""Instances, so that one may be lost."""


def scenario_of(
    observed: Sequence[Observed], region: str, *, name: str = "observed", load_s: float = 0.0, start_s: float = 0.0
) -> tuple[Scenario, list[str]]:
    """The scenario, with the endpoints that there are as its architecture; and what was assumed.

    `load_s` of a model and `start_s` of an instance are told beside it; 0: not known. Workloads without a single
    request are left out, and said: nothing can be simulated of them. Invalid where nothing is left, or an observation
    makes no sense.
    """
    for one in observed:
        must_make_sense(one)
    asked = [
        one if one.load_s else replace(one, load_s=load_s or LOAD_S, notes=(*one.notes, *_unknown(load_s, start_s)))
        for one in observed
        if sum(one.counts) > 0
    ]
    notes = [
        f"{one.name}: no request came, so it is not in the plan; `trimtab audit` says what idle endpoints cost"
        for one in observed
        if sum(one.counts) <= 0
    ]
    if not asked:
        raise Invalid("No request was observed on any endpoint: there is nothing to plan for.")
    by_endpoint: dict[str, list[Observed]] = {}
    for one in asked:
        by_endpoint.setdefault(one.endpoint, []).append(one)
    notes += _notes(asked)
    scenario = Scenario(
        name=name,
        workloads=tuple(_workload(one) for one in asked),
        architectures=(
            Architecture(name="as it is", endpoints=tuple(_serving(each, start_s) for each in by_endpoint.values())),
        ),
        region=region,
    )
    return scenario, notes


def fewer_than_two(architecture: Architecture, observed: Sequence[Observed]) -> list[str]:
    """What is to be said of workloads that two instances are asked for, where the architecture may leave them fewer."""
    found: dict[tuple[str, int], list[str]] = {}
    asked = {one.name: one.two_asked_by for one in observed if one.two_asked_by}
    for endpoint in architecture.endpoints:
        if endpoint.mode in _ON_INSTANCES and endpoint.min_replicas < TWO:
            for name in endpoint.workloads:
                if name in asked:
                    found.setdefault((asked[name], endpoint.min_replicas), []).append(name)
    return [
        f"{names_of(names)}: two instances are asked for by {why}, and this plan may go down to {least}:"
        f" --min-replicas {TWO} keeps two of each real-time endpoint"
        for (why, least), names in found.items()
    ]


def _notes(asked: Sequence[Observed]) -> list[str]:
    """What is assumed of whom; the same of several is said once."""
    found: dict[str, list[str]] = {}
    for one in asked:
        for note in _assumed(one):
            found.setdefault(note, []).append(one.name)
    return [f"{names_of(names)}: {note}" for note, names in found.items()]


def _unknown(load_s: float, start_s: float) -> tuple[str, ...]:
    """What is assumed of times that nobody tells."""
    said = [] if load_s else [f"its model loads in {seconds(LOAD_S)} (--load)"]
    if not start_s:
        said.append(f"an instance starts in {START_S[Where.AWS] + (load_s or LOAD_S):g} s (--start)")
    return (f"assumed, as CloudWatch does not tell: {', '.join(said)}",) if said else ()


def _assumed(one: Observed) -> list[str]:
    said = list(one.notes)
    if one.gaps:
        said.append(f"its metrics have gaps, {one.gaps} steps of {one.step_s:g} s in all, taken as 0")
    if one.as_fast_on:
        said.append(f"taken to be as fast on types with the same GPUs ({names_of(one.as_fast_on)})")
    if _is_opaque(one):
        said.append("CloudWatch tells nothing of each model, so this endpoint is taken as one model")
    if len(_followed(one)) < len(one.policies):
        said.append("a policy of its own alarms or of metric math cannot be simulated, and was left out")
    return said


def _is_opaque(one: Observed) -> bool:
    return one.mode is Mode.MULTI_MODEL and not one.models_bytes


def _followed(one: Observed) -> tuple[ScalingPolicy, ...]:
    """Policies that the simulator can follow: those whose alarms target tracking makes, over single metrics."""
    return tuple(policy for policy in one.policies if policy.tracking is not None and not policy.tracking.queries)


def _workload(one: Observed) -> Workload:
    return Workload(
        name=one.name,
        arrivals=Rates(
            rate=np.asarray(one.counts, dtype=np.float64) / one.step_s, step_s=one.step_s, start_s=one.start_s
        ),
        work=_work(one),
        request_bytes=one.request_bytes,
        answer_bytes=one.answer_bytes,
        may_wait=one.mode is Mode.ASYNC,
        memory_bytes=0 if _is_opaque(one) else one.memory_bytes,
        load_s=one.load_s,
        container=one.container or f"not known: {one.name}",  # what it runs was not seen, so it shares nothing
    )


def _work(one: Observed) -> dict[str, Work]:
    """As observed on its instances; without an accelerator, the same is assumed of any other machine, and with one, of
    those that have the same."""
    work = Work(quantiles_s=quantiles(one.name, one.service_s), slots=max(1, one.slots))
    if not one.instance_type:
        return {ANY_TYPE: work}
    shape = shape_of(one.instance_type)
    is_plain = shape is not None and not shape.accelerator
    return dict.fromkeys((one.instance_type, *one.as_fast_on), work) | ({ANY_TYPE: work} if is_plain else {})


def quantiles(name: str, service_s: Mapping[str, float]) -> tuple[float, ...]:
    """The distribution at even distances, from some of its percentiles: straight lines between them, level beyond.

    Invalid without any, or for one that is no percentile or no time.
    """
    try:
        points = sorted((float(percent) / 100, seconds) for percent, seconds in service_s.items())
    except ValueError:
        raise Invalid(f"The service times of {name} are not by percentile: {', '.join(service_s)}.") from None
    if not points or any(not 0 <= part <= 1 or not 0 < seconds < float("inf") for part, seconds in points):
        raise Invalid(f"How long the model of {name} took is not known: without it nothing can be simulated.")
    if len(points) == 1:
        return (points[0][1],)
    parts = [part for part, _ in points]
    times = np.maximum.accumulate(np.asarray([seconds for _, seconds in points]))
    drawn: Floats = np.interp(np.linspace(0.0, 1.0, _POINTS), parts, times)
    return tuple(drawn.tolist())


def _serving(each: Sequence[Observed], told_s: float) -> Serving:
    """The endpoint of these."""
    first = each[0]
    fixed = max(1, first.replicas) if first.mode is not Mode.ASYNC else first.replicas
    least = fixed if first.min_replicas is None else first.min_replicas
    most = fixed if first.max_replicas is None else first.max_replicas
    is_serverless = first.mode is Mode.SERVERLESS
    mode = Mode.REAL_TIME if _is_opaque(first) else first.mode
    load_s = max(one.load_s for one in each)
    start_s = SERVERLESS_START_S[Where.AWS] + load_s if is_serverless else told_s or START_S[Where.AWS] + load_s
    return Serving(
        name=first.endpoint,
        mode=mode,
        workloads=tuple(one.name for one in each),
        instance_type="" if is_serverless else first.instance_type,
        min_replicas=0 if is_serverless else least,
        max_replicas=first.max_concurrency if is_serverless else max(most, least, 1),
        initial_replicas=None if is_serverless else max(first.replicas, 0),
        start_s=start_s,
        queue=queue_of(mode),
        timeout_s=timeout_s_of(mode),
        policies=_followed(first),
        schedule=first.schedule,
        memory_mb=first.memory_mb,
        max_concurrency=first.max_concurrency,
        provisioned=first.provisioned,
        models_bytes=first.models_bytes,
        keep_warm="600",
    )
