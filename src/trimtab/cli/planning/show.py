"""A plan on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab.cli.render import emit, table

if TYPE_CHECKING:
    from trimtab.advisor.plan.result import Plan


def show(plan: Plan) -> None:
    """The answer, then what it rests on."""
    from trimtab.advisor.plan import words
    from trimtab.advisor.plan.report import steps_of

    emit(words.verdict(plan))
    for miss in plan.misses:
        emit(words.miss_words(miss))
    _workloads(plan)
    _endpoints(plan)
    if plan.before is not None:
        emit("")
        rows = [("as it is now", words.dollars(plan.before.month_usd))]
        rows += [(name, ("+" if change > 0 else "") + words.dollars(change)) for name, change in steps_of(plan)]
        rows.append(("as planned", words.dollars(plan.month_usd)))
        table(("STEP", "$ A MONTH"), rows, right=("$ A MONTH",))
    said = [words.break_even(plan), words.from_optimum(plan) and f"The plan costs {words.from_optimum(plan)}"]
    if plan.committed is not None:
        one = plan.committed
        said.append(f"Commit to {words.dollars(one.usd_per_hour)} an hour ({one.term}). {one.note}")
    said.append(
        f"{plan.simulated:,} endpoints were simulated on {words.seconds(plan.after.span_s)} of requests;"
        f" bounds ruled out {plan.spared:,}."
    )
    emit("")
    for line in said:
        if line:
            emit(line)
    for note in plan.notes:
        emit(f"note: {note}")


def _workloads(plan: Plan) -> None:
    from trimtab.advisor.plan import words

    rows = []
    for workload in plan.workloads:
        for label, side in (("now", plan.before), ("planned", plan.after)):
            if side is not None:
                rows.append((workload.name, words.slo_words(workload.slo), label, *words.row(side, workload)))
    emit("")
    table(("WORKLOAD", "SLO", "", *words.ROW), rows, right=words.ROW[1:])


def _endpoints(plan: Plan) -> None:
    from trimtab.advisor.plan import settings, words

    emit("")
    rows = [
        (label, endpoint.name, words.how(endpoint), ", ".join(endpoint.workloads))
        for label, side in (("now", plan.before), ("planned", plan.after))
        for endpoint in (side.architecture.endpoints if side is not None else ())
    ]
    table(("", "ENDPOINT", "HOW", "SERVES"), rows)
    if plan.settings:
        emit("")
        emit("What is set of the endpoints that there are:")
        for line in settings.lines(plan.settings):
            emit(f"  {line}")
