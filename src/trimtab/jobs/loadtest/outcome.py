"""Outcome: what a run says, as figures. Pure.

`document` is the stable form for programs (schema `trimtab.bench/1`, described in docs/reference/bench-json.md): names
carry their units, what was not measured is null.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct

from trimtab.jobs.loadtest.crew import Run
from trimtab.jobs.loadtest.plan import LoadPlan
from trimtab.jobs.loadtest.sender import NOT_SENT
from trimtab.jobs.loadtest.slo import QUANTILES, Slo
from trimtab.jobs.loadtest.tally import Tally
from trimtab.metrics.sketch import Sketch

SCHEMA: Final = "trimtab.bench/1"
_TOLERATED_LAG_S: Final = 1e-3
_TOLERATED_LAG_PART: Final = 0.1  # of the latency at the same quantile
_BUSY: Final = 0.95  # of a core


class Outcome(Struct, frozen=True):
    """A plan and what became of it."""

    plan: LoadPlan
    run: Run
    slo: Slo | None = None

    @property
    def tally(self) -> Tally:
        """What was counted."""
        return self.run.tally

    @property
    def offered_per_s(self) -> float:
        """Requests due per second."""
        return self.tally.due / self.run.elapsed_s

    @property
    def achieved_per_s(self) -> float:
        """Good answers per second, of those that came while the load lasted."""
        return self.tally.answered_in_time / self.run.elapsed_s

    @property
    def error_rate(self) -> float:
        """Failed requests of all whose end is known."""
        return self.tally.failed / self.tally.finished if self.tally.finished else 0.0

    @property
    def cpu(self) -> float:
        """Cores that each generating process used, on average."""
        return self.tally.cpu_s / self.run.elapsed_s / self.plan.processes

    @property
    def lagged(self) -> str:
        """In what way the generator itself was too slow; empty when it was not."""
        lag = self.tally.lag
        latency = self.tally.latency()
        if not lag.count or not latency.count:
            return ""
        late_s = lag.quantile(0.99)
        if late_s > max(_TOLERATED_LAG_S, _TOLERATED_LAG_PART * latency.quantile(0.99)):
            return f"1 % of its requests left {late_s * 1e3:.3g} ms late or more"
        if self.cpu > _BUSY:
            return f"it used {self.cpu:.0%} of a core"
        return ""

    def broken(self) -> list[str]:
        """Why the SLO is not kept."""
        return self.slo.broken_by(self.tally, self.run.elapsed_s) if self.slo is not None else []

    def document(self) -> dict[str, Any]:
        """Everything, for JSON."""
        tally, run = self.tally, self.run
        return {
            "schema": SCHEMA,
            "started_at": datetime.fromtimestamp(run.started_at_s, UTC).isoformat(timespec="milliseconds"),
            "duration_s": round(run.elapsed_s, 3),
            "planned_duration_s": round(self.plan.duration_s, 3),
            "stopped": run.stopped or None,
            "requests": {
                "due": tally.due,
                "sent": tally.sent,
                "answered": tally.answered,
                "failed": tally.failed,
                "unfinished": tally.unfinished,
                "waited_for_a_connection": tally.waited,
                "not_sent": sum(error.count for error in tally.errors.values() if error.kind == NOT_SENT),
            },
            "offered_per_s": _figures(self.offered_per_s),
            "achieved_per_s": _figures(self.achieved_per_s),
            "error_rate": _figures(self.error_rate),
            "errors": errors_of(tally),
            "latency_s": distribution(tally.latency()),
            "service_time_s": distribution(tally.service),
            "stream": self._stream(),
            "bytes_sent": tally.bytes_sent,
            "bytes_received": tally.bytes_received,
            "generator": {
                "processes": self.plan.processes,
                "kept_up": not self.lagged,
                "lag_s": distribution(tally.lag),
                "cores_per_process": _figures(self.cpu),
                "connections_opened": tally.connections_opened,
                "most_outstanding": tally.most_outstanding,
            },
            "slo": self._slo(),
            "timeline": {"step_s": self.plan.step_s, "steps": timeline(self)},
        }

    def _stream(self) -> dict[str, Any] | None:
        tally = self.tally
        if not tally.chunks:
            return None
        return {
            "first_chunk_s": distribution(tally.first_chunk),
            "chunks": tally.chunks,
            "chunks_per_s": _figures(tally.chunks / self.run.elapsed_s),
        }

    def _slo(self) -> dict[str, Any] | None:
        slo = self.slo
        if slo is None:
            return None
        reasons = self.broken()
        limit_s = slo.limit_s if slo.quantile else None
        return {
            "quantile": slo.quantile or None,
            "limit_s": limit_s,
            "error_rate": slo.error_rate,
            "kept": not reasons,
            "reasons": reasons,
        }


def distribution(sketch: Sketch) -> dict[str, float] | None:
    """Mean, minimum, quantiles (to within 1 %) and maximum; None when nothing was measured."""
    if not sketch.count:
        return None
    quantiles = {name: _figures(sketch.quantile(q)) for name, q in QUANTILES.items()}
    mean = sketch.sum / sketch.count
    return {"mean": _figures(mean), "min": _figures(sketch.min), **quantiles, "max": _figures(sketch.max)}


def errors_of(tally: Tally) -> list[dict[str, Any]]:
    """Failures by kind, most frequent first. `status` is None where there was no answer."""
    found = sorted(tally.errors.values(), key=lambda error: (-error.count, error.kind))
    return [
        {"kind": e.kind, "status": e.status or None, "count": e.count, "example": e.example} for e in found if e.count
    ]


def timeline(outcome: Outcome) -> list[dict[str, Any]]:
    """One entry a step; latencies are of the requests that were due in it."""
    steps, step_s = outcome.tally.steps, outcome.plan.step_s
    entries = []
    for number in range(max(steps, default=-1) + 1):
        step = outcome.tally.step(number)
        some = step.latency.count > 0
        entries.append(
            {
                "t_s": number * step_s,
                "due": step.due,
                "answered": step.answered,
                "failed": step.failed,
                "p50_s": _figures(step.latency.quantile(0.5)) if some else None,
                "p99_s": _figures(step.latency.quantile(0.99)) if some else None,
                "max_s": _figures(step.latency.max) if some else None,
            }
        )
    return entries


def _figures(value: float) -> float:
    """Six significant figures: more would not be true, and nobody reads them."""
    return float(f"{value:.6g}")
