"""Money, and what it was spent for. Amounts are whole micro-dollars, so that parts add up to their bill exactly."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from fractions import Fraction
from math import lcm
from typing import Any, Final, TypeVar

K = TypeVar("K", bound=Any)

MICRO: Final = 1_000_000
"""Micro-dollars of a dollar."""

_TURN: Final = 1 << 32
_GOLDEN: Final = 0x9E3779B9  # _TURN / the golden ratio: multiples of it fall evenly between 0 and _TURN


class Part(enum.StrEnum):
    """What a part of a bill was for."""

    SERVING = "serving"  # a replica had a request in hand
    HEADROOM = "headroom"  # it had none, and was kept for load: what policies and minimum capacity hold ready
    IDLE = "idle"  # nothing came for long: nobody needed it
    COLD_STARTS = "cold-starts"  # ordered, not yet ready
    RELOADS = "reloads"  # a model was loaded again that had been evicted
    RETRIES = "retries"  # work on attempts that were thrown away
    SHADOW = "shadow"  # work of which nobody sees the answers
    ROLLOUT = "rollout"  # the old version beside the new one: baking, draining


def micro_usd(usd_per_hour: Fraction, seconds: Fraction) -> int:
    """What so long costs, rounded down. Of a time that goes on, charge the growth: then charges sum to the whole."""
    return int(usd_per_hour * seconds * MICRO / 3600)


def divided(total: int, weights: Mapping[Part, float]) -> dict[Part, int]:
    """`total` micro-dollars in the proportion of `weights`, by largest remainders: the parts sum to `total`.

    Without a positive weight all of it is IDLE. ValueError for a negative or infinite one.
    """
    return divided_among(total, weights, rest=Part.IDLE)


def divided_among(total: int, weights: Mapping[K, float], *, rest: K) -> dict[K, int]:
    """As `divided`, by any keys that can be ordered; what has no positive weight goes to `rest`."""
    if any(not 0 <= weight < float("inf") for weight in weights.values()):
        raise ValueError("weights are finite, and 0 or more")
    exact = {key: Fraction(weight) for key, weight in weights.items() if weight > 0}
    if len(exact) < 2:
        return dict.fromkeys(exact or (rest,), total) if total else {}
    scale = lcm(*(weight.denominator for weight in exact.values()))
    whole = {key: weight.numerator * (scale // weight.denominator) for key, weight in exact.items()}
    of = sum(whole.values())
    parts = {key: total * weight // of for key, weight in whole.items()}
    left = total - sum(parts.values())
    order = sorted(whole, key=lambda key: (-(total * whole[key] % of), key)) if left else []
    for key in order[:left]:
        parts[key] += 1
    return {key: amount for key, amount in parts.items() if amount}


def spread(total: int, weights: Mapping[K, int], *, rest: K, turn: int) -> dict[K, int]:
    """As `divided_among`, for a total that comes in many small pieces: in the long run each key gets its share of all.

    Largest remainders would give what is small the same nothing every time. Here the places where shares are rounded
    move on with `turn`, the number of the piece: what a key has got of n pieces in a row is its share within a few.
    """
    keys = sorted(key for key, weight in weights.items() if weight > 0)
    if len(keys) < 2 or not total:
        return dict.fromkeys(keys or (rest,), total) if total else {}
    whole = sum(weights[key] for key in keys)
    of, each = whole * _TURN, total * _TURN
    so_far = turn * _GOLDEN % _TURN * whole
    parts: dict[K, int] = {}
    given = 0
    for key in keys:
        so_far += weights[key] * each
        if (reached := so_far // of) > given:
            parts[key] = reached - given
            given = reached
    return parts
