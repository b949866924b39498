"""Find the highest rate that keeps an SLO: runs what `search.py` asks for."""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from trimtab.jobs.loadtest.crew import Crew
from trimtab.jobs.loadtest.outcome import Outcome
from trimtab.jobs.loadtest.patterns import ProfileArrivals, Schedule
from trimtab.jobs.loadtest.plan import LoadPlan
from trimtab.jobs.loadtest.profiles import constant
from trimtab.jobs.loadtest.search import CONFIRM_FACTOR, Found, Next, Purpose, Search, Trial, Verdict
from trimtab.jobs.loadtest.sender import Sender
from trimtab.jobs.loadtest.slo import QUANTILES, Slo
from trimtab.jobs.loadtest.tally import Tally

LOST = "the SLO is broken already"
_LAG_PART = 0.25  # of the SLO's limit: with more of its own lag, the generator does not blame the endpoint
_BEYOND = (
    2  # so many requests at least should lie beyond the quantile, or it is chance alone: a trial is made longer, ...
)
_LONGEST_S = 60.0  # ... up to this
_PATIENCE = 5.0  # time limits of requests are so many times the SLO's limit


class Tried(Struct, frozen=True):
    """One trial with what was measured in it."""

    trial: Trial
    outcome: Outcome
    reasons: list[str]


class Best(Struct, frozen=True):
    """What was found, every trial that led to it, and the measurements of the rate that was found (None: of none)."""

    found: Found
    tried: list[Tried]

    @property
    def outcome(self) -> Outcome | None:
        """The last trial that kept the SLO at the rate that was found."""
        kept = [t for t in self.tried if t.trial.rate == self.found.rate and t.trial.verdict is Verdict.KEPT]
        return kept[-1].outcome if kept else None


class FindMax(Struct, frozen=True, kw_only=True):
    """A search over Poisson loads. `base` gives payloads, processes, connections and the bound of all requests."""

    search: Search
    slo: Slo
    base: LoadPlan
    trial_s: float
    budget_s: float  # for the whole search
    seed: int = 0

    def run(
        self,
        crew: Crew,
        sender: Sender,
        *,
        on_next: Callable[[Next, float], None],
        on_tried: Callable[[Tried], None],
        watch: Callable[[Tally, float], str],
    ) -> Best:
        """Search. `watch` may stop it (see `crew.Watch`); so do Ctrl-C, a server that goes away, and the bounds."""
        tried: list[Tried] = []
        began_s, requests = time.monotonic(), 0
        while True:
            trials = [t.trial for t in tried]
            step = self.search.next(trials)
            if isinstance(step, Found):
                return Best(step, tried)
            plan = self._plan(step, len(tried))
            requests += int(plan.schedule.arrivals.expected + plan.warm_up_rate * plan.warm_up_s)
            if why := self._bound(plan, time.monotonic() - began_s, requests):
                return Best(self._so_far(trials, why), tried)
            on_next(step, plan.duration_s)
            outcome = Outcome(plan, crew.run(plan, sender, self._watch(plan, watch)), self.slo)
            if outcome.run.stopped not in ("", LOST):
                return Best(self._so_far(trials, outcome.run.stopped), tried)
            tried.append(self._judged(step, outcome))
            on_tried(tried[-1])

    def _plan(self, step: Next, number: int) -> LoadPlan:
        long = CONFIRM_FACTOR if step.purpose is Purpose.CONFIRM else 1.0
        beyond = 1 - QUANTILES.get(self.slo.quantile, 0.99)
        needed_s = min(_BEYOND / beyond / step.rate, max(_LONGEST_S, self.trial_s))
        profile = constant(step.rate, max(self.trial_s, needed_s) * long)
        arrivals = ProfileArrivals(profile, seed=self.seed + number)  # not the same luck each time
        limit_s = self.slo.limit_s
        return replace(
            self.base,
            schedule=Schedule(arrivals, self.base.schedule.weights, self.seed + number),
            timeout_s=min(self.base.timeout_s, max(1.0, _PATIENCE * limit_s)),
            warm_up_s=self.base.warm_up_s,
            warm_up_rate=step.rate / 2,
            limit_s=limit_s,
        )

    def _bound(self, plan: LoadPlan, spent_s: float, requests: int) -> str:
        if spent_s + plan.duration_s > self.budget_s:
            return f"the time for the search ({self.budget_s:.0f} s) is used up"
        if requests > self.base.max_requests:
            return f"the search would send more requests than --max-requests {self.base.max_requests:,} allows"
        return ""

    def _so_far(self, trials: list[Trial], why: str) -> Found:
        found = replace(self.search, most_trials=len(trials)).next(trials)
        return replace(found, why=why) if isinstance(found, Found) else Found(0.0, False, why)

    def _watch(self, plan: LoadPlan, watch: Callable[[Tally, float], str]) -> Callable[[Tally, float], str]:
        expected = plan.schedule.arrivals.expected

        def look(tally: Tally, elapsed_s: float) -> str:
            if why := watch(tally, elapsed_s):
                return why
            return LOST if self.slo.lost(tally, expected) else ""

        return look

    def _judged(self, step: Next, outcome: Outcome) -> Tried:
        reasons = outcome.broken()
        if outcome.run.stopped == LOST and not reasons:
            reasons = [LOST]
        verdict = Verdict.KEPT
        if reasons:
            verdict = Verdict.UNABLE if self._lagged(outcome) else Verdict.BROKEN
        return Tried(Trial(step.rate, step.purpose, verdict), outcome, reasons)

    def _lagged(self, outcome: Outcome) -> bool:
        lag = outcome.tally.lag
        return bool(lag.count) and bool(outcome.lagged) and lag.quantile(0.99) > _LAG_PART * self.slo.limit_s
