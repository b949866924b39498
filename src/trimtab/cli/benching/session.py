"""Session: one call of `trimtab bench`, from its options to its results."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from trimtab.aws.client import Client
from trimtab.aws.invoker import Invoker
from trimtab.aws.loaded_endpoint import look_at
from trimtab.cli.benching.load import Bounds, Load
from trimtab.cli.benching.report import Report, rate, show_best, show_trial
from trimtab.cli.benching.safety import announce
from trimtab.cli.benching.subject import Subject, cost_document, use_document
from trimtab.cli.connect import connect
from trimtab.cli.progress import Progress
from trimtab.jobs.loadtest.crew import INTERRUPTED, Crew
from trimtab.jobs.loadtest.find_max import Best, FindMax
from trimtab.jobs.loadtest.outcome import Outcome
from trimtab.jobs.loadtest.patterns import ProfileArrivals
from trimtab.jobs.loadtest.payloads import Payload
from trimtab.jobs.loadtest.profiles import constant
from trimtab.jobs.loadtest.quantities import positive, seconds_of, seconds_text
from trimtab.jobs.loadtest.search import Next, Purpose, Search
from trimtab.jobs.loadtest.slo import Slo
from trimtab.jobs.loadtest.tally import Tally

_FIRST_RATE: Final = 50.0
_TRIAL: Final = "10s"


class Done(Struct, frozen=True):
    """What there is to show. `best` is of a search."""

    load: Load
    subject: Subject
    slo: Slo | None
    outcome: Outcome | None
    report: Report | None
    best: Best | None = None

    @property
    def interrupted(self) -> bool:
        """By Ctrl-C."""
        if self.best is not None:
            return self.best.found.why == INTERRUPTED
        return self.outcome is not None and self.outcome.run.stopped == INTERRUPTED

    def failure(self) -> str:
        """Why the test must count as failed; empty when it must not."""
        outcome = self.outcome
        if self.best is not None:
            return "" if self.best.found.rate else f"No rate that was tried keeps {self.slo}: {self.best.found.why}."
        assert outcome is not None
        if outcome.tally.hopeless:
            return f"The test was stopped: {outcome.tally.hopeless}"
        if outcome.tally.due and not outcome.tally.answered:
            return "No request succeeded."
        if reasons := outcome.broken():
            return f"The SLO ({self.slo}) is not kept: {'; '.join(reasons)}."
        return ""

    def show(self) -> None:
        """For people."""
        if self.best is not None:
            show_best(self.best, str(self.slo))
        if self.report is not None:
            self.report.show()

    def document(self) -> dict[str, Any]:
        """For programs; docs/reference/bench-json.md describes it."""
        from trimtab.jobs.loadtest.outcome import SCHEMA

        outcome, report = self.outcome, self.report
        known: dict[str, Any] = {"schema": SCHEMA}
        if outcome is not None and report is not None:
            known |= outcome.document()
            known["utilization"] = use_document(report.use, report.use_unknown)
            known["cost"] = cost_document(report.cost, outcome.achieved_per_s)
        known["load"] = self.load.document()
        known["subject"] = self.subject.document()
        if self.best is not None:
            known["search"] = _search_document(self.best)
        return known


class Session:
    """The parts that a test and a search share."""

    def __init__(
        self,
        name: str,
        load: Load,
        bounds: Bounds,
        payloads: tuple[Payload, ...],
        slo: Slo | None,
        *,
        usd_per_hour: float | None,
        stream: bool,
        yes: bool,
    ) -> None:
        self._name = name
        self._load = load
        self._bounds = bounds
        self._payloads = payloads
        self._slo = slo
        self._usd_per_hour = usd_per_hour
        self._stream = stream
        self._yes = yes

    def test(self, data_dir: Path | None) -> Done:
        """One test."""
        plan = self._bounds.plan(self._load.arrivals(), self._payloads, self._load.seed)
        requests = plan.requests()
        client, subject, invoker = self._meet(data_dir)
        self._announce(invoker, f"{requests:,} requests in {seconds_text(plan.warm_up_s + plan.duration_s)}")

        def watch(tally: Tally, elapsed_s: float) -> str:
            progress.update(_so_far(tally, elapsed_s, plan.duration_s))
            return ""

        with Progress() as progress, Crew(plan.processes) as crew:
            progress.step(f"warming up for {seconds_text(plan.warm_up_s)}" if plan.warm_up_s else "starting")
            outcome = Outcome(plan, crew.run(plan, invoker, watch), self._slo)
        report = self._report(client, subject, outcome)
        return Done(self._load, subject, self._slo, outcome, report)

    def search(self, data_dir: Path | None, search_time: str) -> Done:
        """`--find-max`."""
        assert self._slo is not None
        first = positive(self._load.rate, "--rate") if self._load.rate is not None else _FIRST_RATE
        trial_s = seconds_of(self._load.duration or _TRIAL, "--duration")
        budget_s = seconds_of(search_time, "--search-time")
        base = self._bounds.plan(ProfileArrivals(constant(first, trial_s)), self._payloads, self._load.seed)
        client, subject, invoker = self._meet(data_dir)
        self._announce(invoker, f"at most {base.max_requests:,} requests in {seconds_text(budget_s)}")
        find = FindMax(
            search=Search(first=first), slo=self._slo, base=base, trial_s=trial_s, budget_s=budget_s,
            seed=self._load.seed,
        )  # fmt: skip
        trying = ""

        def on_next(step: Next, duration_s: float) -> None:
            nonlocal trying
            word = "confirming" if step.purpose is Purpose.CONFIRM else "trying"
            trying = f"{word} {rate(step.rate)} for {seconds_text(duration_s)}"
            progress.update(trying)

        def watch(tally: Tally, elapsed_s: float) -> str:
            progress.update(f"{trying}: {_so_far(tally, elapsed_s, 0.0)}")
            return ""

        with Progress() as progress, Crew(base.processes) as crew:
            best = find.run(
                crew, invoker, on_next=on_next, on_tried=lambda tried: progress.done(show_trial(tried)), watch=watch
            )
        outcome = best.outcome
        report = self._report(client, subject, outcome) if outcome is not None else None
        return Done(self._load, subject, self._slo, outcome, report, best)

    def _meet(self, data_dir: Path | None) -> tuple[Client, Subject, Invoker]:
        client = connect(data_dir)
        endpoint = look_at(client, self._name)
        subject = Subject(endpoint=endpoint, url=client.url, region=client.region, usd_per_hour=self._usd_per_hour)
        subject.check()
        credentials = client.credentials()
        return client, subject, Invoker(client.url, self._name, credentials, client.region, self._stream)

    def _announce(self, invoker: Invoker, bound: str) -> None:
        announce(self._name, invoker.address, bound, yes=self._yes)

    def _report(self, client: Client, subject: Subject, outcome: Outcome) -> Report:
        use, unknown = subject.use(client, outcome.run)  # first: it waits until the run's metrics have been published
        cost = subject.cost(client, outcome.run)
        return Report(subject, outcome, use, unknown, cost)


def _so_far(tally: Tally, elapsed_s: float, duration_s: float) -> str:
    latency = tally.latency()
    quick = ""
    if latency.count:
        quick = f", p50 {seconds_text(latency.quantile(0.5))}, p99 {seconds_text(latency.quantile(0.99))}"
    time = f"{elapsed_s:.0f} of {seconds_text(duration_s)}: " if duration_s else ""
    failed = f", {tally.failed:,} failed" if tally.failed else ""
    waiting = tally.due - tally.finished
    return f"{time}{tally.answered:,} answered{failed}, {waiting:,} waiting{quick}"


def _search_document(best: Best) -> dict[str, Any]:
    found = best.found
    return {
        "rate": float(f"{found.rate:.6g}"),
        "confirmed": found.confirmed,
        "why": found.why,
        "lowest_broken_rate": None if found.lowest_broken == float("inf") else float(f"{found.lowest_broken:.6g}"),
        "trials": [
            {
                "rate": float(f"{tried.trial.rate:.6g}"),
                "purpose": tried.trial.purpose.value,
                "verdict": tried.trial.verdict.value,
                "reasons": tried.reasons,
                "achieved_per_s": float(f"{tried.outcome.achieved_per_s:.6g}"),
            }
            for tried in best.tried
        ],
    }
