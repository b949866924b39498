"""What a container's environment says about idle environments of a serverless variant. Pure."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping

from msgspec import Struct

from trimtab.errors import Invalid

KEEP_WARM_VARIABLE = "TRIMTAB_KEEP_WARM"
MAX_KEEP_WARM_S = 30 * 86_400.0
COLD_S = 840.0


class KeepWarmMode(enum.StrEnum):
    """What decides for how long an idle environment is kept."""

    PATTERN = "pattern"  # the variant's own arrivals (keep_warm.py)
    OFF = "off"  # it ends as soon as it is idle
    FIXED = "fixed"  # so many seconds


class KeepWarm(Struct, frozen=True):
    """`fixed_s` counts with FIXED only; `cold_s`, how many seconds of idle memory a cold start is worth, with PATTERN
    only."""

    mode: KeepWarmMode = KeepWarmMode.PATTERN
    fixed_s: float = 0.0
    cold_s: float = COLD_S


def keep_warm_of(environment: Mapping[str, str]) -> KeepWarm:
    """Read `TRIMTAB_KEEP_WARM`: `pattern` (also when it is not given), `pattern:` and what a cold start is worth in
    seconds of idle memory, `off`, or for how many seconds an environment stays. Raises Invalid."""
    text = environment.get(KEEP_WARM_VARIABLE, "").strip().lower()
    if text in ("", KeepWarmMode.PATTERN):
        return KeepWarm()
    if text == KeepWarmMode.OFF:
        return KeepWarm(KeepWarmMode.OFF)
    mode, parted, number = text.rpartition(":")
    try:
        seconds = float(number)
    except ValueError:
        seconds = math.nan
    if mode != (KeepWarmMode.PATTERN if parted else "") or not 0 <= seconds <= MAX_KEEP_WARM_S:
        raise Invalid(
            f"{KEEP_WARM_VARIABLE} is {environment[KEEP_WARM_VARIABLE][:40]!r}: it must be `pattern`, `pattern:` and "
            f"a number of seconds, `off`, or a number of seconds, from 0 to {MAX_KEEP_WARM_S:.0f}."
        )
    if parted:
        return KeepWarm(cold_s=seconds)
    return KeepWarm(KeepWarmMode.FIXED, seconds) if seconds else KeepWarm(KeepWarmMode.OFF)
