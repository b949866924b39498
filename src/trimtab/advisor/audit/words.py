"""An audit's terms as people read them. Pure."""

from __future__ import annotations

from pprint import pformat
from typing import Final

from trimtab.advisor.finding import Audit, Call
from trimtab.advisor.html.money import usd
from trimtab.advisor.words import counted
from trimtab.resources.cost import MICRO

_UNITS = {
    "usd_per_hour": "$ an hour", "usd_per_month": "$ a month", "usd": "$", "s": "s", "percent": "%", "bytes": "bytes",
    "mb": "MB", "gb": "GB", "gib": "GiB", "days": "days", "per_s": "per s", "per_day": "a day",
}  # fmt: skip


# What is billed, as reading/ calls it: where one of them was refused, more may be paid than is known of.
ENDPOINTS: Final = "Endpoints"
_BILLED: Final = (
    ENDPOINTS, "Details of endpoints", "Configs of endpoints", "Training jobs", "Details of training jobs",
    "Transform jobs", "Details of transform jobs",
)  # fmt: skip


def bill_words(audit: Audit) -> str:
    """What a month costs as it is: `$420`; `at least $420` where not all that is billed could be seen, or priced."""
    lacking = (one for one in audit.unseen if not one.why.startswith("not supported"))  # there is none of it there
    is_whole = audit.month_is_whole and not any(one.what.partition(" (")[0] in _BILLED for one in lacking)
    return f"{'' if is_whole else 'at least '}{usd(audit.month_micro_usd)}"


def endpoints_words(audit: Audit) -> str:
    """`8 endpoints`; where they could not be listed, or some not be looked into, that."""
    if any(one.what == ENDPOINTS for one in audit.unseen):
        return "endpoints not seen"
    count = counted(audit.endpoints, "endpoint")
    hidden = any(one.what.startswith("Details of endpoints") for one in audit.unseen)
    return f"{count} seen, others not" if hidden else count


def kind_words(kind: str) -> str:
    """`no-scaling-policy`: `No scaling policy`."""
    words = kind.replace("-", " ").replace("gpu", "GPU")
    return words[:1].upper() + words[1:]


def evidence_words(name: str, value: float | int | str) -> tuple[str, str]:
    """(what, how much): (`mean gpu`, `12.4 %`) of `mean_gpu_percent`, 12.4."""
    for ending in sorted(_UNITS, key=len, reverse=True):
        if name.endswith(f"_{ending}"):
            return name[: -len(ending) - 1].replace("_", " "), _with_unit(value, _UNITS[ending])
    return name.replace("_", " "), value if isinstance(value, str) else _number(value)


def _with_unit(value: float | int | str, unit: str) -> str:
    if isinstance(value, str):  # not known, say
        return value
    if unit == "$ an hour":
        return f"${_number(value)} an hour"
    return f"{usd(round(value * MICRO))}{unit[1:]}" if unit.startswith("$") else f"{_number(value)} {unit}"


def _number(value: float | int) -> str:
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.4g}"


def as_python(call: Call) -> str:
    """The call as a line or more of a program with boto3."""
    written = ",\n".join(
        f"    {name}={_indented(pformat(value, width=96, sort_dicts=False))}" for name, value in call.parameters.items()
    )
    inside = f"\n{written},\n" if written else ""
    return f'boto3.client("{call.service}").{call.operation}({inside})'


def _indented(text: str) -> str:
    return text.replace("\n", "\n    ")
