"""`trimtab plan`: the cheapest architecture that keeps every SLO."""

from __future__ import annotations

import time
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.files import must_be_apart, must_be_writable
from trimtab.cli.options import AsJson
from trimtab.cli.render import CliError, emit_json, say
from trimtab.cli.start import INTERRUPTED
from trimtab.files import write_whole

if TYPE_CHECKING:
    from trimtab.advisor.plan.limits import Limits
    from trimtab.advisor.plan.result import Plan
    from trimtab.sim.world import Scenario, Slo


def plan(
    source: Annotated[
        Path, typer.Argument(metavar="AUDIT.json|WORKLOAD.yaml", help="What is served now.", show_default=False)
    ],
    slo: Annotated[
        str, typer.Option(help="For workloads that have none: p99=1s, p99.9=200ms.", show_default="as now")
    ] = "",
    on: Annotated[str, typer.Option(help="Where it will be built: trimtab or aws.")] = "trimtab",
    commit: Annotated[bool, typer.Option("--commit", help="Size a commitment on what is always needed.")] = False,
    discount: Annotated[
        float | None, typer.Option(min=0.01, max=0.99, help="Of the commitment: 0.3.", show_default="EC2's average")
    ] = None,
    migration_usd: Annotated[
        float | None, typer.Option(min=0, help="What the change costs once: when is it paid for?", show_default=False)
    ] = None,
    instance_type: Annotated[
        list[str] | None, typer.Option(help="Only these. May be repeated.", show_default="those the workloads name")
    ] = None,
    min_replicas: Annotated[int, typer.Option(min=1, help="Of a real-time endpoint; 2 outlive an instance.")] = 1,
    max_replicas: Annotated[int, typer.Option(min=1, max=100_000, help="Of any endpoint.")] = 64,
    no_zero: Annotated[bool, typer.Option("--no-zero", help="No real-time endpoint may go to no replicas.")] = False,
    start: Annotated[
        str,
        typer.Option(
            help="Of an instance, where no endpoint tells it: 4m.", show_default="300s on AWS, 0.5s on trimtab"
        ),
    ] = "",
    load: Annotated[
        str,
        typer.Option(
            help="Of a model, where the file does not tell it: 500ms.", show_default="6s of an audit's, else nothing"
        ),
    ] = "",
    may_wait: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=TIME",
            help="Callers of this workload may wait so long: asynchronous and batch are tried. May be repeated.",
            show_default=False,
        ),
    ] = None,
    write: Annotated[
        Path | None, typer.Option(help="Write the boto3 program that builds it: build.py.", show_default=False)
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write the report as one page.", show_default=False)] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Simulations at once.", show_default="one for each core")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of chance.", show_default="the file's")] = None,
    as_json: AsJson = False,
) -> None:
    """Search modes, signals, instance types and shared endpoints for the cheapest that keeps every SLO.

    Each candidate is simulated on the real arrivals, by the policies that run live. 1 if an SLO cannot be kept. Ctrl-C
    ends the search and shows what was found until then.
    """
    from msgspec.structs import replace

    from trimtab.advisor.plan.observing import fewer_than_two
    from trimtab.cli.planning.reading import scenario_from
    from trimtab.cli.planning.show import show
    from trimtab.cli.planning.told import patient, time_s, with_load
    from trimtab.sim.kernels.compiled import must_be_there

    for path in (write, html):
        if path is not None:
            must_be_writable(path)
    must_be_apart({"--write": write, "--html": html}, read=source)
    if migration_usd is not None and not isfinite(migration_usd):
        raise CliError(f"--migration-usd is a number of dollars, not {migration_usd:g}.")
    if discount is not None and not commit:
        raise CliError("--discount is of a commitment: give it with --commit.")
    must_be_there()
    given, start_s, load_s = _slo(slo), time_s("--start", start), time_s("--load", load)
    scenario, notes, observed = scenario_from(source, load_s=load_s, start_s=start_s)
    scenario = patient(with_load(scenario, load_s), may_wait or [])
    if write is not None:
        _must_have_names(scenario)
    if seed is not None:
        scenario = replace(scenario, seed=seed)
    limits = _limits(scenario, on, instance_type or [], min_replicas, max_replicas, to_zero=not no_zero)
    limits = replace(limits, start_s=start_s)
    found = _planned(scenario, limits, given, workers, discount if commit else 0.0, quiet=as_json)
    rules = fewer_than_two(found.after.architecture, observed)
    found = replace(found, migration_usd=migration_usd, notes=(*rules, *notes, *found.notes))
    _write(found, write, html)
    if as_json:
        from trimtab.advisor.plan.result import document

        emit_json(document(found))
    else:
        show(found)
    if found.is_stopped:
        raise typer.Exit(INTERRUPTED)
    if found.misses:
        raise typer.Exit(1)


