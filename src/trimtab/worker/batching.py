"""Whether a model is asked in batches: what its environment wants, and what it can."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from trimtab.policies.batching import Batching, Limits, limits_of
from trimtab.worker.answers import Served
from trimtab.worker.batches import Batches
from trimtab.worker.failures import StartFailed
from trimtab.worker.report import Report
from trimtab.worker.serve import Loop


def limits(environment: Mapping[str, str]) -> Limits | None:
    """What the model's environment asks for; None: no batching. Raises StartFailed where it is wrong."""
    try:
        return limits_of(environment)
    except ValueError as error:
        raise StartFailed("Invalid", f"{error} Correct the model's environment.") from error


def batching_of(served: Served, loop: Loop, report: Report, note: Callable[[str], None]) -> Batches | None:
    """Batching for a loaded model; None, and the log and the report say why, where it is off or cannot be."""
    wanted = limits(os.environ)
    if wanted is None:
        return None
    refusal = getattr(served, "refuses_batches", "it is served by handlers that take one request")
    if refusal:
        report.batching = f"off: {refusal}"
        note(f"not batched: {refusal}")
        return None
    report.batch_size = wanted.rows
    report.batching = described(wanted)
    note(f"batched: {report.batching}")

    def changed(text: str) -> None:
        if text.startswith("not batched"):
            report.stop_batching(text)
        note(text)

    return Batches(loop, served, Batching(wanted), changed, report.answered_first)  # type: ignore[arg-type]


def described(limits: Limits) -> str:
    """The bounds, for people."""
    within = f"latency of {limits.latency_s * 1e3:g} ms" if limits.latency_s else f"{limits.delay_s * 1e3:g} ms"
    return f"up to {limits.rows} rows, {'for a ' if limits.latency_s else 'waiting at most '}{within}"
