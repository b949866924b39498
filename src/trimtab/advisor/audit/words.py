"""An audit's terms as people read them. Pure."""

from __future__ import annotations

from pprint import pformat

from trimtab.advisor.finding import Call

_UNITS = {
    "usd_per_hour": "$ an hour", "usd_per_month": "$ a month", "usd": "$", "s": "s", "percent": "%", "bytes": "bytes",
    "mb": "MB", "gb": "GB", "gib": "GiB", "days": "days", "per_s": "per s", "per_day": "a day",
}  # fmt: skip


def kind_words(kind: str) -> str:
    """`no-scaling-policy`: `No scaling policy`."""
    words = kind.replace("-", " ").replace("gpu", "GPU")
    return words[:1].upper() + words[1:]


def evidence_words(name: str, value: float | int | str) -> tuple[str, str]:
    """(what, how much): (`mean gpu`, `12.4 %`) of `mean_gpu_percent`, 12.4."""
    for ending in sorted(_UNITS, key=len, reverse=True):
        if name.endswith(f"_{ending}") and not isinstance(value, str):
            return name[: -len(ending) - 1].replace("_", " "), _with_unit(_number(value), _UNITS[ending])
    return name.replace("_", " "), value if isinstance(value, str) else _number(value)


def _with_unit(number: str, unit: str) -> str:
    return f"${number}{unit[1:]}" if unit.startswith("$") else f"{number} {unit}"


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
