"""What happened to models, as `trimtab explain` tells it: each event with its numbers and its price. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from trimtab.advisor.model_costs import time_usd
from trimtab.advisor.words import counted
from trimtab.cli.benching.subject import dollars
from trimtab.cli.hosting.page import mebibytes
from trimtab.cli.hosting.prices import VariantPrices
from trimtab.cli.render import one_line
from trimtab.wire.hosting import ModelEvent

_GOOD, _BAD = ("loaded",), ("load failed", "crashed", "refused")


class ModelTold(Struct, frozen=True, kw_only=True):
    """One load, unload, failure or crash of a model in a replica. `usd`: what a load's time cost; None: not known."""

    at_s: float
    model: str
    what: str
    why: str
    replica_id: str
    variant: str
    event: ModelEvent
    usd: float | None = None
    price_mark: str = ""  # of the price behind it: derived, old

    @property
    def key(self) -> tuple[str, int]:
        """No other has it."""
        return self.replica_id, self.event.seq

    @property
    def style(self) -> str:
        """How `what` is coloured."""
        if self.what in _BAD:
            return "red"
        return "green" if self.what in _GOOD else "cyan"


def model_story(
    documents: Iterable[Mapping[str, Any]], prices: VariantPrices, start_s: float, end_s: float
) -> list[ModelTold]:
    """Those of the time from `start_s` to `end_s`, oldest first. `prices`: dollars an hour by variant."""
    found = [_told(document, prices) for document in documents]
    return sorted((one for one in found if start_s <= one.at_s <= end_s), key=lambda one: one.at_s)


def _told(document: Mapping[str, Any], prices: VariantPrices) -> ModelTold:
    event = msgspec.convert(document, ModelEvent)
    variant = document["variant"]
    took = [seconds for seconds in (event.download_s, event.load_s) if seconds is not None]
    price = prices.usd_per_hour.get(variant)
    return ModelTold(
        at_s=event.at_s,
        model=event.model,
        what=event.what,
        why=event.why,
        replica_id=document["replica_id"],
        variant=variant,
        event=event,
        usd=time_usd(sum(took), price) if took and price is not None else None,
        price_mark=prices.marks.get(variant, ""),
    )


def facts(one: ModelTold) -> Iterator[tuple[str, str]]:
    """What there is to tell besides the headline: label and text."""
    event = one.event
    if event.text:
        yield "why", one_line(event.text)
    if event.failure:
        yield "failed", event.failure
    if times := _times(event):
        mark = f" (price {one.price_mark})" if one.price_mark else ""
        money = f"; its time cost {dollars(one.usd)}{mark}" if one.usd else ""
        yield "took", times + money
    if words := _sizes(event):
        yield "had" if one.what == "unloaded" else "size", words


def _times(event: ModelEvent) -> str:
    parts = [
        f"{label} {duration(seconds)}"
        for label, seconds in (("fetch", event.download_s), ("load", event.load_s), ("unload", event.unload_s))
        if seconds is not None
    ]
    if event.wait_s is not None:
        parts.append(f"first request waited {duration(event.wait_s)}")
    return ", ".join(parts)


def _sizes(event: ModelEvent) -> str:
    parts = [f"{mebibytes(event.bytes)} MiB"] if event.bytes else []
    if event.what == "unloaded":
        parts.append(f"{counted(event.requests, 'request')} answered")
    if event.version:
        parts.append(f"version {event.version[:12]}")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """`8.1 ms`, `2.3 s`."""
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:,.1f} s"
