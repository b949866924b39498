"""`trimtab record`: what an endpoint has seen lately, as a scenario to simulate and to plan with."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from trimtab.cli.options import AsJson, DataDir, EndpointName
from trimtab.cli.render import CliError, emit, emit_json, say


def record(
    name: EndpointName,
    variant: Annotated[str, typer.Option(help="The variant, where there are several.", show_default=False)] = "",
    last: Annotated[str, typer.Option(help="How far back: 15m, 1h, 7d.", show_default="1h")] = "",
    start: Annotated[str, typer.Option("--from", help="From: 2026-03-01T12:00, 12:00, 2h.", show_default=False)] = "",
    end: Annotated[str, typer.Option("--to", help="Until.", show_default="now")] = "",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The scenario; its trace goes beside it.", show_default="NAME.yaml"),
    ] = None,
    slo: Annotated[str, typer.Option(help="What is wanted of it: p99=1s.", show_default=False)] = "",
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Write a scenario of live traffic: arrivals, measured service times, start and load times, policies as they are.

    `trimtab simulate` runs it, `trimtab plan` looks for something cheaper.
    """
    from trimtab.advisor.words import counted
    from trimtab.cli.connect import connect
    from trimtab.cli.recorded.finding import found_of, made_s, signals_of, variant_of
    from trimtab.cli.recorded.metrics import Metrics
    from trimtab.cli.recorded.writing import Recorded, write
    from trimtab.cli.times import span
    from trimtab.sim.scenario import slo_of

    target = output or Path(f"{name}.yaml")
    if target.suffix not in (".yaml", ".yml"):
        raise CliError(f"A scenario is a YAML file: -o {target.with_suffix('.yaml')}")
    if slo:
        slo_of(slo)
    now_s = time.time()
    start_s, end_s = span(last, start, end, now_s)
    client = connect(data_dir)
    variant = variant_of(client, name, variant)
    born_s = made_s(client, name)
    is_young = start_s < born_s < end_s  # before that it had no replicas, and nobody could ask it anything
    metrics = Metrics(client, name, variant, born_s if is_young else start_s, min(end_s, now_s), now_s)
    entries = signals_of(client, name, variant, metrics)
    recorded = Recorded.of(metrics, found_of(client, name, variant, metrics), entries)
    written = write(recorded, target, slo=slo, force=force)
    files = [str(path) for path in written.files]
    young = [f"{name} was made at {time.strftime('%F %T', time.localtime(born_s))}: recorded from then on"]
    notes = [*(young if is_young else ()), *recorded.found.notes, *written.notes]
    if as_json:
        emit_json(recorded.document() | {"files": files, "notes": notes})
        return
    emit(f"{counted(recorded.requests, 'request')} in {recorded.span_words}, {recorded.work_words} each.")
    for note in notes:
        say(f"note: {note}")
    say(f"wrote {' and '.join(files)}; try: trimtab simulate {target}")
