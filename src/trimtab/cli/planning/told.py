"""What the command line tells of workloads and their file does not: how long models load, whose callers may wait."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from trimtab.cli.render import CliError

if TYPE_CHECKING:
    from trimtab.sim.world import Scenario, Slo


def time_s(option: str, text: str) -> float:
    """Of an option that takes a time; 0 where it was not given. CliError for what is no time, or none to speak of."""
    from trimtab.sim.scenario.quantities import Seconds, read_quantity

    if not text:
        return 0.0
    try:
        found = float(read_quantity(Seconds, text))
    except ValueError as error:
        raise CliError(f"{option} is a time like 4m or 30s: {error}") from None
    if found <= 0:
        raise CliError(f"{option} is more than 0.")
    return found


def with_load(scenario: Scenario, load_s: float) -> Scenario:
    """Models of which nobody tells how long they load take `load_s`; 0: not known either."""
    return replace(
        scenario,
        workloads=tuple(one if one.load_s else replace(one, load_s=load_s) for one in scenario.workloads),
    )


def patient(scenario: Scenario, told: Sequence[str]) -> Scenario:
    """`NAME=10m`: callers of that workload may wait for their answers, 99 % of them for so long at most. So it may be
    asynchronous or batch. CliError for a workload that there is not."""
    slos = dict(_slo(scenario, one) for one in told)
    return replace(
        scenario,
        workloads=tuple(
            replace(one, may_wait=True, slo=slos[one.name]) if one.name in slos else one for one in scenario.workloads
        ),
    )


def _slo(scenario: Scenario, told: str) -> tuple[str, Slo]:
    from trimtab.sim.world import Slo

    name, equals, time = told.rpartition("=")
    if not equals or not name or not time:
        raise CliError(f"--may-wait is a workload and a time, like scans=10m, not {told!r}.")
    if name not in (names := [one.name for one in scenario.workloads]):
        raise CliError(f"--may-wait {told}: there is no workload {name}; there are {', '.join(names)}.")
    return name, Slo(within_s=time_s("--may-wait", time))
