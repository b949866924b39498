"""`trimtab simulate`: the scenario's traffic through each of its architectures, and what that would have cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.options import AsJson
from trimtab.cli.render import CliError, say

if TYPE_CHECKING:
    from trimtab.cli.simulating.running import Simulated
    from trimtab.sim.world import Architecture, Scenario


def simulate(
    scenario: Annotated[Path, typer.Argument(help="A scenario file: YAML.", metavar="SCENARIO.yaml")],
    architecture: Annotated[
        list[str] | None, typer.Option(help="Only this one. May be repeated.", show_default=False)
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of all chance.", show_default="the scenario's")] = None,
    region: Annotated[str, typer.Option(help="Whose prices count.", show_default="the scenario's")] = "",
    plot: Annotated[
        Path | None, typer.Option(help="Also draw it: FILE.png (needs trimtab[plot]) or FILE.html.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the scenario's requests through its architectures, side by side: cost, latencies, SLOs, cold starts.

    The policies are the live ones; time is virtual. The same file and seed give the same answer.
    """
    from trimtab.cli.simulating import report
    from trimtab.cli.simulating.running import loaded, run

    if plot is not None:
        from trimtab.cli.benching.drawing import check_target

        check_target(plot)
    found = loaded(scenario)
    chosen = _chosen(found.scenario, architecture or [])
    for note in found.notes:
        say(f"note: {note}")
    done = run(found.scenario, chosen, seed=seed, region=region or found.scenario.region, quiet=as_json)
    if as_json:
        from trimtab.cli.render import emit_json

        emit_json(report.document(done, found.notes))
    else:
        report.show(done)
    if plot is not None:
        _draw(done, plot)


def _chosen(scenario: Scenario, names: list[str]) -> list[Architecture]:
    there = {one.name: one for one in scenario.architectures}
    if not there:
        raise CliError(
            f"The scenario {scenario.name} has no architecture to simulate.",
            "Add one under `architectures:`, or let `trimtab plan` find one.",
        )
    if unknown := [name for name in names if name not in there]:
        raise CliError(f"There is no architecture {unknown[0]!r}; there are {', '.join(there)}.")
    return [there[name] for name in dict.fromkeys(names)] if names else list(there.values())


def _draw(done: Simulated, plot: Path) -> None:
    from trimtab.cli.simulating.drawing import draw

    draw(done, plot)
    say(f"wrote {plot}")
