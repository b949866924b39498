"""What a test found, for people: stdout, in plain columns."""

from __future__ import annotations

import shutil
import sys
import textwrap
from datetime import date

from msgspec import Struct

from trimtab.advisor.prices.fleet import Cost
from trimtab.advisor.prices.price import oldest
from trimtab.aws.loaded_endpoint import Use
from trimtab.cli.benching.subject import Subject, dollars
from trimtab.cli.render import emit, first_line, say, size, table
from trimtab.jobs.loadtest.find_max import Best, Tried
from trimtab.jobs.loadtest.outcome import Outcome
from trimtab.jobs.loadtest.quantities import seconds_text
from trimtab.jobs.loadtest.search import Purpose, Verdict
from trimtab.metrics.sketch import Sketch

_QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999))
_WORDS = {
    Purpose.BRACKET: "",
    Purpose.BISECT: "",
    Purpose.AGAIN: "again",
    Purpose.CONFIRM: "confirm",
}


_METRICS = {
    "Utilization": "busy",
    "CPUUtilization": "CPU",
    "MemoryUtilization": "memory",
    "GPUUtilization": "GPU",
    "GPUMemoryUtilization": "GPU memory",
}
_HALF = 0.5  # of a core: a generator that took less was not slow, but kept waiting
_STARVED = "It took little CPU itself: others keep this machine busy. Load from another one, or when it is idle."


class Report(Struct, frozen=True):
    """One outcome with what is known of its subject."""

    subject: Subject
    outcome: Outcome
    use: list[Use]
    use_unknown: str
    cost: Cost | None

    def show(self) -> None:
        """Print it."""
        self._latencies()
        emit("")
        for label, value in self._facts():
            emit(wrapped(f"{label + ':':13}{value}"))
        self._errors()
        self._warnings()

    def _latencies(self) -> None:
        tally = self.outcome.tally
        rows = [_row("latency", tally.latency()), _row("service time", tally.service)]
        if tally.first_chunk.count:
            rows.insert(1, _row("first chunk", tally.first_chunk))
        columns = ("mean", *(name for name, _ in _QUANTILES), "max")
        table(("", *columns), rows, right=columns)

    def _facts(self) -> list[tuple[str, str]]:
        outcome, tally = self.outcome, self.outcome.tally
        facts = [
            ("throughput", f"{rate(outcome.achieved_per_s)} answered of {rate(outcome.offered_per_s)} offered"),
            ("requests", _requests(outcome)),
            ("bytes", f"{size(tally.bytes_sent)} sent, {size(tally.bytes_received)} received"),
        ]
        if tally.chunks:
            facts.append(("chunks", f"{tally.chunks:,}, {rate(tally.chunks / outcome.run.elapsed_s)}"))
        facts.append(("utilization", self._utilization()))
        facts.append(("cost", _cost(self.subject, self.cost, outcome.achieved_per_s)))
        facts.append(("generator", _generator(outcome)))
        if outcome.slo is not None:
            reasons = outcome.broken()
            facts.append(("SLO", f"{outcome.slo}: {'kept' if not reasons else 'broken: ' + '; '.join(reasons)}"))
        return facts

    def _utilization(self) -> str:
        if not self.use:
            return f"not measured ({first_line(self.use_unknown).partition('. ')[0]})"
        several = len({use.variant for use in self.use}) > 1
        return ", ".join(
            f"{f'{use.variant} ' if several else ''}{words_of(use.metric)} {used(use.average, use.maximum)}"
            for use in self.use
        )

    def _errors(self) -> None:
        errors = sorted(self.outcome.tally.errors.values(), key=lambda error: -error.count)
        if errors:
            emit("")
            table(
                ("ERROR", "STATUS", "COUNT", "THE FIRST ONE SAID"),
                [(e.kind, str(e.status or "-"), f"{e.count:,}", first_line(e.example)[:200]) for e in errors],
                right=("COUNT",),
            )

    def _warnings(self) -> None:
        outcome = self.outcome
        if lagged := outcome.lagged:
            say(
                wrapped(
                    f"warning: the load generator could not keep up: {lagged}. The latencies include that. "
                    + ("Use more --processes, or another machine." if outcome.cpu > _HALF else _STARVED),
                    9,
                )
            )
        if outcome.run.stopped:
            say(wrapped(f"warning: stopped after {seconds_text(outcome.run.elapsed_s)}: {outcome.run.stopped}", 9))
        if (quiet := _too_few(outcome)) and not outcome.run.stopped:
            say(wrapped(f"note: {quiet}", 6))


