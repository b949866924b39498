"""The page of `trimtab cost`: a table of what was spent, what the parts mean, and what is to be said beside it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from trimtab.cli.render import emit, table
from trimtab.resources.cost import MICRO, Part

Document = Mapping[str, Any]

_TITLES: Final = {
    Part.SERVING: "SERVING",
    Part.HEADROOM: "HEADROOM",
    Part.IDLE: "IDLE",
    Part.COLD_STARTS: "STARTS",
    Part.RELOADS: "RELOADS",
    Part.RETRIES: "RETRIES",
    Part.SHADOW: "SHADOW",
    Part.ROLLOUT: "ROLLOUT",
}
_ALWAYS: Final = (Part.SERVING, Part.HEADROOM, Part.IDLE)
_HEADS: Final = {"instance-type": "INSTANCE", "day": "DAY (UTC)"}
_NOBODYS: Final = "(shared)"


def dollars(usd: float) -> str:
    """`$12.34`, and as many digits as a small amount needs: `$0.000041`."""
    if usd == 0 or usd >= 0.995:
        return f"${usd:,.2f}"
    return f"${usd:.4f}" if usd >= 0.00995 else f"${usd:.6f}" if usd >= 0.0000995 else f"${usd:.1e}"


def percents(amounts: Sequence[int]) -> list[int]:
    """Of their sum, in whole percent that sum to 100: what is cut off goes to those that lose most by it."""
    whole = sum(amounts)
    if whole <= 0:
        return [0] * len(amounts)
    found = [100 * amount // whole for amount in amounts]
    by_loss = sorted(range(len(amounts)), key=lambda i: (-(100 * amounts[i] % whole), i))
    for place in by_loss[: 100 - sum(found)]:
        found[place] += 1
    return found


def show(document: Document, *, endpoint: str = "") -> None:
    """Print it."""
    rows, total = document["rows"], document["total"]
    span = f"from {_at(document['since_s'])} to {_at(min(document['until_s'], document['charged_s']))}"
    if not rows:
        emit(f"Nothing was spent{' on ' + endpoint if endpoint else ''} {span}. {_why_nothing(document)}".rstrip())
        return
    _table(document, rows, total)
    for line in _below(document, total, span):
        emit(line)


def _why_nothing(document: Document) -> str:
    running = document.get("usd_per_hour")
    if not running or document["until_s"] < document["charged_s"]:  # of the past, all is charged
        return ""
    return f"What runs now costs {dollars(running)} an hour: it is charged some seconds later."


def _table(document: Document, rows: Sequence[Document], total: Document) -> None:
    by = document["by"]
    parts = [part for part in Part if part in _ALWAYS or total["parts"].get(part.value)]
    has_tokens = any(row.get("usd_per_million_tokens") is not None for row in rows)
    names = [_HEADS.get(dimension, dimension.upper()) for dimension in by]
    figures = ["COST", *(_TITLES[part] for part in parts), "REPLICA-H", "REQUESTS", "$/1k REQ"]
    figures += ["$/1M TOK"] if has_tokens else []
    told = [(*(_name(dimension, row["of"]) for dimension in by), *_cells(row, parts, has_tokens)) for row in rows]
    if len(rows) > 1:
        told.append((*["total", *[""] * len(by)][: len(by)], *_cells(total, parts, has_tokens)))
    table((*names, *figures), told, right=figures)


def _cells(row: Document, parts: Sequence[Part], has_tokens: bool) -> Iterator[str]:
    yield dollars(row["micro_usd"] / MICRO)
    amounts = [row["parts"].get(part.value, 0) for part in parts]
    for amount, percent in zip(amounts, percents(amounts), strict=True):
        yield f"{percent}%" if percent else "<1%" if amount else "-"
    hours = row.get("replica_hours", 0.0)
    yield f"{hours:,.2f}" if hours else "-"
    yield f"{row.get('requests', 0):,}"
    yield _or_dash(row.get("usd_per_1000_requests"))
    if has_tokens:
        yield _or_dash(row.get("usd_per_million_tokens"))


def _or_dash(usd: float | None) -> str:
    return "-" if usd is None else dollars(usd)


def _name(dimension: str, of: Mapping[str, Any]) -> str:
    value = of[dimension]
    if dimension == "hour":
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(value))  # of India, hours begin at half past
    if dimension == "day":
        return time.strftime("%Y-%m-%d", time.gmtime(value))
    return str(value) or (_NOBODYS if dimension == "model" else "?")


def _below(document: Document, total: Document, span: str) -> Iterator[str]:
    running = document.get("usd_per_hour")
    now = f" What runs now costs {dollars(running)} an hour." if running is not None else ""
    yield f"\n{span[0].upper()}{span[1:]}.{now}"
    if total.get("unpriced_hours"):
        yield (
            f"{total['unpriced_hours']:,.2f} replica-hours are not in this: no price is known for their instance types "
            "(--by instance-type shows which; `trimtab prices` says how to give them one)."
        )
    if total.get("unpriced_gb_s"):
        yield f"{total['unpriced_gb_s']:,.0f} GB-seconds of serverless requests are not in this: no price is known."
    for note in document["notes"]:
        yield f"Price of {note}" if not note.startswith("Price") else note


def _at(at_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at_s))
