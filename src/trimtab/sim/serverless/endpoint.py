"""A serverless endpoint: environments by the live policy, billed by the millisecond."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from typing import TYPE_CHECKING, Final

import numpy as np

from trimtab.errors import Invalid
from trimtab.policies.serverless.environments import LEARNED_APART
from trimtab.policies.serverless.keep_warm import IdleTimes, window_of
from trimtab.policies.serverless.settings import KeepWarm, KeepWarmMode
from trimtab.resources.cost import Part
from trimtab.sim.latency import quantile
from trimtab.sim.load import Floats
from trimtab.sim.replicas.station import feed, work_on
from trimtab.sim.serverless import environments as e
from trimtab.sim.world import Fault, Scenario, Series, Served, Serving, Used, Workload

if TYPE_CHECKING:
    from trimtab.sim.simulate import Progress

POINTS: Final = 1000
_MB: Final = 1024
_NOTHING: Final = np.empty(0)


def simulate_serverless(
    scenario: Scenario,
    serving: Serving,
    workloads: Sequence[Workload],
    *,
    span: tuple[float, float],
    seed: int,
    progress: Progress,
) -> tuple[tuple[Served, ...], Used]:
    """See `simulate.Simulates`. One request in each environment; requests that have come by the end are answered."""
    (workload,) = workloads
    work = work_on(workload, serving.instance_type)
    requests = ((at_s, takes_s) for at_s, takes_s, _ in feed(workloads, [work], seed))
    run = _Run(serving, workload, requests, scenario.faults_of(serving), span)
    series = run.run(progress)
    whole, seconds = run.account.i, run.account.f
    gb = serving.memory_mb / _MB
    billed, wasted = float(seconds[e.BILLED_S]) * gb, float(seconds[e.WASTED_S]) * gb
    parts = {Part.SERVING: billed - wasted, Part.RETRIES: wasted}
    return (_served(run.account, workload),), Used(
        endpoint=serving.name,
        mode=serving.mode,
        instance_type=serving.instance_type,
        is_spot=False,
        replica_s=float(seconds[e.THERE_S]),
        billed_gb_s=billed,
        provisioned_gb_s=serving.provisioned * (span[1] - span[0]) * gb,
        request_bytes=float(whole[e.REQUESTS] * workload.request_bytes + whole[e.ANSWERED] * workload.answer_bytes),
        requests=int(whole[e.REQUESTS]),
        loads=int(whole[e.MADE]),
        evictions=0,
        parts={part: amount for part, amount in parts.items() if amount > 0},
        series=series,
    )


def keep_warm_of(serving: Serving) -> KeepWarm:
    """As the scenario says it. Invalid for anything else."""
    if serving.keep_warm == "learned":
        return KeepWarm()
    if serving.keep_warm == "off":
        return KeepWarm(KeepWarmMode.OFF)
    try:
        kept_s = float(serving.keep_warm)
    except ValueError:
        kept_s = -1.0
    if not 0 <= kept_s < inf:
        raise Invalid(f"keep_warm of {serving.name} is learned, off, or seconds, not {serving.keep_warm!r}.")
    return KeepWarm(KeepWarmMode.FIXED, kept_s) if kept_s else KeepWarm(KeepWarmMode.OFF)


class _Run:
    def __init__(
        self,
        serving: Serving,
        workload: Workload,
        requests: Iterator[tuple[Floats, Floats]],
        faults: Sequence[Fault],
        span: tuple[float, float],
    ) -> None:
        self.serving, self.span = serving, span
        self.requests = requests
        self.at_s, self.takes_s, self.is_last = _NOTHING, _NOTHING, False
        self.keep_warm = keep_warm_of(serving)
        self.account = e.account(
            most=serving.max_concurrency, provisioned=serving.provisioned, start_s=serving.start_s,
            timeout_s=serving.timeout_s, within_s=inf if workload.slo is None else workload.slo.within_s,
            places=LEARNED_APART, cold_s=self.keep_warm.cold_s,
        )  # fmt: skip
        self.changes = _changes_of(faults)
        self._begin()

    def _begin(self) -> None:
        """A deployment leaves one environment, which no request has asked for; those provisioned are there."""
        whole, seconds = self.account.i, self.account.f
        seconds[e.NOW] = self.span[0]
        whole[e.LEARNS] = self.keep_warm.mode is KeepWarmMode.PATTERN
        whole[e.FREE] = max(1, self.serving.provisioned)
        whole[e.IDLES] = 1
        self.account.since[0] = self.span[0]
        for number, (from_s, until_s) in enumerate(window_of(self.keep_warm, IdleTimes()).spans):
            self.account.window_from[:, number] = from_s
            self.account.window_until[:, number] = until_s
            self.account.windows[:] = number + 1
        e.look(self.account)

    def run(self, progress: Progress) -> Series:
        start_s, end_s = self.span
        step_s = max((end_s - start_s) / POINTS, 1e-9)
        rows: list[tuple[float, float, float, float]] = []
        whole, seconds = self.account.i, self.account.f
        before = (0, 0.0, 0.0)
        for point in range(1, POINTS + 1):
            self._until(start_s + point * step_s)
            after = (int(whole[e.REQUESTS]), float(seconds[e.READY_S]), float(seconds[e.THERE_S]))
            came, ready_s, there_s = (now - then for now, then in zip(after, before, strict=True))
            before = after
            lately = self.account.lately
            rows.append(
                (came / step_s, ready_s / step_s, there_s / step_s, quantile(lately, 0.99) if lately.any() else np.nan)
            )
            lately[:] = 0.0
            progress(point / POINTS)
        there_s = float(seconds[e.THERE_S])
        self.is_last, self.at_s, self.takes_s = True, _NOTHING, _NOTHING
        whole[e.POSITION] = 0
        self._until(end_s + self.serving.timeout_s)
        seconds[e.THERE_S] = there_s
        table = np.array(rows)
        return Series(step_s, start_s, *(table[:, column].copy() for column in range(4)))

    def _until(self, until_s: float) -> None:
        while True:
            change_s = self.changes[0][0] if self.changes else inf
            why = e.run(self.account, self.at_s, self.takes_s, min(until_s, change_s), self.is_last)
            if why == e.MORE:
                self._more()
            elif change_s < until_s:
                _, field, value = self.changes.pop(0)
                self.account.f[field] = value
            else:
                return

    def _more(self) -> None:
        found = next(self.requests, None)
        self.account.i[e.POSITION] = 0
        if found is None:
            self.at_s, self.takes_s, self.is_last = _NOTHING, _NOTHING, True
        else:
            self.at_s, self.takes_s = found


def _changes_of(faults: Sequence[Fault]) -> list[tuple[float, int, float]]:
    """When which figure of the account becomes what. Invalid for faults that need replicas."""
    changes: list[tuple[float, int, float]] = []
    for fault in faults:
        if fault.kind == "slow":
            changes += [(fault.at_s, e.FACTOR, fault.factor), (fault.at_s + fault.lasting_s, e.FACTOR, 1.0)]
        elif fault.kind == "outage":
            changes.append((fault.at_s, e.BLOCKED, fault.at_s + fault.lasting_s))
        else:
            raise Invalid(f"Endpoint {fault.endpoint} is serverless: there is no replica for a {fault.kind} to hit.")
    return sorted(changes)


def _served(account: e.Account, workload: Workload) -> Served:
    whole, seconds = account.i, account.f
    requests, answered = int(whole[e.REQUESTS]), int(whole[e.ANSWERED])
    refused, failed = int(whole[e.REFUSED]), int(whole[e.FAILED])
    longest_s = float(seconds[e.MAX_S])
    p50_s, p95_s, p99_s = (min(quantile(account.histogram, part), longest_s) for part in (0.5, 0.95, 0.99))
    kept = int(whole[e.KEPT]) / requests if requests else 1.0
    return Served(
        workload=workload.name, requests=requests, answered=answered, refused=refused, failed=failed,
        waiting=requests - answered - refused - failed, cold=int(whole[e.COLD]),
        within_slo=None if workload.slo is None else kept,
        mean_s=float(seconds[e.SUM_S]) / answered if answered else 0.0,
        p50_s=p50_s, p95_s=p95_s, p99_s=p99_s, max_s=longest_s, histogram=account.histogram.copy(),
    )  # fmt: skip
