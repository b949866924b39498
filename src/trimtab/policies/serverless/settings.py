"""What a container's environment says about idle environments of a serverless variant. Pure."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping

from msgspec import Struct

from trimtab.errors import Invalid

KEEP_WARM_VARIABLE = "TRIMTAB_KEEP_WARM"
MAX_KEEP_WARM_S = 30 * 86_400.0


class KeepWarmMode(enum.StrEnum):
    """What decides for how long an idle environment is kept."""

    PATTERN = "pattern"  # the variant's own arrivals (keep_warm.py)
    OFF = "off"  # it ends as soon as it is idle
    FIXED = "fixed"  # so many seconds


class KeepWarm(Struct, frozen=True):
    """`fixed_s` counts with FIXED only."""

    mode: KeepWarmMode = KeepWarmMode.PATTERN
    fixed_s: float = 0.0


def keep_warm_of(environment: Mapping[str, str]) -> KeepWarm:
    """Read `TRIMTAB_KEEP_WARM`: `pattern` (also when it is not given), `off`, or seconds. Raises Invalid."""
    text = environment.get(KEEP_WARM_VARIABLE, "").strip().lower()
    if text in ("", KeepWarmMode.PATTERN):
        return KeepWarm()
    if text == KeepWarmMode.OFF:
        return KeepWarm(KeepWarmMode.OFF)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= MAX_KEEP_WARM_S:
        raise Invalid(
            f"{KEEP_WARM_VARIABLE} is {environment[KEEP_WARM_VARIABLE][:40]!r}: it must be `pattern`, `off`, or a "
            f"number of seconds from 0 to {MAX_KEEP_WARM_S:.0f}."
        )
    return KeepWarm(KeepWarmMode.FIXED, seconds) if seconds else KeepWarm(KeepWarmMode.OFF)