def _must_have_names(scenario: Scenario) -> None:
    """CliError where an endpoint that the program may build could not be called as it is."""
    from trimtab.resources.names import is_name

    for endpoint in scenario.architectures[0].endpoints if scenario.architectures else ():
        if not is_name(endpoint.name):
            raise CliError(
                f"No program can build an endpoint that is called {endpoint.name!r}.",
                "Names have letters, digits and hyphens, 63 at most: `NAME: {serves: WORKLOAD, ...}` gives it another.",
            )


def _slo(text: str) -> Slo | None:
    from trimtab.sim.scenario.loading import slo_of

    return slo_of(text) if text else None


def _limits(
    scenario: Scenario, on: str, types: list[str], min_replicas: int, max_replicas: int, *, to_zero: bool
) -> Limits:
    from trimtab.advisor.plan.limits import Limits
    from trimtab.advisor.plan.pricing import model_memory
    from trimtab.advisor.plan.signals import Where
    from trimtab.sim.simulate import MODES
    from trimtab.sim.world import Mode

    try:
        where = Where(on)
    except ValueError:
        raise CliError(f"--on is trimtab or aws, not {on}.") from None
    if min_replicas > max_replicas:
        raise CliError(f"--min-replicas {min_replicas} is more than --max-replicas {max_replicas}.")
    named = {name for workload in scenario.workloads for name in workload.work} | set(types)
    named |= {one.instance_type for each in scenario.architectures for one in each.endpoints if one.instance_type}
    _must_be_sagemakers(sorted(named), types, scenario.region)
    return Limits(
        where=where,
        modes=tuple(mode for mode in Mode if mode in MODES and (where is Where.AWS or mode is not Mode.BATCH)),
        types=tuple(types),
        min_replicas=min_replicas,
        max_replicas=max_replicas,
        to_zero=to_zero,
        model_bytes={name: size for name in sorted(named) if (size := model_memory(name))},
    )


def _must_be_sagemakers(named: list[str], asked: list[str], region: str) -> None:
    """CliError for a type of EC2's: no endpoint can be built of it. And for one that was `asked` for and is none."""
    from difflib import get_close_matches

    from trimtab.advisor.prices.book import book
    from trimtab.advisor.prices.shapes import shape_of, shapes

    prices = book()
    own = prices.own_types()
    for name in asked:
        if shape_of(name) is None and name not in own and prices.instance(name, region=region) is None:
            near = get_close_matches(name, [f"ml.{one}" for one in shapes()], cutoff=0.85)
            hint = f"Did you mean {' or '.join(near)}?" if near else "`trimtab instances --all` lists what there is."
            raise CliError(
                f"--instance-type {name}: there is no such type, nor hardware of your own of that name.", hint
            )
    for name in named:
        if not name.startswith("ml.") and name not in own and shape_of(name) is not None:
            raise CliError(f"{name} is a type of EC2; SageMaker's is ml.{name}.")


def _planned(
    scenario: Scenario, limits: Limits, slo: Slo | None, workers: int | None, discount: float | None, *, quiet: bool
) -> Plan:
    """The plan. `discount` of a commitment: None the usual one, 0 no commitment."""
    from datetime import UTC, datetime

    from msgspec.structs import replace

    from trimtab.advisor.plan.committing import usual_discount, with_commitment
    from trimtab.advisor.plan.optimum import with_bound
    from trimtab.advisor.plan.planning import plan as planned
    from trimtab.advisor.plan.pricing import BookPricing
    from trimtab.advisor.prices.book import book
    from trimtab.cli.progress import Progress
    from trimtab.sim.simulate import simulate

    prices = book()
    with Progress(quiet=quiet) as progress:
        pricing = BookPricing(prices, scenario.region)
        found = planned(scenario, pricing, simulate, limits, slo=slo, workers=workers, progress=progress)
        if not found.is_stopped:
            progress.step("looking how little anybody could pay")
            try:
                found = with_bound(found, pricing, scenario.seed, limits)
            except KeyboardInterrupt:
                note = "stopped before it was known how little anybody could pay; all else is whole"
                found = replace(found, is_stopped=True, notes=(*found.notes, note))
    if discount != 0.0 and found.is_stopped:
        found = replace(found, notes=(*found.notes, "no commitment was sized, as the plan was stopped"))
    elif discount != 0.0:
        off, source = (discount, "") if discount else usual_discount()
        found = with_commitment(found, pricing, off, source=source)
    return replace(found, notes=(*found.notes, *prices.notes(datetime.now(UTC).date())))


def _write(found: Plan, write: Path | None, html: Path | None) -> None:
    from trimtab.advisor.plan.program import program
    from trimtab.advisor.plan.report import report
    from trimtab.advisor.plan.signals import Where

    where = Where(found.where)
    source = program(
        found.after.architecture,
        found.scenario,
        where,
        file=write.name if write else "build.py",
        before=found.before.architecture if found.before else None,
    )
    if write is not None:
        write_whole(write, source)
        say(f"wrote {write}")
    if html is not None:
        write_whole(html, report(found, time.time(), program=source))
        say(f"wrote {html}")
