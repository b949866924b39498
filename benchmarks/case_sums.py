"""The published figures of the case study, computed anew: which follow from the others, and which cannot.

    python -m benchmarks.case_sums

Amounts are whole micro-dollars and everything else is an exact fraction: nothing is rounded before it is printed.
docs/case-study.md has the table as it is printed here (a test compares them).
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from msgspec import Struct

from trimtab.resources.cost import MICRO, micro_usd

BEFORE, AFTER = 11, 2  # endpoints, of one instance each
USD_PER_HOUR: Final = Fraction("1.20")  # published, "about"
DAY_S: Final = 86_400
MONTH_DAYS: Final = 30  # with this one the published 39 days come out as 38.8
MONTH_BEFORE, MONTH_AFTER, ONCE = 23_400 * MICRO, 9_100 * MICRO, 18_500 * MICRO
EACH_BEFORE, EACH_AFTER = 410, 220  # micro-dollars of one inference
RATE_BEFORE, RATE_AFTER = 47, 89  # inferences a second, before and after compiling and quantizing
CALLS: Final = 800  # a day, of each hot model
USED: Final = (Fraction(12, 100), Fraction(14, 100))  # off-peak utilisation


class Row(Struct, frozen=True):
    """A published figure, what its sum is, what that comes to, and the verdict."""

    published: str
    computed: str
    result: str
    verdict: str


def endpoints_day(count: int) -> int:
    """What so many endpoints cost a day, in micro-dollars."""
    return count * micro_usd(USD_PER_HOUR, Fraction(DAY_S))


def break_even_days(once: int, saved_a_month: int, month_days: Fraction = Fraction(MONTH_DAYS)) -> Fraction:
    """Until what was spent once is saved again."""
    return once / (saved_a_month / month_days)


def busy_usd(rate: int) -> Fraction:
    """Dollars of one inference on an endpoint that is never idle."""
    return USD_PER_HOUR / 3600 / rate


def utilisation(each: int, rate: int) -> Fraction:
    """At which an inference costs `each` micro-dollars, at the published price of an hour."""
    return busy_usd(rate) / Fraction(each, MICRO)


def dollars(amount: int | Fraction, digits: int = 2) -> str:
    """Micro-dollars as dollars. Rounded by exact arithmetic."""
    scaled = round(Fraction(amount) / MICRO * 10**digits)
    whole, rest = divmod(scaled, 10**digits)
    return f"${whole:,}" + (f".{rest:0{digits}d}" if digits else "")


def rows() -> list[Row]:
    """All of them."""
    before, after = endpoints_day(BEFORE), endpoints_day(AFTER)
    month_before, month_after = MONTH_DAYS * before, MONTH_DAYS * after
    saved = MONTH_BEFORE - MONTH_AFTER
    days, long_days = (break_even_days(ONCE, saved, month) for month in (Fraction(MONTH_DAYS), Fraction(365, 12)))
    follows = EACH_BEFORE * Fraction(RATE_BEFORE, RATE_AFTER)
    implied = [utilisation(EACH_BEFORE, RATE_BEFORE), utilisation(EACH_AFTER, RATE_AFTER)]
    asked = [Fraction(MONTH_BEFORE, EACH_BEFORE), Fraction(MONTH_AFTER, EACH_AFTER)]
    at_used = [busy_usd(RATE_BEFORE) * MICRO / part for part in USED]
    call_s = [part * DAY_S / CALLS for part in USED]
    sums = [
        ("$316.80 a day before", "11 x 24 h x $1.20", dollars(before), "follows"),
        ("$57.60 a day after", "2 x 24 h x $1.20", dollars(after), "follows"),
        (
            "39 days",
            "$18,500 / (($23,400 - $9,100) / 30)",
            f"{float(days):.1f}; {float(long_days):.1f} with months of 365/12 days",
            "follows, rounded",
        ),
        (
            "58 % of compute saved",
            "1 - 57.60 / 316.80; 1 - 9,100 / 23,400",
            f"{percent(1 - Fraction(after, before))}; {percent(Fraction(saved, MONTH_BEFORE))}",
            "cannot be derived: 58 % of what is not said",
        ),
        (
            "$23,400 a month before",
            "30 x $316.80",
            dollars(month_before),
            f"cannot be derived: {dollars(MONTH_BEFORE - month_before, 0)} are of something else",
        ),
        (
            "$9,100 a month after",
            "30 x $57.60",
            dollars(month_after),
            f"cannot be derived: {dollars(MONTH_AFTER - month_after, 0)} are of something else",
        ),
        (
            "$14,300 a month saved",
            "30 x ($316.80 - $57.60)",
            dollars(month_before - month_after),
            f"cannot be derived: {dollars(saved - month_before + month_after, 0)} of it are not of the endpoints",
        ),
        (
            "$0.00041 -> $0.00022 each",
            "$0.00041 x 47 / 89",
            f"${float(follows) / MICRO:.6f}",
            "the ratio follows",
        ),
        (
            "$0.00041 each",
            "$1.20 / 3600 / 47",
            f"${float(busy_usd(RATE_BEFORE)):.8f}, never idle",
            f"cannot be derived; holds at {percent(implied[0], 2)} utilisation",
        ),
        (
            "$0.00022 each",
            "$1.20 / 3600 / 89",
            f"${float(busy_usd(RATE_AFTER)):.8f}, never idle",
            f"cannot be derived; holds at {percent(implied[1], 2)} utilisation",
        ),
        (
            "12 to 14 % utilisation at 47 requests/s",
            "$1.20 / 3600 / 47 / 0.12; / 0.14",
            "; ".join(dollars(each, 7) for each in at_used),
            f"contradicts $0.00041: {float(EACH_BEFORE / at_used[0]):.1f} to {float(EACH_BEFORE / at_used[1]):.1f} times that",
        ),
        (
            "12 to 14 % utilisation by 800 calls a day",
            "0.12 x 86,400 s / 800; 0.14",
            "; ".join(f"{float(each):.1f} s" for each in call_s) + " a call",
            "contradicts 47 requests/s",
        ),
        (
            "$0.00041 and $0.00022 as shares of the months",
            "$23,400 / $0.00041; $9,100 / $0.00022",
            "; ".join(f"{float(each) / 1e6:.1f}" for each in asked) + " million requests",
            "contradict each other: it is one traffic",
        ),
        ("p99 4.2 s -> 1.1 s", "", "", "cannot be derived: no times, no arrivals are published"),
    ]
    return [Row(*one) for one in sums]


def percent(part: Fraction, digits: int = 0) -> str:
    """As words."""
    return f"{float(part * 100):.{digits}f} %"


def table() -> str:
    """Markdown."""
    lines = ["| published | the sum | comes to | |", "|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {r.published} | {r.computed} | {r.result} | {r.verdict} |" for r in rows())])


if __name__ == "__main__":
    print(table())
