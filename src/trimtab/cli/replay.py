"""`trimtab replay`: recorded scaling again: the same policies, to check; or others, to compare."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.options import AsJson, DataDir, EndpointName
from trimtab.cli.render import CliError, emit, emit_json

if TYPE_CHECKING:
    from trimtab.aws.client import Client
    from trimtab.control.scaling.entries import Entry
    from trimtab.sim.arrivals import Counted
    from trimtab.sim.replay.recording import Recording
    from trimtab.sim.replay.trial import Machine


def replay(
    name: EndpointName,
    variant: Annotated[str, typer.Option(help="The variant, where several are scaled.", show_default=False)] = "",
    last: Annotated[str, typer.Option(help="How far back: 15m, 1h, 7d.", show_default="1h")] = "",
    start: Annotated[str, typer.Option("--from", help="From: 2026-03-01T12:00, 12:00, 2h.", show_default=False)] = "",
    end: Annotated[str, typer.Option("--to", help="Until.", show_default="now")] = "",
    policy: Annotated[
        list[Path] | None,
        typer.Option(help="Try this policy: JSON, as PutScalingPolicy takes it. May be repeated.", show_default=False),
    ] = None,
    work: Annotated[str, typer.Option(help="What a request takes a replica: 50ms.", show_default="as measured")] = "",
    start_time: Annotated[str, typer.Option(help="How long a start takes.", show_default="as measured")] = "",
    slots: Annotated[
        int | None, typer.Option(min=1, help="Requests that a replica works on at once.", show_default="as it runs")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Also draw it: FILE.png (needs trimtab[plot]) or FILE.html.", show_default=False)
    ] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Give recorded inputs to the policies again. Without --policy: do they decide as they did live? (1 if not.)

    With --policy: what would each have done with the load, beside what happened; both as the simulator tells it
    (pip install 'trimtab[sim]').
    """
    from trimtab.cli.connect import connect
    from trimtab.cli.replaying.fetch import entries_of
    from trimtab.cli.times import span

    if plot is not None:
        from trimtab.cli.benching.drawing import check_target

        check_target(plot)
        if not policy:
            raise CliError("--plot draws what policies would have done: it needs --policy.")
    given = {"--work": work, "--start-time": start_time, "--slots": slots}
    if not policy and (alone := next((option for option, value in given.items() if value), "")):
        raise CliError(f"{alone} is of what a policy is tried on: it needs --policy.")
    if policy:
        from trimtab.sim.kernels.compiled import must_be_there

        must_be_there()
    start_s, end_s = span(last, start, end, time.time())
    client = connect(data_dir)
    variant, entries = entries_of(client, name, variant, start_s, end_s)
    if not policy:
        _verify(name, variant, entries, as_json=as_json)
        return
    from trimtab.cli.replaying.trial import policy_from
    from trimtab.sim.replay.recording import recorded

    policies = [policy_from(path, name, variant) for path in policy]
    recording = recorded(entries, start_s, end_s)
    arrivals = _arrivals(client, recording, name, variant)
    machine = _machine(client, recording, name, variant, (work, start_time, slots))
    _try(recording, arrivals, machine, policies, f"{name} / {variant}", plot, as_json=as_json)


def _verify(name: str, variant: str, entries: list[Entry], *, as_json: bool) -> None:
    from trimtab.cli.replaying.report import agreement_document, show_agreement
    from trimtab.sim.replay.verify import verify

    found = verify(entries)
    if as_json:
        emit_json({"endpoint": name, "variant": variant, **agreement_document(found)})
    else:
        show_agreement(found)
    if found.difference is not None:
        raise typer.Exit(1)


def _arrivals(client: Client, recording: Recording, name: str, variant: str) -> Counted:
    from trimtab.cli.replaying.fetch import load_of_metrics

    if recording.is_whole and recording.loads:
        return recording.arrivals()
    return load_of_metrics(client, name, variant, recording.start_s, recording.end_s, time.time())


def _machine(
    client: Client, recording: Recording, name: str, variant: str, given: tuple[str, str, int | None]
) -> Machine:
    from trimtab.cli.replaying.fetch import slots_of, work_of_metrics
    from trimtab.jobs.loadtest.quantities import seconds_of
    from trimtab.sim.replay.recording import START_S
    from trimtab.sim.replay.trial import Machine

    work, start, slots = given
    work_s = seconds_of(work, "--work") if work else recording.work_s
    if work_s is None:
        work_s = work_of_metrics(client, name, variant, recording.start_s, recording.end_s)
    if work_s is None:
        raise CliError("What a request takes was not recorded in that time.", "Tell it: --work 50ms")
    birth_s = seconds_of(start, "--start-time") if start else recording.birth_s or START_S
    return Machine(work_s=work_s, start_s=birth_s, slots=slots or slots_of(client, name, variant))


def _try(
    recording: Recording,
    arrivals: Counted,
    machine: Machine,
    policies: list[Any],
    title: str,
    plot: Path | None,
    *,
    as_json: bool,
) -> None:
    import msgspec

    from trimtab.cli.explaining.page import local_time
    from trimtab.cli.replaying import report
    from trimtab.cli.replaying.trial import tried

    done = tried(recording, arrivals, machine, policies)
    if as_json:
        span = {"from_s": arrivals.start_s, "to_s": arrivals.end_s, "requests": arrivals.total}
        emit_json(
            {
                "title": title,
                "load": span,
                "machine": msgspec.to_builtins(machine),
                "tried": [one.document() for one in done],
            }
        )
    else:
        emit(f"{title}, {local_time(arrivals.start_s)} to {local_time(arrivals.end_s)}: {arrivals.total:,} requests.")
        emit(
            f"The model: a request takes a replica {machine.work_s * 1e3:.3g} ms, {machine.slots} at once; "
            f"a start takes {machine.start_s * 1e3:.3g} ms.\n"
        )
        report.show(done)
        report.show_changes(done)
        report.show_charts(report.charts_of(done))
    if plot is not None:
        report.draw(report.charts_of(done), title, plot)
