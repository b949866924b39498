"""The HTML report of an audit: what is paid, what could be, and each finding with its evidence and its fix."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from markupsafe import Markup

from trimtab.advisor.audit.totals import Totals, ordered, saved, totals
from trimtab.advisor.audit.words import as_python, evidence_words, kind_words
from trimtab.advisor.finding import Audit, Finding, Risk
from trimtab.advisor.html.bars import Bar, bars_svg, waterfall
from trimtab.advisor.html.money import usd
from trimtab.advisor.html.page import page_of
from trimtab.resources.cost import MICRO

_MOST_BARS: Final = 15
_TONES: Final = {Risk.NONE: "less", Risk.LOW: "less", Risk.MEDIUM: "caution", Risk.HIGH: "more"}


def report(audit: Audit) -> str:
    """One HTML document that needs nothing but itself."""
    together = totals(audit.findings)
    return page_of(
        "audit.html.j2",
        audit=audit,
        totals=together,
        after=audit.month_micro_usd - together.saves + together.costs,
        date=datetime.fromtimestamp(audit.at_s, UTC).strftime("%Y-%m-%d %H:%M UTC"),
        bill=_bill(audit, together),
        largest=_largest(together),
        findings=[_shown(one, together) for one in ordered(audit.findings)],
    )


def _bill(audit: Audit, together: Totals) -> Markup:
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


def _largest(together: Totals) -> Markup:
    """The findings that count, each with what it saves, in the colour of its risk."""
    return bars_svg(
        "The largest savings",
        [
            Bar(one.title, 0.0, saved(one) / MICRO, usd(saved(one)), _TONES[one.risk], f"{one.id}: risk {one.risk}")
            for one in together.counted[:_MOST_BARS]
        ],
    )


def _change(micro_usd: int) -> str:
    return usd(micro_usd) if micro_usd < 0 else f"+{usd(micro_usd)}"


def _shown(one: Finding, together: Totals) -> dict[str, object]:
    return {
        "finding": one,
        "kind": kind_words(one.kind),
        "evidence": [evidence_words(name, value) for name, value in one.evidence.items()],
        "code": _code(one),
        "is_besides": one in together.besides,
    }


def _code(one: Finding) -> str:
    calls: Sequence[str] = [as_python(call) for call in one.fix.calls] if one.fix else []
    return "\n".join(["import boto3", "", *calls]) if calls else ""
