"""`--plot FILE`: a page that needs no other file (HTML with SVG), or a picture (PNG, by matplotlib)."""

from __future__ import annotations

from html import escape
from pathlib import Path

from trimtab.cli.benching.drawing import STYLE, picture
from trimtab.cli.benching.svg import svg_of
from trimtab.cli.render import milliseconds
from trimtab.cli.simulating.bars import bars_of
from trimtab.cli.simulating.charts import charts_of
from trimtab.cli.simulating.report import more_than, slo_words, usd_words
from trimtab.cli.simulating.running import Simulated
from trimtab.files import write_whole
from trimtab.jobs.loadtest.quantities import seconds_text


def draw(done: Simulated, path: Path) -> None:
    """Write the page or the picture."""
    if path.suffix.lower() == ".png":
        picture(charts_of(done), done.scenario.name, path)
    else:
        write_whole(path, _page(done))


def _page(done: Simulated) -> str:
    title = escape(done.scenario.name)
    outcome = done.tried[0].outcome
    requests = sum(one.requests for one in outcome.served)
    span = seconds_text(outcome.end_s - outcome.start_s)
    charts = "\n".join(f"<h2>{escape(chart.title)}</h2>\n{svg_of(chart)}" for chart in charts_of(done))
    notes = "".join(f"<li>{escape(note)}</li>" for note in done.price_notes)
    waiting = "".join(f"<p>{escape(note)}</p>\n" for note in done.outcome_notes)
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f"<style>{STYLE}</style>\n<h1>{title}</h1>\n"
        f"<p>{requests:,} requests in {span}, seed {done.seed}, prices of {escape(done.region)}</p>\n"
        f"{_table(done)}\n{waiting}<h2>What the money was for</h2>\n{bars_of(done)}\n{charts}\n"
        f"{f'<h2>Prices</h2><ul>{notes}</ul>' if notes else ''}\n</html>\n"
    )


def _table(done: Simulated) -> str:
    head = "".join(
        f"<th>{name}</th>"
        for name in ("", "USD", "USD/month", "p50 (ms)", "p95 (ms)", "p99 (ms)", "cold", "lost", "replica-hours", "SLO")
    )
    rows = []
    for one in done.tried:
        served = one.outcome.served
        cells = (
            one.outcome.architecture,
            usd_words(one.bill),
            f"{more_than(one.bill)}{one.bill.micro_usd_per_month / 1e6:,.0f}",
            *(milliseconds(latency_s) for latency_s in one.latencies_s),
            f"{sum(each.cold for each in served):,}",
            f"{sum(each.refused + each.failed for each in served):,}",
            f"{one.replica_hours:,.1f}",
            slo_words(done, one),
        )
        rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"
