"""Results as tables: for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rich.table import Table

from benchmarks.peers.measure import Cell
from benchmarks.peers.models import ABOUT
from benchmarks.peers.peer import FEATURES, Peer
from benchmarks.peers.results import Results
from benchmarks.peers.stats import Spread, ratio, spread


@dataclass(frozen=True)
class Sheet:
    """A table before it has a look: a title, the names of its columns, and cells of text. The first column is a name."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def sheets(found: Results, peers: Sequence[Peer]) -> list[Sheet]:
    """All tables of a run: rates and costs for each model and concurrency, starts and memory, what was asked of whom."""
    models = [name for name in ABOUT if any(turn.model == name for turn in found.turns)]
    made = [load_sheet(found, peers, model, n) for model in models for n in found.settings.concurrency]
    made += [start_sheet(found, peers, model) for model in models]
    shown = [peer for peer in peers if any(turn.peer == peer.name for turn in found.turns)]
    return [*made, features_sheet(shown), configured_sheet(shown, found.versions)]


LOAD_COLUMNS = (
    "server",
    "requests/s",
    "min..max",
    "of trimtab",
    "of best peer",
    "p50 ms",
    "p99 ms",
    "CPU s / 1,000",
    "memory MiB",
    "errors",
    "foreign cores",
)


def load_sheet(found: Results, peers: Sequence[Peer], model: str, concurrency: int) -> Sheet:
    """One model under one load; the fastest first, those without figures last."""
    cells = {peer.name: found.cells(peer.name, model, concurrency) for peer in peers if model in peer.models}
    rates = {name: spread(c.figures.rate for c in got) for name, got in cells.items() if got}
    best = best_peer(peers, rates)
    trimtab_rate = rates["trimtab"].median if "trimtab" in rates else None
    best_rate = rates[best].median if best else None
    names = sorted(rates, key=lambda name: -rates[name].median)
    rows = [_load_row(name, cells[name], rates[name], trimtab_rate, best_rate) for name in names]
    for name in cells:
        if name not in rates and (why := found.failure(name, model)):
            rows.append((name, f"failed: {why.splitlines()[0][:60]}", *[""] * (len(LOAD_COLUMNS) - 2)))
    loops = found.bare_rows_per_s.get(model, [])
    bare = f"; the bare loop of full batches makes {spread(loops).median:,.0f} rows/s" if loops else ""
    rounds = max((len(got) for got in cells.values()), default=0)
    title = f"{model}: {ABOUT[model]}; concurrency {concurrency}, {found.settings.seconds} s, medians of {rounds}{bare}"
    return Sheet(title, LOAD_COLUMNS, rows)


def best_peer(peers: Iterable[Peer], rates: dict[str, Spread]) -> str | None:
    """The fastest that is neither trimtab nor a yardstick."""
    names = [peer.name for peer in peers if not peer.ours and not peer.yardstick and peer.name in rates]
    return max(names, key=lambda name: rates[name].median, default=None)


def _load_row(name: str, cells: list[Cell], rate: Spread, trimtab: float | None, best: float | None) -> tuple[str, ...]:
    def middle(value: Callable[[Cell], float]) -> float:
        return spread(value(cell) for cell in cells).median

    return (
        name,
        f"{rate.median:,.0f}",
        f"{rate.low:,.0f}..{rate.high:,.0f}",
        _times(ratio(rate.median, trimtab)),
        _times(ratio(rate.median, best)),
        _ms(middle(lambda c: c.figures.p50_s)),
        f"{_ms(middle(lambda c: c.figures.p99_s))} ({_ms(min(c.figures.p99_s for c in cells))}..{_ms(max(c.figures.p99_s for c in cells))})",
        f"{middle(lambda c: c.cpu_s_per_1000):.3f}",
        f"{middle(lambda c: c.memory.pss_bytes / 2**20):,.0f}",
        str(sum(c.figures.errors + c.figures.refused for c in cells)),
        f"{max(c.foreign_cores for c in cells):.2f}",
    )


def start_sheet(found: Results, peers: Sequence[Peer], model: str) -> Sheet:
    """Start until the first right answer, and memory after the loads."""
    rows = []
    for peer in peers:
        turns = [t for t in found.turns if t.peer == peer.name and t.model == model and t.cells]
        if not turns:
            continue
        start = spread(t.first_answer_s for t in turns)
        pss = spread(max(c.memory.pss_bytes for c in t.cells) / 2**20 for t in turns)
        rss = spread(max(c.memory.rss_bytes for c in t.cells) / 2**20 for t in turns)
        rows.append(
            (
                peer.name,
                f"{start.median:.2f}",
                f"{start.low:.2f}..{start.high:.2f}",
                f"{pss.median:,.0f}",
                f"{rss.median:,.0f}",
            )
        )
    return Sheet(
        f"{model}: start and memory", ("server", "first right answer s", "min..max", "PSS MiB", "RSS MiB"), rows
    )


def features_sheet(peers: Sequence[Peer]) -> Sheet:
    """What each server does of what trimtab does; "-" is what it does not, as it comes."""
    shown = [peer for peer in peers if not peer.ours or peer.name == "trimtab"]
    rows = [(peer.name, *(peer.does.get(feature, "-") for feature in FEATURES)) for peer in shown]
    return Sheet("what each of them does", ("server", *FEATURES), rows)


def configured_sheet(peers: Sequence[Peer], versions: dict[str, str]) -> Sheet:
    """Version and configuration of each."""
    rows = [(peer.name, f"{peer.package} {versions.get(peer.name, '')}".strip(), peer.configured) for peer in peers]
    return Sheet("versions and configurations", ("server", "package", "configured"), rows)


def terminal(sheet: Sheet) -> Table:
    """A table of rich."""
    table = Table(title=sheet.title, title_justify="left", title_style="bold")
    has_figures = sheet.columns[1:] == LOAD_COLUMNS[1:] or "PSS MiB" in sheet.columns
    for number, column in enumerate(sheet.columns):
        table.add_column(column, justify="right" if number and has_figures else "left")
    for row in sheet.rows:
        table.add_row(*(text.replace("[", r"\[") for text in row))
    return table


def markdown(sheets_: Iterable[Sheet], heading: str) -> str:
    """A page of tables."""
    parts = [heading]
    for sheet in sheets_:
        lines = [f"### {sheet.title}", "", _line(sheet.columns), _line(["---"] * len(sheet.columns))]
        parts.append("\n".join([*lines, *(_line(row) for row in sheet.rows)]))
    parts.append("\n".join(f"- {name}: {what}" for name, what in FEATURES.items()))
    return "\n\n".join(parts) + "\n"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|").replace("\n", " ") for text in cells) + " |"


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} x"


def _ms(seconds: float) -> str:
    value = seconds * 1000
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"
