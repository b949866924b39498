"""`trimtab bench`: an open-loop load test of an endpoint, and the highest rate that it can take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.benching.load import Bounds, Load, Pattern, payloads_of
from trimtab.cli.options import AsJson, DataDir, EndpointName
from trimtab.cli.render import CliError, emit_json
from trimtab.cli.start import INTERRUPTED

if TYPE_CHECKING:
    from trimtab.jobs.loadtest.slo import Slo


def bench(
    name: EndpointName,
    rate: Annotated[
        float | None,
        typer.Option(
            help="Requests a second. Of step and diurnal the highest, of a trace the mean; for --find-max the first.",
            show_default=False,
        ),
    ] = None,
    duration: Annotated[
        str, typer.Option(help="How long to send: 30s, 5m. A trace: its own, at most this.", show_default="30s")
    ] = "",
    pattern: Annotated[Pattern, typer.Option(help="When requests are due.")] = Pattern.POISSON,
    trace: Annotated[Path | None, typer.Option(help="The trace's CSV file, also .gz.", show_default=False)] = None,
    payload: Annotated[
        Path | None,
        typer.Option(help="What to send: JSON Lines, CSV rows, one body, or a folder of them.", show_default=False),
    ] = None,
    body: Annotated[str | None, typer.Option(help="What to send, as text.", show_default=False)] = None,
    content_type: Annotated[str, typer.Option(help="Of bodies whose file does not say.", show_default=False)] = "",
    variant: Annotated[str, typer.Option(help="Send to this variant.", show_default=False)] = "",
    stream: Annotated[bool, typer.Option("--stream", help="Invoke with response streaming.")] = False,
    find_max: Annotated[
        bool, typer.Option("--find-max", help="Find the highest rate that keeps the limits below.")
    ] = False,
    p99: Annotated[str, typer.Option(help="Limit of the 99th percentile of latency: 200ms.", show_default=False)] = "",
    p95: Annotated[str, typer.Option(help="The same of the 95th.", show_default=False)] = "",
    p50: Annotated[str, typer.Option(help="The same of the median.", show_default=False)] = "",
    error_rate: Annotated[
        str, typer.Option(help="Limit of the part of requests that fail.", show_default="1% if there is a limit")
    ] = "",
    search_time: Annotated[str, typer.Option(help="Most that --find-max may take.")] = "10m",
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same requests.")] = 0,
    steps: Annotated[int, typer.Option(min=1, max=1000, help="Levels of --pattern step.")] = 5,
    day: Annotated[str, typer.Option(help="Length of a day of --pattern diurnal.", show_default="the duration")] = "",
    trough: Annotated[float, typer.Option(min=0, max=1, help="The night's part of the highest rate.")] = 0.2,
    speed_up: Annotated[float, typer.Option(help="Replay a trace so many times as fast.")] = 1.0,
    time_column: Annotated[str, typer.Option(help="A trace's column of times.", show_default="by its name")] = "",
    count_column: Annotated[str, typer.Option(help="A trace's column of counts.", show_default="by its name")] = "",
    warm_up: Annotated[str, typer.Option(help="Send at half the rate for so long first; not counted.")] = "1s",
    timeout: Annotated[str, typer.Option(help="A request may take so long from when it is due.")] = "60s",
    processes: Annotated[int, typer.Option(min=1, max=64, help="Processes that make the load.")] = 1,
    max_connections: Annotated[int, typer.Option(min=1, max=100_000, help="Connections at once.")] = 1000,
    max_requests: Annotated[int, typer.Option(min=1, help="Refuse to send more.")] = 1_000_000,
    usd_per_hour: Annotated[
        float | None, typer.Option(help="What the endpoint's hardware costs.", show_default="AWS's prices")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Also draw it: FILE.png (needs trimtab[plot]) or FILE.html.", show_default=False)
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before loading another machine.")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Load an endpoint and say how it fared. Latency counts from when a request was due, whatever the server does."""
    from trimtab.cli.benching.drawing import check_target
    from trimtab.cli.benching.session import Session

    if plot is not None:
        check_target(plot)
    slo = _slo({"p99": p99, "p95": p95, "p50": p50}, error_rate, needed=find_max)
    load = Load(
        pattern=pattern, rate=rate, duration=duration, seed=seed, steps=steps, day=day, trough=trough, trace=trace,
        speed_up=speed_up, time_column=time_column, count_column=count_column,
    )  # fmt: skip
    bounds = Bounds(
        timeout=timeout, warm_up=warm_up, max_connections=max_connections, max_requests=max_requests,
        processes=processes,
    )  # fmt: skip
    if find_max and (pattern is not Pattern.POISSON or trace is not None):
        raise CliError("--find-max tries Poisson loads: it takes no --pattern and no --trace.")
    payloads = payloads_of(payload, body, content_type, variant)
    session = Session(name, load, bounds, payloads, slo, usd_per_hour=usd_per_hour, stream=stream, yes=yes)
    done = session.search(data_dir, search_time) if find_max else session.test(data_dir)
    _show(done, plot, as_json=as_json)


def _show(done: Any, plot: Path | None, *, as_json: bool) -> None:
    from trimtab.cli.benching.drawing import draw
    from trimtab.cli.benching.terminal import show_plots

    if as_json:
        emit_json(done.document())
    else:
        done.show()
        if done.outcome is not None:
            show_plots(done.outcome)
    if plot is not None:
        draw(done, plot)
    if done.interrupted:
        raise typer.Exit(INTERRUPTED)
    if failure := done.failure():
        raise CliError(failure)


def _slo(limits: dict[str, str], error_rate: str, *, needed: bool) -> Slo | None:
    from trimtab.jobs.loadtest.quantities import fraction_of, seconds_of
    from trimtab.jobs.loadtest.slo import Slo

    given = {name: text for name, text in limits.items() if text}
    if len(given) > 1:
        raise CliError(f"Give one limit of latency, not {len(given)}: {', '.join('--' + name for name in given)}.")
    if needed and not given:
        raise CliError("--find-max needs a limit of latency.", "--find-max --p99 200ms")
    errors = fraction_of(error_rate, "--error-rate") if error_rate else 0.01
    for name, text in given.items():
        return Slo(name, seconds_of(text, f"--{name}"), errors)
    return Slo(error_rate=errors) if error_rate else None
