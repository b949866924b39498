"""Faults of a scenario, each checked against its kind: what would do nothing is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from trimtab.sim.scenario.declared import FaultIn
from trimtab.sim.scenario.document import Document, Path_
from trimtab.sim.world import Architecture, Fault, Mode

_FIELDS: Final = {
    "kill": ("count",), "spot": ("count",), "slow": ("factor", "lasting"), "outage": ("lasting",),
}  # fmt: skip
_REPLACED: Final = ("kill", "spot")  # kinds that end replicas
_SAID: Final = {"lasting": "for"}


def faults_of(
    document: Document, declared: Sequence[FaultIn], architectures: Sequence[Architecture], span: tuple[float, float]
) -> tuple[Fault, ...]:
    """All of them. Raises Invalid, also where two of a kind overlap: the end of one would end the other."""
    found: list[Fault] = []
    for number, one in enumerate(declared):
        made = _fault_of(document, ("faults", number), one, architectures, span)
        for place, other in enumerate(found):
            is_alike = (other.endpoint, other.kind) == (made.endpoint, made.kind)
            if is_alike and other.at_s < made.at_s + made.lasting_s and made.at_s < other.at_s + other.lasting_s:
                raise document.fault(("faults", number), f"it overlaps faults[{place}]: one {made.kind} at a time.")
        found.append(made)
    return tuple(found)


def _fault_of(
    document: Document, path: Path_, declared: FaultIn, architectures: Sequence[Architecture], span: tuple[float, float]
) -> Fault:
    """The fault that `path` declares, of a scenario whose requests come within `span`. Raises Invalid."""
    _check_endpoint(document, path, declared, architectures)
    start_s, end_s = span
    at_s = float(declared.at) if declared.at.is_date else start_s + declared.at
    if at_s < start_s:
        raise document.fault((*path, "at"), "it is before the first request.")
    if at_s >= end_s:
        raise document.fault((*path, "at"), f"it is after the last request: these come for {end_s - start_s:,.6g} s.")
    _check_fields(document, path, declared)
    return Fault(
        at_s=at_s,
        endpoint=declared.endpoint,
        kind=declared.kind,
        count=1 if declared.count is None else declared.count,
        factor=1.0 if declared.factor is None else declared.factor,
        lasting_s=float(declared.lasting or 0.0),
    )


def _check_endpoint(document: Document, path: Path_, declared: FaultIn, architectures: Sequence[Architecture]) -> None:
    """It is there in some architecture, where such a fault can strike it and what it ends is replaced."""
    endpoints = [endpoint for one in architectures for endpoint in one.endpoints]
    hit = [endpoint for endpoint in endpoints if endpoint.name == declared.endpoint]
    if not hit:
        there = ", ".join(sorted({endpoint.name for endpoint in endpoints})) or "none"
        raise document.fault((*path, "endpoint"), f"no architecture has it; there are {there}.")
    if declared.kind == "spot":
        hit = [endpoint for endpoint in hit if endpoint.is_spot]
        if not hit:
            raise document.fault(path, f"{declared.endpoint} is nowhere on spot instances: say `spot: true` there.")
    if declared.kind in _REPLACED and any(not one.start_s and one.mode is not Mode.SERVERLESS for one in hit):
        raise document.fault(
            path, f"replicas of {declared.endpoint} are replaced: say how long a start takes there, as `start: 4m`."
        )


def _check_fields(document: Document, path: Path_, declared: FaultIn) -> None:
    kind = declared.kind
    for name in ("count", "factor", "lasting"):
        if getattr(declared, name) is not None and name not in _FIELDS[kind]:
            said = _SAID.get(name, name)
            raise document.fault((*path, said), f"the kind {kind} has it not.")
    if "lasting" in _FIELDS[kind] and not (declared.lasting and declared.lasting > 0):
        raise document.fault(path, f"say how long it lasts: `for: 10m` ({kind}).")
    if kind == "slow" and not (declared.factor is not None and 0 < declared.factor < float("inf")):
        raise document.fault(path, "say how many times as long requests take then: `factor: 3`, more than 0.")
    if declared.count is not None and declared.count < 1:
        raise document.fault((*path, "count"), "it is 1 or more.")
