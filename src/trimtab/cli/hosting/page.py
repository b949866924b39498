"""The page of `trimtab models`: replicas, models, sums. Lines of text and styles; what prints them is elsewhere."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from trimtab.advisor.words import counted
from trimtab.cli.benching.subject import dollars
from trimtab.cli.hosting.rows import ABSENT, IDLE_S, ModelRow, Page
from trimtab.cli.render import ago, milliseconds, one_line, shortened, style_of
from trimtab.control.hosts.api import HostView
from trimtab.resources.hosting import ModelSetting

Segment = tuple[str, str]
Line = list[Segment]

_MIB: Final = 2**20
_NAME_LEAST, _NAME_MOST = 12, 48
_VERSION: Final = 8  # characters of a digest
_WHY_LEAST: Final = 14


class Column(NamedTuple):
    """`rank`: those with the lowest go first when room is short. `right`: a number."""

    title: str
    rank: int
    right: bool = True


_COLUMNS: Final = (
    Column("VERSION", 60, right=False),
    Column("STATE", 90, right=False),
    Column("ON", 85),
    Column("MiB", 80),
    Column("REQUESTS", 75),
    Column("HITS", 72),
    Column("LOADS", 70),
    Column("LOAD ms", 65),
    Column("FAILED", 40),
    Column("EVICTED", 68),
    Column("IDLE", 50),
    Column("LOADS COST", 55),
    Column("KEPT $/h", 45),
    Column("SET", 62, right=False),
    Column("LAST UNLOAD", 30, right=False),
)


def lines(page: Page, rows: Sequence[ModelRow], width: int, most: int | None) -> Iterator[Line]:
    """The whole page, each line at most `width` wide. `most`: rows of models; the rest is counted."""
    yield from _head(page, width)
    yield []
    yield from _hosts(page.hosts, width)
    yield []
    shown = rows if most is None else rows[:most]
    yield from _models(page, shown, width)
    if len(rows) > len(shown):
        yield [(f"... {len(rows) - len(shown):,} models more", "dim")]
    yield []
    for sentence in sums(page):
        yield from ([(text, "")] for text in textwrap.wrap(sentence, width))


def _head(page: Page, width: int) -> Iterator[Line]:
    replicas = len(page.hosts)
    loaded = sum(row.ready > 0 for row in page.rows)
    facts = [
        f"{replicas} replica{'' if replicas == 1 else 's'}",
        f"{loaded:,} of {len(page.rows):,} known models loaded",
        f"{mebibytes(page.used_bytes)} of {mebibytes(page.memory_bytes)} MiB",
        f"hits {share(page.hits, page.hits + page.misses)} of {page.hits + page.misses:,} requests",
    ]
    first = shortened(page.endpoint, width)
    line: Line = [(first, "bold")]
    left = width - len(first)
    for fact in facts:
        if len(fact) + 2 > left:
            yield line
            line, left = [], width
        line.append(("  " + fact, ""))
        left -= len(fact) + 2
    yield line


def _hosts(hosts: Sequence[HostView], width: int) -> Iterator[Line]:
    titles = ("REPLICA", "VARIANT", "MODELS", "MiB", "OF MiB", "USED", "HITS", "MISSES", "HIT RATIO")
    cells = [
        (
            host.replica_id,
            host.variant,
            str(len(host.residents)),
            mebibytes(host.used_bytes),
            mebibytes(host.memory_bytes),
            share(host.used_bytes, host.memory_bytes),
            f"{host.hits:,}",
            f"{host.misses:,}",
            share(host.hits, host.hits + host.misses),
        )
        for host in hosts
    ]
    if not cells:
        yield [("No replica holds models now.", "yellow")]
        return
    yield from _table(titles, cells, {0, 1}, width)


def _models(page: Page, rows: Sequence[ModelRow], width: int) -> Iterator[Line]:
    if not rows:
        yield [("No model has been asked for yet.", "dim")]
        return
    cells = [_cells(page, row) for row in rows]
    keep = [index for index, column in enumerate(_COLUMNS) if any(line[index] != ABSENT for line in cells)]
    names = [one_line(row.model) for row in rows]
    name_width = min(_NAME_MOST, max(_NAME_LEAST, width // 3), max(_NAME_LEAST, *map(len, names)))
    sizes = {index: max(len(_COLUMNS[index].title), *(len(line[index]) for line in cells)) for index in keep}
    last = len(_COLUMNS) - 1
    if last in sizes:
        sizes[last] = min(sizes[last], _WHY_LEAST)
    left = width - name_width
    fitting = []
    for index in sorted(keep, key=lambda index: -_COLUMNS[index].rank):
        if sizes[index] + 2 > left:
            break
        left -= sizes[index] + 2
        fitting.append(index)
    if last in fitting:
        sizes[last] += left
    titles = [f"{'MODEL':{name_width}}"]
    columns = [index for index in keep if index in fitting]
    titles += [_aligned(_COLUMNS[index], _COLUMNS[index].title, sizes[index]) for index in columns]
    yield [("  ".join(titles).rstrip(), "bold")]
    for name, line in zip(names, cells, strict=True):
        drawn: Line = [(f"{shortened(name, name_width):{name_width}}", "")]
        for index in columns:
            text = line[index][: sizes[index]]
            style = style_of(text) if _COLUMNS[index].title == "STATE" else ""
            drawn.append(("  " + _aligned(_COLUMNS[index], text, sizes[index]), style))
        yield drawn


def _cells(page: Page, row: ModelRow) -> tuple[str, ...]:
    """One for each of _COLUMNS."""
    more = f" (+{row.in_hand})" if row.in_hand else ""
    return (
        "+".join(version[:_VERSION] for version in row.versions) or ABSENT,
        row.state,
        f"{row.ready}/{len(page.hosts)}" if row.copies else ABSENT,
        mebibytes(row.bytes) if row.copies else ABSENT,
        f"{row.requests:,}{more}",
        share(row.requests - row.misses, row.requests),
        f"{row.loads:,}",
        milliseconds(row.mean_load_s),
        f"{row.failures + row.crashes:,}" if row.failures or row.crashes else ABSENT,
        f"{row.evictions:,}",
        ago(row.used_s, page.at_s) if row.used_s else ABSENT,
        dollars(row.loads_usd) if row.loads_usd else ABSENT,
        dollars(row.kept_usd_per_hour) if row.kept_usd_per_hour else ABSENT,
        setting_words(row.setting) or ABSENT,
        one_line(row.last_why) or ABSENT,
    )


def sums(page: Page) -> Iterator[str]:
    """What loads and idle memory cost, in sentences."""
    if words := setting_words(page.otherwise):
        yield f"Models without a setting of their own: {words}."
    loads, load_s = sum(row.loads for row in page.rows), sum(row.load_s for row in page.rows)
    usd = [row.loads_usd for row in page.rows if row.loads_usd is not None]
    money = f": {dollars(sum(usd))} of replicas' time" if usd else ""
    yield f"{counted(loads, 'load')} took {load_s:,.2f} s{money}."
    if page.idle_bytes:
        per_hour = page.idle_usd_per_hour
        money = f": {dollars(per_hour)} an hour" if per_hour else ""
        part = share(page.idle_bytes, page.memory_bytes)
        yield (
            f"Models that nobody has asked for in {IDLE_S / 60:.0f} min keep {mebibytes(page.idle_bytes)} MiB, "
            f"{part} of the memory{money}."
        )
    if not page.prices:
        yield "No price is known of these instance types, or the key may not see them: nothing is told of money."
    yield from (f"Price of {note}." for note in page.price_notes if page.prices)


def setting_words(setting: ModelSetting | None) -> str:
    """`pinned, 2 to 3 copies, 10m`; empty where nothing was set."""
    if setting is None:
        return ""
    words = ["pinned"] if setting.pinned else []
    if setting.min_copies or setting.max_copies:
        most = str(setting.max_copies) if setting.max_copies else "all"
        words.append(f"{setting.least} to {most} copies")
    if setting.ttl_s:
        words.append(f"{setting.ttl_s:g} s to live")
    return ", ".join(words)


def mebibytes(size_bytes: int) -> str:
    """`12.4`, `1,024`."""
    value = size_bytes / _MIB
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def share(part: float, whole: float) -> str:
    """`97.3%`; a dash of nothing. Never 100 % or 0 % of what is not all or none."""
    if not whole:
        return ABSENT
    percent = 100 * part / whole
    if 0 < part < whole:
        percent = min(max(percent, 0.1), 99.9)
    return f"{percent:.1f}%" if percent % 100 else f"{percent:.0f}%"


def _aligned(column: Column, text: str, size: int) -> str:
    return f"{text:>{size}}" if column.right else f"{text:{size}}"


def _table(titles: Sequence[str], cells: Sequence[Sequence[str]], left: set[int], width: int) -> Iterator[Line]:
    sizes = [max(len(title), *(len(line[index]) for line in cells)) for index, title in enumerate(titles)]
    for number, line in enumerate((titles, *cells)):
        parts = [
            f"{text:{size}}" if index in left else f"{text:>{size}}"
            for index, (text, size) in enumerate(zip(line, sizes, strict=True))
        ]
        yield [("  ".join(parts).rstrip()[:width], "bold" if number == 0 else "")]
