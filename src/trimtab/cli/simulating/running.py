"""Loads a scenario, runs it, prices it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from trimtab.advisor.bill import SPOT, Bill, bill_of
from trimtab.advisor.plan.words import seconds
from trimtab.advisor.prices.book import book
from trimtab.advisor.words import counted
from trimtab.cli.progress import Progress
from trimtab.cli.render import CliError
from trimtab.errors import Invalid
from trimtab.sim.latency import quantile
from trimtab.sim.world import Architecture, Outcome, Scenario

if TYPE_CHECKING:
    from trimtab.sim.load import Floats
    from trimtab.sim.scenario import Loaded

_TOLD_EVERY_S: Final = 0.5


class Tried(Struct, frozen=True):
    """One architecture: what became of it, and its bill."""

    outcome: Outcome
    bill: Bill

    @property
    def histogram(self) -> Floats:
        """Latencies of all workloads together."""
        found = self.outcome.served[0].histogram.copy()
        for one in self.outcome.served[1:]:
            found += one.histogram
        return found

    @property
    def latencies_s(self) -> tuple[float, float, float]:
        """p50, p95, p99 of all workloads together."""
        histogram = self.histogram
        most = max(one.max_s for one in self.outcome.served)
        p50, p95, p99 = (min(most, quantile(histogram, part)) for part in (0.5, 0.95, 0.99))
        return p50, p95, p99

    @property
    def waiting(self) -> int:
        """Requests without an answer when the time was over: no latency counts them."""
        return sum(one.waiting for one in self.outcome.served)

    @property
    def replica_hours(self) -> float:
        """Of all endpoints that have replicas."""
        return sum(one.replica_s for one in self.outcome.used if one.billed_gb_s == 0) / 3600


class Simulated(Struct, frozen=True):
    """All of them."""

    scenario: Scenario
    seed: int
    region: str
    tried: tuple[Tried, ...]
    price_notes: tuple[str, ...]
    took_s: float

    def broken(self, one: Tried) -> list[str]:
        """SLOs that an architecture does not keep, in words."""
        found = []
        for workload, served in zip(self.scenario.workloads, one.outcome.served, strict=True):
            slo = workload.slo
            if slo is not None and served.within_slo is not None and served.within_slo < slo.kept:
                kept = _percent(served.within_slo, slo.kept)
                found.append(f"{workload.name}: {kept} within {seconds(slo.within_s)}, not {slo.kept * 100:.6g}%")
        return found

    @property
    def outcome_notes(self) -> list[str]:
        """What to say of architectures that had not answered all when the time was over, and of workloads without a
        request."""
        served = self.tried[0].outcome.served if self.tried else ()  # the same requests come to all
        empty = [
            f"{workload.name}: no request came, by chance: its figures say nothing"
            for workload, of in zip(self.scenario.workloads, served, strict=bool(served))
            if not of.requests
        ]
        return empty + [
            f"{one.outcome.architecture}: {counted(one.waiting, 'request')} had no answer when the time was over;"
            " the latencies are of the others"
            for one in self.tried
            if one.waiting
        ]

    @property
    def has_slo(self) -> bool:
        """Whether anything was asked for."""
        return any(workload.slo is not None for workload in self.scenario.workloads)


def _percent(share: float, least: float) -> str:
    """With as many digits as tell it from what was asked for."""
    texts = (f"{share * 100:.{digits}f}" for digits in range(1, 7))
    return f"{next((text for text in texts if float(text) < round(least * 100, 9)), f'{share * 100:.7f}')}%"


def loaded(path: Path) -> Loaded:
    """The scenario of a file, with policies in AWS's form as PutScalingPolicy takes them."""
    from trimtab.aws.autoscaling.declared import policy_of
    from trimtab.sim.scenario import load

    try:
        return load(path, read_policy=policy_of)
    except Invalid as error:
        raise CliError(str(error), "docs/guides/simulating.md tells what a scenario may say.") from error


def run(
    scenario: Scenario, architectures: Sequence[Architecture], *, seed: int | None, region: str, quiet: bool
) -> Simulated:
    """Simulate each, one after the other. CliError where one cannot be; Invalid where none can, for want of numba."""
    from trimtab.sim.kernels.compiled import must_be_there
    from trimtab.sim.simulate import simulate

    must_be_there()  # whatever the architecture: it is not its fault
    chance = scenario.seed if seed is None else seed
    prices = book()
    began_s = time.monotonic()
    tried: list[Tried] = []
    with Progress(quiet=quiet) as progress:
        for one in architectures:
            progress.step(f"simulating {one.name}")
            told = _Told(progress, one.name)
            try:
                outcome = simulate(scenario, one, seed=chance, progress=told)
            except Invalid as error:
                raise CliError(f"The architecture {one.name}: {error}") from error
            tried.append(Tried(outcome, bill_of(outcome, prices, region)))
    notes = [*prices.notes(date.today()), *_of_spot(tried)]
    return Simulated(scenario, chance, region, tuple(tried), tuple(notes), time.monotonic() - began_s)


def _of_spot(tried: Sequence[Tried]) -> list[str]:
    """What is to be said of the price of spot instances, where there are any."""
    lines = [line for one in tried for line in one.bill.lines if line.item.endswith(f"({SPOT})")]
    as_of = [line.price.as_of for line in lines if line.price is not None]
    if not as_of:
        return []
    return [
        f"spot instances are priced as EC2's, which change all the time (an average, as of {min(as_of)});"
        " SageMaker hosts no endpoints on them"
    ]


class _Told:
    """Says how far a run is, and how long it will take; not too often."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress, self._name = progress, name
        self._began_s = self._told_s = time.monotonic()

    def __call__(self, part: float) -> None:
        now_s = time.monotonic()
        if now_s - self._told_s >= _TOLD_EVERY_S and part > 0:
            self._told_s = now_s
            left_s = (now_s - self._began_s) * (1 - part) / part
            self._progress.update(f"simulating {self._name}: {part:.0%}, about {left_s:.0f} s more")
