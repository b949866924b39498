"""Numbers that several configurations have: targets and cooldowns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from trimtab.errors import Invalid

_LARGEST: Final = 2.0**360  # AWS: TargetValue


def target_value(config: Mapping[str, Any]) -> float:
    """TargetValue. Raises Invalid unless it is a finite number above 0 and not beyond AWS's range."""
    value = float(config["TargetValue"])
    if not math.isfinite(value) or not 0 < value <= _LARGEST:
        raise Invalid(f"TargetValue must be a number above 0, and at most 2^360; it is {value:g}.")
    return value


def seconds(config: Mapping[str, Any], member: str, default_s: float) -> float:
    """A time in seconds. Raises Invalid when it is negative."""
    value = config.get(member, default_s)
    if value < 0:
        raise Invalid(f"{member} must be 0 seconds or more; it is {value}.")
    return float(value)
