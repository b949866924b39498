"""What became of everything that somebody has set of the endpoints that there are: nothing is lost without a word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import asdict

from trimtab.advisor.plan.keeping import FIELDS, OF_A_KIND, Origin, is_usual, kind_of
from trimtab.advisor.plan.signals import signal_of
from trimtab.sim.world import Architecture, Mode, Serving

_SHOWN: Final = (  # in the table of endpoints, on both sides
    "instance_type", "min_replicas", "max_replicas", "initial_replicas", "max_concurrency", "memory_mb", "models_bytes",
    "runs_at",
)  # fmt: skip
_NAMED: Final = 2  # endpoints in a reason
SHARED: Final[Mapping[str, str]] = {
    "start_s": "the longest of theirs",
    "timeout_s": "the longest of theirs",
    "drain_s": "the longest of theirs",
    "queue": "all of theirs together",
    "is_spot": "spot where all are",
    "work_times": "one for all",
    "slots": "the most of theirs",
    "unload_s": "the longest of theirs",
}
"""Of each field that is kept, what an endpoint has that comes in place of several (a test compares)."""


class Setting(Struct, frozen=True, kw_only=True):
    """One thing that is set of an endpoint now, and what it is on an endpoint that serves (some of) the same workloads
    in its place. `why` it is not the same; "" where it is."""

    endpoint: str
    planned: str  # endpoint
    name: str
    now: str
    then: str
    why: str = ""


def settings_of(before: Architecture | None, after: Architecture) -> tuple[Setting, ...]:
    """Of all endpoints that there are, whatever is not as such endpoints usually have it."""
    present = before.endpoints if before is not None else ()
    found: list[Setting] = []
    for then in after.endpoints:
        replaced = [now for now in present if not set(now.workloads).isdisjoint(then.workloads)]
        for now in replaced:
            others = [one.name for one in replaced if one.name != now.name]
            told_of = [field for field in FIELDS if field not in _SHOWN and _is_told(now, then, field)]
            found += [_setting(now, then, field, others) for field in told_of]
    order = [now.name for now in present]
    return tuple(sorted(found, key=lambda one: order.index(one.endpoint)))


def _is_told(now: Serving, then: Serving, field: str) -> bool:
    if FIELDS[field].origin is Origin.OWN or is_usual(now, field):
        return False
    if field == "pinned":
        return not set(now.pinned).isdisjoint(then.workloads)
    if field == "start_s":  # measured rather than chosen; an environment's is another thing than an instance's
        return now.start_s != then.start_s and (now.mode is Mode.SERVERLESS) is (then.mode is Mode.SERVERLESS)
    if field == "policies" and len(now.policies) == 1 and now.policies[0].tracking is not None:
        return False  # the table of endpoints has it
    return now.mode in FIELDS[field].modes


def _setting(now: Serving, then: Serving, field: str, others: Sequence[str]) -> Setting:
    of, was, value = FIELDS[field], getattr(now, field), getattr(then, field)
    why = ""
    if then.mode not in of.modes:
        why = f"{then.mode} has none"
    elif field == "pinned":
        lost = (set(was) & set(then.workloads)) - set(value)
        why = "no room beside the others" if lost else ""
    elif value != was:
        why = _why(now, then, field, others)
    return Setting(
        endpoint=now.name,
        planned=then.name,
        name=of.words,
        now=told(field, was),
        then=told(field, value) if then.mode in of.modes else "-",
        why=why,
    )


def _why(now: Serving, then: Serving, field: str, others: Sequence[str]) -> str:
    """Why it is another. `others`: further endpoints whose workloads are served by `then`."""
    if field == "provisioned":
        return "no price of it is known, so none is planned"
    if FIELDS[field].origin is Origin.SEARCHED:
        return "what was found is better" if getattr(then, field) else "what was found is better without"
    if field in OF_A_KIND and kind_of(now.mode) != kind_of(then.mode):
        return f"not carried over from {now.mode} to {then.mode}, where requests wait in another way"
    if field == "timeout_s" and then.mode is Mode.BATCH:
        return "no less than its requests may wait"
    if field == "start_s" and then.mode is Mode.ASYNC:
        return "asynchronous starts on AWS wait for an alarm"
    return f"shared with {_names(others)}: {SHARED[field]}" if others else "as such endpoints usually have it"


def _names(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= _NAMED else f"{len(names)} others"


def told(field: str, value: Any) -> str:
    """A setting in short."""
    if field in ("start_s", "timeout_s", "drain_s", "unload_s"):
        from trimtab.advisor.plan.words import seconds

        return "until all is answered" if value is None else seconds(value)
    if field == "policies":
        return signal_of(value) if value else "none"
    if field in ("schedule", "alarms"):
        return f"{len(value)}" if value else "none"
    if field == "pinned":
        return ", ".join(value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def lines(settings: tuple[Setting, ...]) -> list[str]:
    """A line for each pair of endpoints, what stays first."""
    by_pair: dict[tuple[str, str], list[Setting]] = {}
    for one in settings:
        by_pair.setdefault((one.endpoint, one.planned), []).append(one)
    return [_line(pair, found) for pair, found in by_pair.items()]


def _line(pair: tuple[str, str], found: list[Setting]) -> str:
    same = [f"{one.name} ({one.now})" for one in found if not one.why]
    other = [f"{one.name} ({one.now}): {one.then}, {one.why}" for one in found if one.why]
    parts = ([f"keeps {', '.join(same)}"] if same else []) + other
    where = pair[0] if pair[0] == pair[1] else f"{pair[0]} -> {pair[1]}"
    return f"{where}: {'; '.join(parts)}"


def document(settings: tuple[Setting, ...]) -> list[Mapping[str, str]]:
    """For programs."""
    return [asdict(one) for one in settings]
