"""An audit in the terminal: one line a finding, dearest first; what it comes to; what was not seen."""

from __future__ import annotations

from trimtab.advisor.audit.totals import Totals, ordered, totals
from trimtab.advisor.finding import Audit, Finding
from trimtab.advisor.html.money import usd
from trimtab.cli.render import emit, say, table

_COLUMNS = ("$ A MONTH", "RISK", "SURE", "FINDING", "ID")


def show(audit: Audit) -> None:
    """Print it. Findings and sums on stdout; what was not seen, and what is to be said of prices, on stderr."""
    together = totals(audit.findings)
    if audit.findings:
        rows = [_row(one) for one in ordered(audit.findings)]
        table(_COLUMNS, rows, right=_COLUMNS[:1])
        emit("")
    for line in _sums(audit, together):
        emit(line)
    for unseen in audit.unseen:
        say(f"not seen: {unseen.what}: {unseen.why}{f' (needs {unseen.needs})' if unseen.needs else ''}")
    for note in audit.price_notes:
        say(f"price: {note}")


def amount(one: Finding) -> str:
    """What mending it does to the month's bill: `-$420`, `+$537`; `?` where nobody knows; `-` where nothing."""
    saves = one.saves_micro_usd_per_month
    if saves is None:
        return "?"
    return "-" if not saves else f"{'-' if saves > 0 else '+'}{usd(abs(saves))}"


def _row(one: Finding) -> tuple[str, ...]:
    mark = " *" if one.fix is not None and one.fix.is_safe else ""
    return amount(one), str(one.risk), str(one.confidence), one.title, f"{one.id}{mark}"


def _sums(audit: Audit, together: Totals) -> list[str]:
    count = len(audit.findings)
    lines = [
        f"account {audit.account or '(unknown)'}, {audit.region}: {_many(audit.endpoints, 'endpoint')}, "
        f"{usd(audit.month_micro_usd)} a month as it runs now; {_many(count, 'finding')} in {audit.days} days"
    ]
    if together.counted:
        besides = (
            f" ({_many(len(together.besides), 'other')} would save of the same things)" if together.besides else ""
        )
        lines.append(
            f"{usd(together.saves)} a month can be saved by {_many(len(together.counted), 'finding')} of different "
            f"things{besides}"
        )
    if together.costs:
        lines.append(f"{usd(together.costs)} a month is what the instances that are missing would cost")
    if together.unpriced:
        lines.append(f"{_many(len(together.unpriced), 'finding')} without a figure: --json says why")
    if any(one.fix is not None and one.fix.is_safe for one in audit.findings):
        lines.append("* can be carried out: trimtab audit --apply ID shows the calls first, and asks")
    if audit.unseen:
        them = "it" if len(audit.unseen) == 1 else "them"
        lines.append(
            f"{_many(len(audit.unseen), 'thing')} could not be looked at, and nothing is said of {them}: see below"
        )
    return lines


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
