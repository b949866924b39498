"""From journal, activities and endpoint to one list of decisions, each with what led to it and what it led to. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct, field

Document = Mapping[str, Any]

STEPS: Final = ("detect", "decide", "place", "fork", "fetch", "import", "load", "warm", "first_answer")
_SAME_S: Final = 0.01  # an activity is its decision's when both are of this moment
_AFTER_THE_FACT_S: Final = 0.02  # what an event tells of when its start was decided is so exact


class Start(Struct, frozen=True, kw_only=True):
    """One replica that a decision started. Without a budget: it is no more, and only the sum is known."""

    replica_id: str
    state: str = ""
    budget: dict[str, float] = field(default_factory=dict)
    total_s: float | None = None
    failure: str = ""


class Outcome(Struct, frozen=True, kw_only=True):
    """The scaling activity of a decision."""

    id: str
    status: str
    message: str = ""
    took_s: float | None = None


class Told(Struct, kw_only=True):
    """One decision; or several alike, one after the other, that were not made."""

    at_s: float  # of the last one
    first_s: float
    times: int = 1
    variant: str
    before: int
    wanted: int
    made: bool
    policy: str = ""
    reason: str = ""
    arithmetic: str = ""
    cause: str = ""
    inputs: dict[str, float] = field(default_factory=dict)
    not_scaled: list[dict[str, Any]] = field(default_factory=list)
    bounds: list[int] | None = None
    given: dict[str, Any] = field(default_factory=dict)  # the input that it was decided upon
    activity: Outcome | None = None
    starts: list[Start] = field(default_factory=list)


def story(lines: Iterable[Document], activities: Sequence[Document], endpoint: Document) -> list[Told]:
    """All decisions, newest last. `lines`: the journal's; `endpoint`: what the API tells of it ({} when it is gone)."""
    told = sorted(_decisions(lines), key=lambda one: one.at_s)
    _add_activities(told, activities)
    _add_starts(told, endpoint)
    return told


def _decisions(lines: Iterable[Document]) -> list[Told]:
    told: list[Told] = []
    given: Document = {}
    for line in lines:
        if line["kind"] == "decision":
            members = {key: line[key] for key in line if key not in ("kind", "at_s")}
            one = Told(at_s=line["at_s"], first_s=line["at_s"], given=_without_variant(given), **members)
            if not _joined(told, one):
                told.append(one)
        elif line["kind"] not in ("began", "rules"):
            given = line
    return told


def _without_variant(line: Document) -> dict[str, Any]:
    return {key: value for key, value in line.items() if key != "variant"}


def _joined(told: list[Told], one: Told) -> bool:
    """Whether it says only again what the last one of its variant and policy has said; that one counts it, then."""
    last = next((t for t in reversed(told) if t.variant == one.variant), None)
    if last is None or one.made or last.made or _gist(last) != _gist(one):
        return False
    last.at_s, last.times = one.at_s, last.times + 1
    last.reason, last.arithmetic, last.inputs, last.given = one.reason, one.arithmetic, one.inputs, one.given
    return True


def _gist(one: Told) -> tuple[object, ...]:
    return (one.policy, one.before, one.wanted, one.cause, [reason.get("code") for reason in one.not_scaled])


def _add_activities(told: list[Told], activities: Sequence[Document]) -> None:
    for activity in activities:
        for one in told:
            if (
                one.variant == activity["variant"]
                and one.first_s - _SAME_S <= activity["start_s"] <= one.at_s + _SAME_S
            ):
                end_s = activity.get("end_s")
                one.activity = Outcome(
                    id=activity["id"],
                    status=activity["status"],
                    message=activity.get("status_message", ""),
                    took_s=end_s - activity["start_s"] if end_s is not None and one.made else None,
                )


def _add_starts(told: list[Told], endpoint: Document) -> None:
    known = set()
    for replica in endpoint.get("replicas", ()):
        if replica.get("cause") != "ScaleOut":
            continue
        known.add(replica["id"])
        if (one := _that_started(told, replica["variant"], replica["started_s"])) is not None:
            one.starts.append(_start_of(replica))
    for event in endpoint.get("events", ()):
        if event.get("cause") != "ScaleOut" or event.get("replica_id") in known or event.get("load_time_s") is None:
            continue
        began_s = event["at_s"] - event["load_time_s"]
        if (one := _that_started(told, event.get("variant", ""), began_s + _AFTER_THE_FACT_S)) is not None:
            one.starts.append(Start(replica_id=event["replica_id"], total_s=event["load_time_s"]))


def _that_started(told: Sequence[Told], variant: str, began_s: float) -> Told | None:
    """The last scale-out before that moment."""
    outs = (one for one in reversed(told) if one.made and one.wanted > one.before and one.variant == variant)
    return next((one for one in outs if one.at_s <= began_s), None)


def _start_of(replica: Document) -> Start:
    budget = {step: replica["budget"][f"{step}_s"] for step in STEPS if replica["budget"].get(f"{step}_s") is not None}
    return Start(
        replica_id=replica["id"],
        state=replica["state"],
        budget=budget,
        total_s=sum(budget.values()) if budget else None,
        failure=(replica.get("failure") or {}).get("message", ""),
    )
