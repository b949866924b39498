"""An audit in the terminal: one line a finding, dearest first; what it comes to; what was not seen."""

from __future__ import annotations

from trimtab.advisor.audit.totals import Totals, ordered, totals
from trimtab.advisor.audit.words import bill_words, endpoints_words
from trimtab.advisor.finding import Audit, Finding
from trimtab.advisor.html.money import usd
from trimtab.advisor.words import counted
from trimtab.cli.render import columns_wide, emit, say, table

_COLUMNS = ("$ A MONTH", "RISK", "SURE", "FINDING", "ID")
_BEFORE = 29  # columns of the terminal that the first three take
_TITLE = 36  # that a title should have at least


def show(audit: Audit) -> None:
    """Print it. Findings and sums on stdout; what was not seen, and what is to be said of prices, on stderr."""
    together = totals(audit.findings)
    if audit.findings:
        _table([_row(one) for one in ordered(audit.findings)])
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


def _table(rows: list[tuple[str, ...]]) -> None:
    """A line each; where a terminal is too narrow, the id on a line of its own, so that it can be copied whole."""
    if max(len(row[-1]) for row in rows) + _BEFORE + _TITLE <= columns_wide():
        table(_COLUMNS, rows, right=_COLUMNS[:1], whole=_COLUMNS[-1:])
        return
    columns = (*_COLUMNS[:3], "FINDING, AND ITS ID")
    table(columns, [(*row[:3], f"{row[3]}\n{row[4]}") for row in rows], right=_COLUMNS[:1])


def _row(one: Finding) -> tuple[str, ...]:
    mark = " *" if one.fix is not None and one.fix.is_safe else ""
    return amount(one), str(one.risk), str(one.confidence), one.title, f"{one.id}{mark}"


def _sums(audit: Audit, together: Totals) -> list[str]:
    count = len(audit.findings)
    lines = [
        f"account {audit.account or '(unknown)'}, {audit.region}: {endpoints_words(audit)}, "
        f"{bill_words(audit)} a month as it runs now; {counted(count, 'finding')} in {counted(audit.days, 'day')}"
    ]
    if together.counted:
        besides = (
            f" ({counted(len(together.besides), 'other')} would save of the same things)" if together.besides else ""
        )
        lines.append(
            f"{usd(together.saves)} a month can be saved by {counted(len(together.counted), 'finding')} of different "
            f"things{besides}"
        )
    if together.costs:
        lines.append(f"{usd(together.costs)} a month is what the instances that are missing would cost")
    if together.unpriced:
        lines.append(f"{counted(len(together.unpriced), 'finding')} without a figure: --json says why")
    if any(one.fix is not None and one.fix.is_safe for one in audit.findings):
        lines.append("* can be carried out: trimtab audit --apply ID shows the calls first, and asks")
    if audit.unseen:
        them = "it" if len(audit.unseen) == 1 else "them"
        lines.append(
            f"{counted(len(audit.unseen), 'thing')} could not be looked at, and nothing is said of {them}: see below"
        )
    return lines
