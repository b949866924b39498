"""`--plot FILE`: a page (HTML, with SVG inside) or a picture (PNG, by matplotlib) of a test."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from trimtab.aws.loaded_endpoint import UTILIZATION
from trimtab.cli.benching.charts import Chart, charts_of
from trimtab.cli.benching.report import used, words_of
from trimtab.cli.benching.subject import dollars
from trimtab.cli.benching.svg import COLORS, color_of, svg_of
from trimtab.cli.files import must_be_writable
from trimtab.cli.render import CliError, say
from trimtab.files import write_whole
from trimtab.jobs.loadtest.quantities import seconds_text

if TYPE_CHECKING:
    from trimtab.cli.benching.session import Done
    from trimtab.jobs.loadtest.outcome import Outcome

STYLE: Final = """
:root { color-scheme: light dark; --ink: #1d2126; --soft: #667; --line: #e3e5e8; --paper: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --soft: #9aa; --line: #34383e; --paper: #16181b; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 880px;
       margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin-bottom: 0; } h2 { font-size: 1.05rem; margin: 2rem 0 .3rem; }
p { color: var(--soft); margin-top: .2rem; }
table { border-collapse: collapse; margin: 1rem 0; } td, th { padding: .2rem 1.2rem .2rem 0; text-align: right; }
td:first-child, th:first-child, .left td, .left th { text-align: left; }
svg { width: 100%; height: auto; } .grid { stroke: var(--line); } .curve { fill: none; stroke-width: 1.8; }
.tick, .label { font-size: 12px; fill: var(--soft); } .limit { stroke: #c4314b; stroke-dasharray: 5 4; }
"""


def check_target(path: Path) -> None:
    """Raises CliError where `draw` could not work, before anything is measured."""
    if path.suffix.lower() not in (".png", ".html"):
        raise CliError(f"--plot draws FILE.png or FILE.html, not {path.name}.")
    if path.suffix.lower() == ".png" and importlib.util.find_spec("matplotlib") is None:
        raise CliError("--plot FILE.png needs matplotlib.", "pip install 'trimtab[plot]', or --plot FILE.html")
    must_be_writable(path)


def draw(done: Done, path: Path) -> None:
    """Write the page or the picture."""
    outcome = done.outcome
    if outcome is None or not charts_of(outcome):
        say(f"{path} was not written: there is nothing to draw.")
        return
    title = f"{done.subject.endpoint.name} at {done.subject.url}"
    if path.suffix.lower() == ".png":
        picture(charts_of(outcome), title, path)
    else:
        write_whole(path, page(done, outcome, title))
    say(f"wrote {path}")


def page(done: Done, outcome: Outcome, title: str) -> str:
    """A page that needs no other file."""
    document = done.document()
    charts = "\n".join(f"<h2>{escape(chart.title)}</h2>\n{svg_of(chart)}" for chart in charts_of(outcome))
    load = document["load"]
    pattern = f"{load['pattern']}, {outcome.tally.due:,} requests in {seconds_text(outcome.run.elapsed_s)}"
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n<h1>{escape(title)}</h1>\n"
        f"<p>{escape(pattern)}, from {escape(document['started_at'])}</p>\n"
        f"{_latency_table(document)}\n{_facts_table(document)}\n{charts}\n{_error_table(document)}\n</html>\n"
    )


def _latency_table(document: dict[str, Any]) -> str:
    names = ("mean", "p50", "p95", "p99", "p99.9", "max")
    rows = [("latency", document["latency_s"]), ("service time", document["service_time_s"])]
    head = "".join(f"<th>{name}</th>" for name in ("", *names))
    lines = [
        f"<tr><td>{name}</td>{''.join(f'<td>{seconds_text(found[key])}</td>' for key in names)}</tr>"
        for name, found in rows
        if found
    ]
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def _facts_table(document: dict[str, Any]) -> str:
    cost = document["cost"] or {}
    per_1000 = cost.get("usd_per_1000_requests")
    facts = [
        ("offered", f"{document['offered_per_s']:,.1f}/s"),
        ("answered", f"{document['achieved_per_s']:,.1f}/s"),
        ("failed", f"{document['requests']['failed']:,} ({document['error_rate']:.2%})"),
        ("cost of 1,000 requests", "not known" if per_1000 is None else dollars(per_1000)),
    ]
    facts += [(words_of(name), _used(document, name)) for name in UTILIZATION if _used(document, name)]
    if not document["generator"]["kept_up"]:
        facts.append(("load generator", "could not keep up; the latencies include that"))
    if document["slo"]:
        facts.append(("SLO", "kept" if document["slo"]["kept"] else "; ".join(document["slo"]["reasons"])))
    if search := document.get("search"):
        sure = "confirmed" if search["confirmed"] else "not confirmed"
        facts.insert(0, ("highest rate", f"{search['rate']:,.1f}/s ({sure}; {search['why']})"))
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in facts)
    return f'<table class="left">{rows}</table>'


def _used(document: dict[str, Any], metric: str) -> str:
    """Average and maximum of one metric, by variant where there are several."""
    found = document["utilization"]["percent"]
    several = len({use["variant"] for use in found}) > 1
    return ", ".join(
        f"{use['variant'] + ' ' if several else ''}{used(use['average'], use['maximum'])}"
        for use in found
        if use["metric"] == metric
    )


def _error_table(document: dict[str, Any]) -> str:
    if not document["errors"]:
        return ""
    rows = "".join(
        f"<tr><td>{escape(e['kind'])}</td><td>{e['status'] or '-'}</td><td>{e['count']:,}</td>"
        f"<td>{escape(e['example'])}</td></tr>"
        for e in document["errors"]
    )
    head = "<tr><th>error</th><th>status</th><th>count</th><th>the first one said</th></tr>"
    return f'<h2>Errors</h2>\n<table class="left">{head}{rows}</table>'


def picture(charts: Sequence[Chart], title: str, path: Path) -> None:
    """Charts below each other, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.1 * len(charts)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    for number, chart in enumerate(charts, 1):
        _axes(figure.add_subplot(len(charts), 1, number), chart)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=120, format="png")
    write_whole(path, drawn.getvalue())


def _axes(axes: Any, chart: Chart) -> None:
    for line in chart.lines:
        ys = [float("nan") if y is None else y for y in line.ys]
        marker = "o" if len(ys) < 3 else ""
        axes.plot(
            chart.xs, ys, label=line.name, color=color_of(chart, line), linewidth=1.6, marker=marker, markersize=3
        )
    axes.set_title(chart.title, loc="left", fontsize=10)
    axes.set_xlabel(chart.x_label)
    axes.set_ylabel(chart.y_label)
    axes.grid(alpha=0.3)
    if chart.x_names:
        axes.set_xticks(list(chart.xs), chart.x_names, fontsize=8)
    if chart.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    else:
        axes.set_ylim(bottom=0)
    if chart.limit is not None and chart.limit < 3 * max(chart.values):
        axes.axhline(chart.limit, color=COLORS["failed"], linestyle="--", linewidth=1)
    axes.legend(fontsize=8, frameon=False, ncols=len(chart.lines), loc="upper right", bbox_to_anchor=(1, 1.16))
