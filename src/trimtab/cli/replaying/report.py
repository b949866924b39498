"""What `trimtab replay` prints and draws."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from html import escape
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from trimtab.cli.render import console, emit, milliseconds, say, table
from trimtab.cli.replaying.trial import Tried
from trimtab.files import write_whole

if TYPE_CHECKING:
    from trimtab.cli.benching.charts import Chart
    from trimtab.sim.replay.verify import Agreement
    from trimtab.sim.world import Series

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
        changes = one.trial.decisions
        emit(f"\n{one.name}: {len(changes)} changes")
        for change in changes[:most]:
            emit(f"  {clock(change.at_s)}  {change.before} -> {change.wanted}  {change.reason}")
        if len(changes) > most:
            emit(f"  ... {len(changes) - most} more (--json has all)")


def charts_of(tried: Sequence[Tried]) -> list[Chart]:
    """Requests, replicas and the 99th percentile over time."""
    from trimtab.cli.benching.charts import Chart, Line

    first: Series = tried[0].trial.series
    span_s = len(first.requests) * first.step_s
    unit_s, unit = (60.0, "minutes") if span_s < 4 * 3600 else (3600.0, "hours")
    xs = [(number + 0.5) * first.step_s / unit_s for number in range(len(first.requests))]
    replicas, slowest = [], []
    for one in tried:
        series: Series = one.trial.series
        replicas.append(Line(one.name, series.ready.tolist()))
        slowest.append(Line(one.name, [None if isnan(s) else s * 1e3 for s in series.p99_s.tolist()]))
    return [
        Chart("Requests", unit, "requests/s", xs, (Line("offered", first.requests.tolist()),)),
        Chart("Replicas that are ready", unit, "replicas", xs, tuple(replicas)),
        Chart("Latency, 99th percentile", unit, "ms", xs, tuple(slowest), log=True),
    ]


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
        write_whole(
            path,
            f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
            f"<style>{STYLE}</style>\n<h1>{escape(title)}</h1>\n{body}\n</html>\n",
        )
    say(f"wrote {path}")
