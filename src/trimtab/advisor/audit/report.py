"""The HTML report of an audit: what is paid, what could be, and each finding with its evidence and its fix."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from trimtab.advisor.audit import pictures
from trimtab.advisor.audit.findings.idle import KIND as IDLE
from trimtab.advisor.audit.totals import Totals, ordered, totals
from trimtab.advisor.audit.words import as_python, bill_words, endpoints_words, evidence_words, kind_words
from trimtab.advisor.finding import Audit, Finding
from trimtab.advisor.html.page import page_of
from trimtab.advisor.words import counted


def report(audit: Audit) -> str:
    """One HTML document that needs nothing but itself."""
    together = totals(audit.findings)
    return page_of(
        "audit.html.j2",
        audit=audit,
        totals=together,
        date=datetime.fromtimestamp(audit.at_s, UTC).strftime("%Y-%m-%d %H:%M UTC"),
        month=bill_words(audit),
        endpoints=endpoints_words(audit),
        days=counted(audit.days, "day"),
        bill=pictures.bill(audit, together),
        largest=pictures.largest(together),
        used=pictures.used(audit.observed, [one for one in audit.findings if one.kind == IDLE]),
        traffic=pictures.traffic(audit.observed),
        findings=[_shown(one, together) for one in ordered(audit.findings)],
    )


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
