"""What a report shows of an audit: the bill, where it goes, how much of it is used, and when requests come."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

import numpy as np
from markupsafe import Markup

from trimtab.advisor.audit.totals import Totals, saved
from trimtab.advisor.audit.words import kind_words
from trimtab.advisor.finding import Audit, Finding, Risk
from trimtab.advisor.html.bars import Bar, bars_svg, waterfall
from trimtab.advisor.html.lines import Curve, lines_svg
from trimtab.advisor.html.money import usd
from trimtab.advisor.observed import Observed
from trimtab.resources.cost import MICRO
from trimtab.sim.load import Floats

_MOST_BARS: Final = 15
_HOUR_S: Final = 3600.0
_TONES: Final = {Risk.NONE: "less", Risk.LOW: "less", Risk.MEDIUM: "caution", Risk.HIGH: "more"}


def bill(audit: Audit, together: Totals) -> Markup:
    """The month's bill now, what each kind of finding takes off or adds, and what is left."""
    if not audit.month_micro_usd or not (together.counted or together.costing):
        return Markup("")
    changes: dict[str, int] = defaultdict(int)
    for one in (*together.counted, *together.costing):
        changes[one.kind] -= saved(one)
    steps = sorted(changes.items(), key=lambda pair: pair[1])
    now = audit.month_micro_usd
    first = Bar("A month, as it is now", 0.0, now / MICRO, usd(now), "now")
    after = usd(now + sum(changes.values()))
    return bars_svg(
        "The month's bill",
        waterfall(
            first,
            [(kind_words(kind), change / MICRO, _change(change)) for kind, change in steps],
            ("A month, with these mended", after),
        ),
    )


def largest(together: Totals) -> Markup:
    """The findings that count, each with what it saves, in the colour of its risk."""
    return bars_svg(
        "The largest savings",
        [
            Bar(one.title, 0.0, saved(one) / MICRO, usd(saved(one)), _TONES[one.risk], f"{one.id}: risk {one.risk}")
            for one in together.counted[:_MOST_BARS]
        ],
    )


def used(observed: Iterable[Observed], idle: Iterable[Finding] = ()) -> Markup:
    """Of what is paid for, the part of the time that one request at a time fills: the emptiest endpoints first.

    `idle`: findings of endpoints that nobody asks, and of which nothing was observed therefore."""
    parts = [(part, one) for one in observed if (part := _busy_part(one)) is not None]
    parts.sort(key=lambda pair: pair[0])
    bars = [Bar(one.id.partition("/")[2], 0.0, 0.0, "0 %", "after", one.title) for one in idle]
    bars += [
        Bar(one.endpoint, 0.0, min(1.0, part) * 100, _percent(part), "after", _counted(one)) for part, one in parts
    ]
    return bars_svg("How much of what is paid is used", bars[:_MOST_BARS])


def traffic(observed: Iterable[Observed]) -> Markup:
    """Requests a second by the hour, of all endpoints together."""
    known = [one for one in observed if one.counts]
    if not known:
        return Markup("")
    start_s = min(one.start_s for one in known)
    end_s = max(one.start_s + len(one.counts) * one.step_s for one in known)
    hours = np.zeros(int(np.ceil((end_s - start_s) / _HOUR_S)))
    for one in known:
        _add(hours, one, start_s)
    return lines_svg("Requests", "per s", _HOUR_S, [Curve("all endpoints", hours.tolist(), "after")])


def _add(hours: Floats, one: Observed, start_s: float) -> None:
    at_s = one.start_s - start_s + np.arange(len(one.counts)) * one.step_s
    np.add.at(hours, (at_s // _HOUR_S).astype(int), np.asarray(one.counts) / _HOUR_S)


def _busy_part(one: Observed) -> float | None:
    """None where nothing is paid for by the hour, or not known how long a request takes."""
    if not one.instance_type or one.replicas < 1 or not one.counts or not one.service_s:
        return None
    points = sorted((float(percentile), seconds) for percentile, seconds in one.service_s.items())
    grid = np.linspace(0.0, 100.0, 101)
    mean_s = float(np.interp(grid, [at for at, _ in points], [seconds for _, seconds in points]).mean())
    return float(sum(one.counts)) * mean_s / (len(one.counts) * one.step_s * one.replicas)


def _percent(part: float) -> str:
    return "< 0.1 %" if part < 0.001 else f"{part:.1%}".replace("%", " %")


def _counted(one: Observed) -> str:
    a_day = sum(one.counts) / (len(one.counts) * one.step_s) * 86_400
    return f"{one.endpoint}: {a_day:,.0f} requests a day on {one.replicas} x {one.instance_type}"


def _change(micro_usd: int) -> str:
    return usd(micro_usd) if micro_usd < 0 else f"+{usd(micro_usd)}"
