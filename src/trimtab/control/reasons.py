"""Texts for people: FailureReason, and what a start's time went to. Pure."""

from __future__ import annotations

import msgspec

from trimtab.control.fleet import Loss
from trimtab.resources.replica import StartBudget

MAX_REASON = 1024  # AWS: FailureReason has at most 1024 characters
_NEVER_HEALTHY = ("StartTimeout", "HealthCheckFailed")


def failure_reason(endpoint: str, loss: Loss, *, before: str = "", times: int = 1) -> str:
    """Say what happened to a deployment and what to do, in at most MAX_REASON characters.

    The end of the traceback or log is kept rather than its beginning: that is where the cause stands.
    """
    container = loss.demand.variant.container.hostname or "primary"
    variant = loss.demand.name
    if loss.failure.reason in _NEVER_HEALTHY:
        # AWS's words; SDKs and people search for them.
        what = (
            f"The {container} container for production variant {variant} did not pass the ping health check. "
            "Please check CloudWatch logs for this endpoint."
        )
    else:
        what = f"The {container} container for production variant {variant} failed ({loss.failure.reason})."
    if times > 1:
        what += f" {times} starts failed."
    head = " ".join(filter(None, (before, what, loss.failure.message.strip(), f"See `trimtab logs {endpoint}`.")))
    tail = loss.failure.tail.strip()
    if len(head) > MAX_REASON:
        return head[: MAX_REASON - 3] + "..."
    room = MAX_REASON - len(head) - 1
    if not tail or room < 40:
        return head
    return head + "\n" + (tail if len(tail) <= room else "..." + tail[-(room - 3) :])


def shortfall(word: str, before: str, loss: Loss) -> str:
    """Say that there was no room, beginning with AWS's word for that, in at most MAX_REASON characters."""
    return f"{word}: {before} {loss.failure.message.strip()} It is tried again when a policy asks again."[:MAX_REASON]


def budget_text(budget: StartBudget) -> str:
    """The known steps of a start in milliseconds: `decide 1 ms, fork 6 ms, load 20 ms`; empty when none is known."""
    steps = ((name.removesuffix("_s"), value) for name, value in msgspec.structs.asdict(budget).items())
    return ", ".join(f"{name} {value * 1000:.3g} ms" for name, value in steps if value is not None)
