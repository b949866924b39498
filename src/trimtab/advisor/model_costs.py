"""What models of a multi-model endpoint cost: the time that loads take of an instance, and the memory that they keep.

A load is priced as if its replica did nothing else meanwhile: an upper bound. Memory is priced by its share: who keeps
a quarter of a replica's bytes keeps a quarter of what the replica costs.
"""

from __future__ import annotations

_HOUR_S = 3600.0


def time_usd(seconds: float, usd_per_hour: float) -> float:
    """Dollars for a time of one instance."""
    return seconds * usd_per_hour / _HOUR_S


def memory_usd_per_hour(kept_bytes: int, of_bytes: int, usd_per_hour: float) -> float:
    """Dollars an hour for a part of one instance's memory for models; 0 where it has none."""
    return min(1.0, kept_bytes / of_bytes) * usd_per_hour if of_bytes > 0 else 0.0
