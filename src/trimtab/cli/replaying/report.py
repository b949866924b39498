"""What `trimtab replay` prints and draws."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from trimtab.cli.render import console, emit, milliseconds, say, table
from trimtab.cli.replaying.trial import Tried

if TYPE_CHECKING:
    from trimtab.cli.benching.charts import Chart
    from trimtab.sim.run import Run
    from trimtab.sim.verify import Agreement

_POINTS: Final = 300  # of a curve
_MOST_COLUMNS: Final = 120


def agreement_document(found: Agreement) -> dict[str, Any]:
    """As JSON."""
    import msgspec

    document: dict[str, Any] = msgspec.to_builtins(found)
    if found.difference is not None:
        from trimtab.control.scaling.entries import document_of

        given = found.difference.given
        document["difference"]["given"] = document_of(given) if given is not None else None
    return {"agrees": found.difference is None, **document}


def show_agreement(found: Agreement) -> None:
    """Whether live decisions and the replay's are the same."""
    counted = f"{found.inputs:,} inputs, {found.decisions:,} decisions, {found.made:,} of them changes"
    if found.difference is None:
        emit(f"Live and replay agree, bit for bit: {counted}.")
        return
    from trimtab.cli.explaining.page import clock

    difference = found.difference
    emit(f"Live and replay differ at {clock(difference.at_s)}, after {counted}. The input:")
    screen = console()
    for label, value in (("input", difference.given), ("live", difference.live), ("replay", difference.replayed)):
        screen.print(f"  {label:7} {value!r}", markup=False, overflow="fold", soft_wrap=True)


def show(tried: Sequence[Tried]) -> None:
    """A table: a row for what happened, and one for each policy."""
    columns = ("POLICY", "REPLICA-HOURS", "P50 (ms)", "P99 (ms)", "MAX (ms)", "OVER 200 ms", "CHANGES", "REPLICAS")
    rows = []
    for one in tried:
        found = one.document()
        latency, slow = found["latency_s"], found["requests_over_200_ms"]
        rows.append(
            (
                one.name,
                f"{found['replica_hours']:.2f}",
                *(milliseconds(latency[name]) for name in ("p50", "p99", "max")),
                f"{slow:,.0f} ({slow / max(1, found['requests']):.2%})",
                str(found["changes"]) if one is not tried[0] else "-",
                f"{found['replicas_least']} to {found['replicas_most']}",
            )
        )
    table(columns, rows, right=columns[1:])


def show_changes(tried: Sequence[Tried], most: int = 12) -> None:
    """The first changes that each policy would have made."""
    from trimtab.cli.explaining.page import clock

    for one in tried[1:]:
        changes = one.run.changes
        emit(f"\n{one.name}: {len(changes)} changes")
        for change in changes[:most]:
            emit(f"  {clock(change.at_s)}  {change.before} -> {change.wanted}  {change.reason}")
        if len(changes) > most:
            emit(f"  ... {len(changes) - most} more (--json has all)")


def charts_of(tried: Sequence[Tried]) -> list[Chart]:
    """Requests, replicas and the 99th percentile over time."""
    from trimtab.cli.benching.charts import Chart, Line

    load = tried[0].run.load
    unit_s, unit = (60.0, "minutes") if load.end_s - load.start_s < 4 * 3600 else (3600.0, "hours")
    xs: list[float] = []
    rate: list[float] = []
    replicas, slowest = [], []
    for one in tried:
        times, rate, ready, p99_s = points_of(one.run, _POINTS)
        xs = [at_s / unit_s for at_s in times]
        replicas.append(Line(one.name, ready))
        slowest.append(Line(one.name, [None if seconds is None else seconds * 1e3 for seconds in p99_s]))
    return [
        Chart("Requests", unit, "requests/s", xs, (Line("offered", rate),)),
        Chart("Replicas that are ready", unit, "replicas", xs, tuple(replicas)),
        Chart("Latency, 99th percentile", unit, "ms", xs, tuple(slowest), log=True),
    ]


def points_of(run: Run, most: int) -> tuple[list[float], list[float], list[float], list[float | None]]:
    """About so many points of a run: seconds from its start, requests/s, ready replicas, p99 in seconds."""
    import numpy as np

    from trimtab.sim.latency import Told, histogram_of, quantile

    load, told = run.load, run.told()
    size = max(1, len(load.arrivals) // most)
    parts = [slice(edge, edge + size) for edge in range(0, len(load.arrivals), size)]
    slowest: list[float | None] = []
    for part in parts:
        finite = np.isfinite(told.seconds[part])
        counted = Told(np.where(finite, told.seconds[part], 0), np.where(finite, told.weights[part], 0))
        slowest.append(quantile(histogram_of(counted), 0.99) or None)
    return (
        [part.start * load.step_s for part in parts],
        [float(load.arrivals[part].mean()) / load.step_s for part in parts],
        [float(run.ready[part].mean()) for part in parts],
        slowest,
    )


def show_charts(charts: Sequence[Chart]) -> None:
    """In the terminal, if stdout is one."""
    if not sys.stdout.isatty():
        return
    from trimtab.cli.benching.terminal import plotted

    columns = min(shutil.get_terminal_size().columns, _MOST_COLUMNS)
    for chart in charts:
        if len(chart.xs) > 2 and chart.values:
            emit("")
            emit(plotted(chart, columns, color=not os.environ.get("NO_COLOR")))


def draw(charts: Sequence[Chart], title: str, path: Path) -> None:
    """A page or a picture."""
    from trimtab.cli.benching.drawing import STYLE, picture
    from trimtab.cli.benching.svg import svg_of

    if path.suffix.lower() == ".png":
        picture(charts, title, path)
    else:
        body = "\n".join(f"<h2>{escape(chart.title)}</h2>\n{svg_of(chart)}" for chart in charts if chart.values)
        path.write_text(
            f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
            f"<style>{STYLE}</style>\n<h1>{escape(title)}</h1>\n{body}\n</html>\n",
            encoding="utf-8",
        )
    say(f"wrote {path}")
