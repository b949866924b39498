"""Why the event policy asks for more or fewer replicas: in words, in arithmetic, and in numbers."""

from __future__ import annotations

from trimtab.policies.scaling.inputs import Load
from trimtab.policies.scaling.surge import Surge
from trimtab.policies.scaling.windows import Windows

Said = tuple[str, str, dict[str, float]]


def waking(load: Load) -> Said:
    """Requests wait where there is no replica."""
    inputs = {"in_hand": float(load.now)}
    return f"{load.now} {_requests(load.now)} in hand and no replica", "at least 1 = 1", inputs


def surge(found: Surge, work_s: float, in_hand: float, aim: float, needed: int, wanted: int) -> Said:
    """Requests come at a new rate."""
    busy = found.rate * work_s
    reason = (
        f"{found.arrived} requests came within {_time(found.span_s)}, where {found.rate_before:.3g} a second used to: "
        f"too many for chance. Each keeps a replica for {_time(work_s)}"
    )
    arithmetic = (
        f"min(ceil({in_hand:.3g} in hand / {aim:g}), {needed} for {found.rate:.3g}/s x {_time(work_s)} = "
        f"{busy:.3g} busy) = {wanted}"
    )
    inputs = {
        "arrived": float(found.arrived), "span_s": found.span_s, "rate": found.rate, "rate_before": found.rate_before,
        "evidence": found.evidence, "work_s": work_s, "busy": busy, "in_hand": in_hand, "target": aim,
        "needed": float(needed),
    }  # fmt: skip
    return reason, arithmetic, inputs


def in_hand(
    mean: float, span_s: float, aim: float, busy: float, work_s: float, waiting: int, drain_s: float,
    needed: int | None, wanted: int,
) -> Said:  # fmt: skip
    """More is in hand than the target allows. `needed` None: what a request costs is not known."""
    reason = f"{mean:.3g} requests in hand on average over {_time(span_s)}"
    inputs = {"in_hand": mean, "span_s": span_s, "target": aim, "waiting": float(waiting)}
    if needed is None:
        return f"{reason}; what one costs is not known yet", f"ceil({mean:.3g} in hand / {aim:g}) = {wanted}", inputs
    backlog = waiting * work_s / drain_s
    reason += f"; what comes keeps {busy:.3g} replicas busy"
    work = f"{busy:.3g} busy"
    if waiting:
        reason += f", and {waiting} wait that are to be gone in {drain_s:.3g} s"
        work += f" + {waiting} x {_time(work_s)} / {drain_s:.3g} s = {busy + backlog:.3g}"
    inputs |= {"busy": busy, "work_s": work_s, "backlog": backlog, "needed": float(needed)}
    return reason, f"min(ceil({mean:.3g} in hand / {aim:g}), {needed} for {work}) = {wanted}", inputs


def headroom(demand: float, spare: float, start_s: float, wanted: int) -> Said:
    """There is too little to spare for the time that a start takes."""
    reason = (
        f"the load asks for {demand:.3g} replicas, a start takes {start_s:.3g} s, and in so long it rises by up to "
        f"{spare:.3g} (95 of 100 moments of the last hour)"
    )
    inputs = {"demand": demand, "headroom": spare, "start_s": start_s}
    return reason, f"ceil({demand:.3g} + {spare:.3g}) = {wanted}", inputs


def queue(waiting: int, work_s: float, patience_s: float, swell: float, start_s: float, wanted: int) -> Said:
    """What waits, and what may come while a replica starts, would not be begun in the time that callers wait for."""
    reason = (
        f"{waiting} {_requests(waiting)} {'waits' if waiting == 1 else 'wait'}, {_time(work_s)} of work each, and "
        f"callers may wait for {_time(patience_s)}"
    )
    inputs = {"waiting": float(waiting), "work_s": work_s, "patience_s": patience_s, "swell": swell}
    count = f"{waiting}"
    if swell:
        reason += f"; in the {_time(start_s)} that a start takes {swell:.3g} more than on average may come"
        count = f"({waiting} + {swell:.3g})"
    return reason, f"ceil({count} x {_time(work_s)} / {_time(patience_s)}) = {wanted}", inputs


def idle(busy: int, kept: int, queue: int, swell: float, kept_s: float, wanted: int) -> Said:
    """Replicas have nothing to do."""
    inputs = {"busy": float(busy), "kept": float(kept), "queue": float(queue), "swell": swell, "window_s": kept_s}
    reason = f"{kept} were busy at a time in the last {_time(kept_s)}" if kept_s else f"{busy} are busy"
    also = f" and the {swell:.3g} more than on average that may come" if swell else ""
    return f"{reason}, and what waits{also} needs {queue}", f"max({kept}, {queue}) = {wanted}", inputs


def less(stand: float, spare: float, start_s: float, windows: Windows, wanted: int) -> Said:
    """The whole stable window would have done with fewer."""
    inputs = {"stand": stand, "headroom": spare, "start_s": start_s, "window_s": windows.stable_s}
    if wanted == 0:
        return f"nothing was in hand for {windows.stable_s:g} s", "0 = 0", inputs
    replicas = "replica" if stand == 1 else "replicas"
    reason = f"{stand:.3g} {replicas} would have done at any moment of the last {windows.stable_s:g} s"
    if spare:
        reason += f"; {spare:.3g} more for what the load usually rises by in the {start_s:.3g} s that a start takes"
        return reason, f"ceil({stand:.3g} + {spare:.3g}) = {wanted}", inputs
    return reason, f"ceil({stand:.3g}) = {wanted}", inputs


def _requests(count: int) -> str:
    return "request" if count == 1 else "requests"


def _time(span_s: float) -> str:
    return f"{span_s:.3g} s" if span_s >= 1 else f"{span_s * 1000:.3g} ms"
