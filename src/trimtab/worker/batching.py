"""Whether a loaded model is asked in batches: what its environment wants, and what it can."""

from __future__ import annotations

from collections.abc import Callable

from trimtab.policies.batching import Batching, Limits
from trimtab.worker.answers import Served
from trimtab.worker.batches import Batches
from trimtab.worker.report import Report
from trimtab.worker.serve import Loop


def batching_of(
    served: Served, wanted: Limits | None, loop: Loop, report: Report, note: Callable[[str], None]
) -> Batches | None:
    """Batching for a model; None where it is off or cannot be: then the log and the report say why."""
    if wanted is None:
        return None
    model = served.in_batches()
    if isinstance(model, str):
        report.batching = f"off: {model}"
        note(f"not batched: {model}")
        return None
    report.batch_size, report.batching = wanted.rows, described(wanted)
    note(f"batched: {report.batching}")

    def stopped(why: str) -> None:
        report.stop_batching(f"off: {why}")
        note(f"not batched from now on: {why}")

    return Batches(loop, model, Batching(wanted), note, stopped, report.answered_first)


def described(limits: Limits) -> str:
    """The bounds, for people."""
    if limits.latency_s:
        return f"at most {limits.rows} rows, as many as keep {limits.latency_s * 1e3:g} ms"
    return f"at most {limits.rows} rows, waiting at most {limits.delay_s * 1e3:g} ms"
