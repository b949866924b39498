"""`load`: a scenario file as `sim.world` has it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from trimtab.errors import Invalid
from trimtab.jobs.loadtest.quantities import seconds_of
from trimtab.sim.scenario.arriving import Coming, arrivals_of, coming, starts_of
from trimtab.sim.scenario.declared import ScenarioIn, SloIn, WorkloadIn
from trimtab.sim.scenario.document import Document, Path_, read_document
from trimtab.sim.scenario.failing import faults_of
from trimtab.sim.scenario.scaling import PolicyReader
from trimtab.sim.scenario.serving import Context, architecture_of
from trimtab.sim.scenario.working import work_of
from trimtab.sim.world import PastLoad, Scenario, Slo, Workload

DEFAULT_START_S: Final = datetime(2026, 1, 5, tzinfo=UTC).timestamp()
"""A Monday: when nothing in a scenario has a date."""

_YEAR_S: Final = 365 * 86_400.0
_LONGEST_S: Final = 100 * _YEAR_S
_SLO: Final = re.compile(r"p(\d{1,2}(?:\.\d+)?)\s*(?:=|<=|<)\s*(\S+)")


class Loaded(Struct, frozen=True):
    """A scenario, and what its reader must know of it: flaws of traces that were mended."""

    scenario: Scenario
    notes: tuple[str, ...] = ()


def load(path: Path, *, read_policy: PolicyReader | None = None) -> Loaded:
    """The scenario in a file; traces in it are read. It may have no architecture: `plan` finds one.

    `read_policy` reads policies in AWS's form; without it they are refused. Raises Invalid, with line and field.
    """
    return loaded(read_document(path), read_policy=read_policy)


def loaded(document: Document, *, read_policy: PolicyReader | None = None) -> Loaded:
    """The scenario that a document holds."""
    declared = document.take((), ScenarioIn, document.root)
    if not declared.workloads:
        raise document.fault(("workloads",), "there must be one at least.")
    if declared.seed < 0:
        raise document.fault(("seed",), f"it must be 0 or more, not {declared.seed}.")
    _check_names(document, "workloads", declared.workloads)
    _check_names(document, "architectures", declared.architectures)
    raw = {name: document.take(("workloads", name), WorkloadIn, value) for name, value in declared.workloads.items()}
    came = {name: coming(document, ("workloads", name, "arrivals"), one.arrivals) for name, one in raw.items()}
    shifts = starts_of(list(came.values()), declared.start, DEFAULT_START_S)
    workloads = {
        name: _workload(document, name, one, came[name], shift_s)
        for (name, one), shift_s in zip(raw.items(), shifts, strict=True)
    }
    start_s, end_s = _check_span(document, workloads)
    context = Context(document, workloads, start_s, read_policy)
    architectures = tuple(architecture_of(context, name, value) for name, value in declared.architectures.items())
    scenario = Scenario(
        name=declared.name or Path(document.name).stem,
        workloads=tuple(workloads.values()),
        architectures=architectures,
        faults=faults_of(document, declared.faults, architectures, (start_s, end_s)),
        seed=declared.seed,
        region=declared.region,
    )
    return Loaded(scenario, tuple(dict.fromkeys(note for one in came.values() for note in one.trace.notes)))


def _workload(document: Document, name: str, declared: WorkloadIn, came: Coming, shift_s: float) -> Workload:
    path = ("workloads", name)
    return Workload(
        name=name,
        arrivals=arrivals_of(came, shift_s),
        work=work_of(document, (*path, "work"), declared.work, came.trace),
        slo=_slo(document, (*path, "slo"), declared.slo),
        request_bytes=int(declared.request),
        answer_bytes=int(declared.answer),
        may_wait=declared.may_wait,
        memory_bytes=int(declared.memory),
        load_s=float(declared.load),
        loads=tuple(PastLoad(float(took_s), int(size)) for took_s, size in declared.loads),
        artifact_bytes=int(declared.artifact),
        container=declared.container,
    )


def slo_of(text: str) -> Slo:
    """`p99=1s`: 99 % of all requests within a second. Raises Invalid."""
    found = _SLO.fullmatch(text.strip())
    if found is None or not 0 < float(found[1]) < 100:
        raise Invalid(f"An SLO is written as p99=1s (or p99.9=250ms), not {text!r}.")
    return Slo(within_s=seconds_of(found[2], "The SLO's time"), kept=round(float(found[1]) / 100, 12))


def _slo(document: Document, path: Path_, declared: str | SloIn | None) -> Slo | None:
    if declared is None:
        return None
    if isinstance(declared, str):
        try:
            return slo_of(declared)
        except Invalid as error:
            raise document.fault(path, str(error)) from None
    if declared.within <= 0:
        raise document.fault((*path, "within"), "it must be more than 0.")
    return Slo(within_s=float(declared.within), kept=float(declared.kept))


def _check_names(document: Document, where: str, named: dict[str, Any]) -> None:
    for name in named:
        if not name.strip() or len(name) > 200:
            raise document.fault((where, name), "a name has 1 to 200 characters.")


def _check_span(document: Document, workloads: dict[str, Workload]) -> tuple[float, float]:
    """The start and the end of all. Raises Invalid where there is no time between them or more than anybody simulates,
    and where workloads lie apart: most of the time would be empty."""
    spans = sorted((one.arrivals.start_s, one.arrivals.end_s, name) for name, one in workloads.items())
    until_s, latest = spans[0][1], spans[0][2]
    for start_s, end_s, name in spans[1:]:
        if start_s > until_s:
            day, other = (datetime.fromtimestamp(one, UTC).date().isoformat() for one in (start_s, until_s))
            raise document.fault(
                ("workloads", name),
                f"its requests begin on {day}, after those of {latest} end ({other}): say `start: DATE`.",
            )
        if end_s > until_s:
            until_s, latest = end_s, name
    start_s = spans[0][0]
    if not 0 < until_s - start_s <= _LONGEST_S:
        years = (until_s - start_s) / _YEAR_S
        raise document.fault(
            ("workloads", latest),
            f"its requests last {years:.3g} years; at most {_LONGEST_S / _YEAR_S:.0f} are simulated, and some time.",
        )
    return start_s, until_s
