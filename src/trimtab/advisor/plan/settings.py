"""What became of everything that somebody has set of the endpoints that there are: nothing is lost without a word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import asdict

from trimtab.advisor.plan.keeping import FIELDS, Origin, is_usual
from trimtab.advisor.plan.signals import signal_of
from trimtab.sim.world import Architecture, Mode, Serving

_SHOWN: Final = (  # in the table of endpoints, on both sides
    "instance_type", "min_replicas", "max_replicas", "initial_replicas", "max_concurrency", "memory_mb", "models_bytes",
    "runs_at",
)  # fmt: skip


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
    found: list[Setting] = []
    for now in before.endpoints if before is not None else ():
        for then in after.endpoints:
            if not set(now.workloads).isdisjoint(then.workloads):
                found += [
                    _setting(now, then, field) for field in FIELDS if field not in _SHOWN and _is_told(now, then, field)
                ]
    return tuple(found)


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


def _setting(now: Serving, then: Serving, field: str) -> Setting:
    of, was, value = FIELDS[field], getattr(now, field), getattr(then, field)
    why = ""
    if then.mode not in of.modes:
        why = f"{then.mode} has none"
    elif field == "pinned":
        lost = (set(was) & set(then.workloads)) - set(value)
        why = "no room beside the others" if lost else ""
    elif value != was:
        why = _why(now, then, field)
    return Setting(
        endpoint=now.name,
        planned=then.name,
        name=of.words,
        now=told(field, was),
        then=told(field, value) if then.mode in of.modes else "-",
        why=why,
    )


def _why(now: Serving, then: Serving, field: str) -> str:
    if field == "provisioned":
        return "no price of it is known, so none is planned"
    if FIELDS[field].origin is Origin.SEARCHED:
        return "what was found is better" if getattr(then, field) else "what was found is better without"
    return "asynchronous starts on AWS wait for an alarm" if field == "start_s" else "shared with others"


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