def show_trial(tried: Tried) -> str:
    """One line of a search."""
    outcome, trial = tried.outcome, tried.trial
    slo = outcome.slo
    assert slo is not None
    latency = outcome.tally.latency()
    name = slo.quantile or "p99"
    reached = seconds_text(latency.quantile(dict(_QUANTILES).get(name, 0.9))) if latency.count else "-"
    verdict = {Verdict.KEPT: "kept", Verdict.BROKEN: "broken", Verdict.UNABLE: "generator too slow"}[trial.verdict]
    why = f": {'; '.join(tried.reasons)}" if tried.reasons else ""
    word = _WORDS[trial.purpose]
    return f"{rate(trial.rate):>12} {word:8}{name} {reached:>8}  {verdict}{why}"


def show_best(best: Best, slo: str) -> None:
    """The result of a search, above the figures of its last good trial."""
    found = best.found
    if not found.rate:
        emit(f"no rate that was tried keeps {slo}: {found.why}")
        return
    emit(f"highest rate:  {rate(found.rate)} keeps {slo}")
    emit(f"{'':15}{'confirmed' if found.confirmed else 'not confirmed'}; {found.why}")
    emit("")


def wrapped(text: str, indent: int = 13) -> str:
    """Broken to the terminal's width, with its further lines `indent` columns from the left."""
    if not sys.stdout.isatty():
        return text
    return textwrap.fill(
        text, shutil.get_terminal_size().columns, subsequent_indent=" " * indent, break_on_hyphens=False
    )


def rate(per_s: float) -> str:
    """`0.25/s`, `43.1/s`, `1,234/s`."""
    return f"{per_s:,.0f}/s" if per_s >= 100 else f"{per_s:.3g}/s"


def _row(name: str, sketch: Sketch) -> tuple[str, ...]:
    if not sketch.count:
        return (name, *("-" for _ in range(len(_QUANTILES) + 2)))
    values = [sketch.sum / sketch.count, *(sketch.quantile(q) for _, q in _QUANTILES), sketch.max]
    return (name, *(seconds_text(value) for value in values))


def _requests(outcome: Outcome) -> str:
    tally = outcome.tally
    parts = [f"{tally.answered:,} answered", f"{tally.failed:,} failed ({outcome.error_rate:.2%})"]
    if tally.unfinished:
        parts.append(f"{tally.unfinished:,} unfinished")
    return f"{tally.due:,} due in {seconds_text(outcome.run.elapsed_s)}: {', '.join(parts)}"


def _generator(outcome: Outcome) -> str:
    tally, processes = outcome.tally, outcome.plan.processes
    if not tally.lag.count:
        return "sent nothing"
    lag = f"late by {seconds_text(tally.lag.quantile(0.5))} (p50), {seconds_text(tally.lag.quantile(0.99))} (p99)"
    waited = f", {tally.waited:,} waited for a new or a free connection" if tally.waited else ""
    cores = f"{processes} process{'es' if processes > 1 else ''} at {outcome.cpu:.0%} of a core"
    return f"{lag}; {cores}; at most {tally.most_outstanding:,} open at once{waited}"


def _cost(subject: Subject, cost: Cost | None, achieved_per_s: float) -> str:
    if cost is None:
        kinds = ", ".join(sorted({kind for kind, _ in subject.endpoint.instances})) or "its variants"
        return f"not known: no price of {kinds} (--usd-per-hour says it)"
    per_1000 = cost.per_1000_requests(achieved_per_s)
    shown = f"{dollars(per_1000)} per 1,000 requests at this rate" if per_1000 is not None else "no request answered"
    if not cost.prices:
        return f"{shown}, ${cost.usd_per_hour:,.4g} per hour as told"
    where = f" in {cost.prices[0].region}" if cost.prices[0].region else ""
    dated = f"{where}, {oldest(*cost.prices)}"
    if cost.usd_per_hour:
        of = " + ".join(f"{count} x {kind}" for kind, count in subject.endpoint.instances if kind not in cost.missing)
        shown += f", ${cost.usd_per_hour:,.4g} per hour ({of}{dated})"
    if cost.usd_per_1000:
        shown += f", {dollars(cost.usd_per_1000)} of it by the GB-seconds that serverless billed ({dated.strip(', ')})"
    left_out = f"; no price of {', '.join(cost.missing)}" if cost.missing else ""
    noted = dict.fromkeys(note for price in cost.prices if (note := price.note(date.today())))
    return f"{shown}{left_out}" + "".join(f"\n             {note}" for note in noted)


def words_of(metric: str) -> str:
    """What people call it."""
    return _METRICS.get(metric, metric)


def used(average: float, maximum: float) -> str:
    """`4.3% (at most 210%)`, `0.08%`."""
    mean, most = (f"{value:.0f}%" if value >= 10 else f"{value:.2g}%" for value in (average, maximum))
    return mean if mean == most else f"{mean} (at most {most})"


def _too_few(outcome: Outcome) -> str:
    answered = outcome.tally.answered
    if 0 < answered < 1000:
        return f"of {answered:,} answers, p99.9 is the slowest; for a p99.9 that means something send 10,000 or more"
    return ""
