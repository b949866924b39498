"""The user's own prices: a newer list (CSV), and hardware of their own (TOML), priced by the hour.

[hardware.local]
usd_per_hour = 0.35

[hardware."my-a6000"]
purchase_usd = 6500
years = 4                # until it is worth nothing
power_w = 450
usd_per_kwh = 0.28
hours_per_day = 24       # that it is on, and may be used (default: 24)
"""

from __future__ import annotations

import os
import tomllib
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from trimtab.advisor.prices import tables
from trimtab.advisor.prices.price import ANYWHERE, Price
from trimtab.advisor.prices.shapes import Shape
from trimtab.errors import Invalid

VARIABLE: Final = "TRIMTAB_PRICES"
_LEAST: Final = Decimal("0.01")
_MOST_YEARS: Final = 100
_DAYS_PER_YEAR: Final = Decimal("365.25")
_SHAPE: Final = frozenset({"accelerator", "accelerators", "accelerator_gib", "vcpus", "memory_gib"})
_HOURLY: Final = frozenset({"usd_per_hour", "as_of"})
_BOUGHT: Final = frozenset({"purchase_usd", "years", "power_w", "usd_per_kwh", "hours_per_day", "as_of"})


def user_files(path: Path | None = None) -> tuple[Path, Path]:
    """Where the user's list (CSV) and own hardware (TOML) are: of `path`, `$TRIMTAB_PRICES` or the usual place."""
    named = path or (Path(given) if (given := os.environ.get(VARIABLE)) else None)
    if named is None:
        base = os.environ.get("XDG_CONFIG_HOME")
        named = (Path(base) if base else Path.home() / ".config") / "trimtab" / "prices.toml"
    if named.suffix not in (".csv", ".toml"):
        raise Invalid(f"The file of prices {named} must end in .csv (a list) or .toml (hardware of your own).")
    return named.with_suffix(".csv"), named.with_suffix(".toml")


def own_prices(path: Path | None = None, *, must_exist: bool = True) -> tuple[tables.Prices, dict[str, Price]]:
    """What the user's files say: a newer list, and hardware by name.

    Raises Invalid for what is wrong in them, and, with `must_exist`, where files were named that are not there.
    """
    listed, hardware = user_files(path)
    if not listed.exists() and not hardware.exists():
        if must_exist and (path or os.environ.get(VARIABLE)):
            raise Invalid(f"Neither {listed} nor {hardware} is there; {path or f'${VARIABLE}'} names them.")
        return tables.Prices({}, {}), {}
    newer = tables.read(tables.text_of(listed), str(listed)) if listed.exists() else tables.Prices({}, {})
    return newer, (hardware_prices(tables.text_of(hardware), hardware) if hardware.exists() else {})


def hardware_prices(text: str, origin: Path) -> dict[str, Price]:
    """By name. Raises Invalid, naming the table and the key."""
    as_of = datetime.fromtimestamp(origin.stat().st_mtime, UTC).date().isoformat() if origin.exists() else ""
    return {name: _priced(name, table, origin, as_of) for name, table in _hardware(text, origin).items()}


def own_shapes(path: Path | None = None) -> dict[str, Shape]:
    """What the user's hardware has, by name, where their file says it. Raises Invalid for what is wrong in it."""
    _, hardware = user_files(path)
    if not hardware.exists():
        return {}
    found = _hardware(tables.text_of(hardware), hardware)
    return {name: _shape(name, table, hardware) for name, table in found.items() if not _SHAPE.isdisjoint(table)}


def _shape(name: str, table: dict[str, Any], origin: Path) -> Shape:
    where = f"{origin}, [hardware.{name}]"
    zero, accelerator = Decimal(0), table.get("accelerator", "")
    if not isinstance(accelerator, str):
        raise Invalid(f'{where}: accelerator is a name, such as "A6000".')
    count = float(_number(table, "accelerators", where, default=Decimal(1 if accelerator else 0)))
    each = float(_number(table, "accelerator_gib", where, default=None if count else zero))
    return Shape(
        instance_type=name,
        vcpus=int(_number(table, "vcpus", where, default=zero)),
        memory_gib=float(_number(table, "memory_gib", where, default=zero)),
        arch="",
        accelerator=accelerator,
        accelerators=count,
        accelerator_gib_each=each,
        accelerator_gib=count * each,
    )


def _hardware(text: str, origin: Path) -> dict[str, dict[str, Any]]:
    try:
        document = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise Invalid(f"{origin}: {error}.") from None
    strangers = sorted(set(document) - {"hardware"})
    if strangers:
        raise Invalid(f"{origin}: unknown table {strangers[0]!r}. Hardware of your own is [hardware.NAME].")
    hardware = document.get("hardware", {})
    if not isinstance(hardware, dict) or not all(isinstance(table, dict) for table in hardware.values()):
        raise Invalid(f"{origin}: hardware of your own is [hardware.NAME], with usd_per_hour or purchase_usd below it.")
    return hardware


def _priced(name: str, table: dict[str, Any], origin: Path, as_of: str) -> Price:
    where = f"{origin}, [hardware.{name}]"
    allowed = _SHAPE | _HOURLY if "usd_per_hour" in table else _SHAPE | _BOUGHT
    strangers = sorted(set(table) - allowed)
    if strangers:
        raise Invalid(f"{where}: unknown key {strangers[0]!r}. It takes {', '.join(sorted(allowed))}.")
    day = tables.checked_day(str(table.get("as_of", as_of)), where)
    if "usd_per_hour" in table:
        usd = _number(table, "usd_per_hour", where)
        return Price(item=name, unit="hour", region=ANYWHERE, usd=usd, as_of=day, source=f"told: {origin}")
    hours = _number(table, "hours_per_day", where, default=Decimal(24))
    years = _number(table, "years", where)
    if not _LEAST <= hours <= 24:
        raise Invalid(f"{where}: hours_per_day is at least {_LEAST} and at most 24.")
    if not _LEAST <= years <= _MOST_YEARS:
        raise Invalid(f"{where}: years must be from {_LEAST} to {_MOST_YEARS}, not {years}.")
    bought = _number(table, "purchase_usd", where) / (years * _DAYS_PER_YEAR * hours)
    zero = None if "power_w" in table or "usd_per_kwh" in table else Decimal(0)
    power = _number(table, "power_w", where, default=zero) / 1000 * _number(table, "usd_per_kwh", where, default=zero)
    usd = (bought + power).quantize(Decimal("0.000001"))
    source = f"told: {origin}; purchase {bought:.4f} + power {power:.4f} an hour, {hours} hours a day"
    return Price(item=name, unit="hour", region=ANYWHERE, usd=usd, as_of=day, source=source)


def _number(table: dict[str, Any], key: str, where: str, *, default: Decimal | None = None) -> Decimal:
    value = table.get(key, default)
    if value is None:
        hint = "" if key in _SHAPE else " Say usd_per_hour, or purchase_usd and years (power_w, usd_per_kwh)."
        raise Invalid(f"{where}: {key} is missing.{hint}")
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise Invalid(f"{where}: {key} must be a number, not {value!r}.")
    return tables.usd_of(str(value), f"{where}, {key}")
