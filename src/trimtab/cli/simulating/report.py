"""A simulation as tables and as JSON."""

from __future__ import annotations

from typing import Any

from trimtab.advisor.bill import Bill
from trimtab.advisor.words import counted
from trimtab.cli.render import emit, milliseconds, say, table
from trimtab.cli.simulating.charts import charts_of
from trimtab.cli.simulating.running import Simulated, Tried
from trimtab.jobs.loadtest.quantities import seconds_text
from trimtab.resources.cost import Part
from trimtab.sim.world import Served, Used


def show(done: Simulated) -> None:
    """Tables, and curves where there is a terminal."""
    from trimtab.cli.replaying.report import show_charts

    requests = counted(sum(one.requests for one in done.tried[0].outcome.served), "request")
    span_s = done.tried[0].outcome.end_s - done.tried[0].outcome.start_s
    emit(
        f"{done.scenario.name}: {requests} in {seconds_text(span_s)}, seed {done.seed},"
        f" prices of {done.region} (simulated in {seconds_text(done.took_s)})\n"
    )
    _show_architectures(done)
    if len(done.scenario.workloads) > 1:
        emit("")
        _show_workloads(done)
    emit("")
    _show_parts(done)
    show_charts(charts_of(done))
    for note in done.outcome_notes:
        say(f"note: {note}")
    for one in done.tried:
        if one.bill.missing:
            say(
                f"note: {one.outcome.architecture} costs more than that: no price is known of "
                f"{', '.join(one.bill.missing)} (`trimtab prices` says how to give it one)."
            )
    for note in done.price_notes:
        if not note.endswith("left out"):  # what has no price is told by architecture, above
            say(f"note: {note}")


def _show_architectures(done: Simulated) -> None:
    columns = [
        "ARCHITECTURE", "USD", "USD/MONTH", "USD/1,000", "P50 (ms)", "P95 (ms)", "P99 (ms)", "COLD", "LOST",
        "REPLICA-HOURS", "SLO",
    ]  # fmt: skip
    rows = []
    for one in done.tried:
        bill, served = one.bill, one.outcome.served
        per_1000 = bill.usd_per_1000_requests
        rows.append(
            (
                one.outcome.architecture,
                usd_words(bill),
                f"{more_than(bill)}{bill.micro_usd_per_month / 1e6:,.0f}",
                "-" if per_1000 is None else f"{more_than(bill)}{per_1000:.4g}",
                *(milliseconds(latency_s) for latency_s in one.latencies_s),
                f"{sum(each.cold for each in served):,}",
                f"{sum(each.refused + each.failed for each in served):,}",
                f"{one.replica_hours:,.1f}",
                slo_words(done, one),
            )
        )
    table(columns, rows, right=columns[1:-1])


def more_than(bill: Bill) -> str:
    """`> ` before the dollars of a bill in which something has no price."""
    return "> " if bill.missing else ""


def usd_words(bill: Bill) -> str:
    """The dollars of a bill; `> ` where something in it has no price."""
    return f"{more_than(bill)}{amount(bill.micro_usd)}"


def amount(micro_usd: int) -> str:
    """Dollars; with more digits where they are few."""
    usd = micro_usd / 1e6
    return f"{usd:,.2f}" if usd >= 0.995 or not micro_usd else f"{usd:.2g}" if usd < 0.001 else f"{usd:.4f}"


def slo_words(done: Simulated, one: Tried) -> str:
    """`kept`, or what is not."""
    if not done.has_slo:
        return "-"
    return "; ".join(done.broken(one)) or "kept"


def _show_workloads(done: Simulated) -> None:
    columns = ["WORKLOAD", "ARCHITECTURE", "REQUESTS", "P50 (ms)", "P95 (ms)", "P99 (ms)", "COLD", "LOST", "WITHIN SLO"]
    rows = []
    for place, workload in enumerate(done.scenario.workloads):
        for one in done.tried:
            served = one.outcome.served[place]
            rows.append(
                (
                    workload.name,
                    one.outcome.architecture,
                    f"{served.requests:,}",
                    *(milliseconds(latency_s) for latency_s in (served.p50_s, served.p95_s, served.p99_s)),
                    f"{served.cold:,}",
                    f"{served.refused + served.failed:,}",
                    "-" if served.within_slo is None else f"{served.within_slo:.3%}",
                )
            )
    table(columns, rows, right=columns[2:])


def _show_parts(done: Simulated) -> None:
    """What the money was for, in dollars."""
    there = [part for part in Part if any(one.bill.parts.get(part) for one in done.tried)]
    columns = ["WHAT FOR (USD)", *(one.outcome.architecture for one in done.tried)]
    rows = [(part.value, *(amount(one.bill.parts.get(part, 0)) for one in done.tried)) for part in there]
    table(columns, rows, right=columns[1:])


def document(done: Simulated, notes: tuple[str, ...]) -> dict[str, Any]:
    """As JSON."""
    return {
        "scenario": done.scenario.name,
        "seed": done.seed,
        "region": done.region,
        "notes": list(notes),
        "price_notes": list(done.price_notes),
        "architectures": [_architecture(done, one) for one in done.tried],
    }


def _architecture(done: Simulated, one: Tried) -> dict[str, Any]:
    bill, outcome = one.bill, one.outcome
    p50_s, p95_s, p99_s = one.latencies_s
    return {
        "name": outcome.architecture,
        "start_s": outcome.start_s,
        "end_s": outcome.end_s,
        "micro_usd": bill.micro_usd,
        "micro_usd_per_month": bill.micro_usd_per_month,
        "usd_per_1000_requests": bill.usd_per_1000_requests,
        "parts_micro_usd": {part.value: amount for part, amount in bill.parts.items()},
        "without_price": list(bill.missing),
        "replica_hours": one.replica_hours,
        "latency_s": {"p50": p50_s, "p95": p95_s, "p99": p99_s},
        "slo_kept": not done.broken(one) if done.has_slo else None,
        "slo_broken": done.broken(one),
        "workloads": [_served(served) for served in outcome.served],
        "endpoints": [_used(one, used) for used in outcome.used],
    }


def _served(served: Served) -> dict[str, Any]:
    return {
        "name": served.workload,
        "requests": served.requests,
        "answered": served.answered,
        "refused": served.refused,
        "failed": served.failed,
        "waiting": served.waiting,
        "cold": served.cold,
        "within_slo": served.within_slo,
        "latency_s": {
            "mean": served.mean_s,
            "p50": served.p50_s,
            "p95": served.p95_s,
            "p99": served.p99_s,
            "max": served.max_s,
        },
    }


def _used(one: Tried, used: Used) -> dict[str, Any]:
    import msgspec

    return {
        "name": used.endpoint,
        "mode": used.mode.value,
        "instance_type": used.instance_type,
        "is_spot": used.is_spot,
        "micro_usd": one.bill.of_endpoint(used.endpoint),
        "replica_s": used.replica_s,
        "billed_gb_s": used.billed_gb_s,
        "provisioned_gb_s": used.provisioned_gb_s,
        "request_bytes": used.request_bytes,
        "requests": used.requests,
        "loads": used.loads,
        "evictions": used.evictions,
        "parts_s": {part.value: seconds for part, seconds in used.parts.items()},
        "decisions": msgspec.to_builtins([decision for decision in used.decisions if decision.made]),
    }
