"""What a stretch of a replica's time is charged as. The ledger and the simulator go by these same lines. Pure.

Times are whole microseconds: sums of them are exact.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from trimtab.resources.cost import Part

IDLE_AFTER_S: Final = 300.0
"""A replica that is ready and has had no request for so long is idle; until then it is headroom. AWS's default
cooldown: what no policy would have scaled in yet was not kept for nothing."""


class Stage(enum.StrEnum):
    """Where a replica is in its life, as far as its costs are concerned."""

    STARTING = "starting"  # ordered, not ready
    READY = "ready"
    REPLACED = "replaced"  # ready, and not of the version that takes the traffic: baking or leaving
    SHADOW = "shadow"  # of a variant whose answers nobody sees


_WHOLE: Final = {Stage.STARTING: Part.COLD_STARTS, Stage.REPLACED: Part.ROLLOUT, Stage.SHADOW: Part.SHADOW}


def split(
    stage: Stage, span_us: int, *, busy_us: int = 0, wasted_us: int = 0, reload_us: int = 0, load_us: int = 0,
    is_idle: bool = False,
) -> Mapping[Part, int]:  # fmt: skip
    """The parts of a stretch of `span_us`, which they sum to.

    `busy_us`: with a request in hand; of these `wasted_us` on attempts that were thrown away. `reload_us`, `load_us`:
    while a model was loaded again that had been evicted, or for the first time: of the time that was not busy, for a
    replica that loads beside its requests costs nothing more. `is_idle`: nothing came for IDLE_AFTER_S.
    """
    if (whole := _WHOLE.get(stage)) is not None:
        return {whole: span_us} if span_us else {}
    busy_us = min(max(0, busy_us), span_us)
    wasted_us = min(max(0, wasted_us), busy_us)
    rest_us = span_us - busy_us
    reload_us = min(max(0, reload_us), rest_us)
    load_us = min(max(0, load_us), rest_us - reload_us)
    parts = {
        Part.SERVING: busy_us - wasted_us,
        Part.RETRIES: wasted_us,
        Part.RELOADS: reload_us,
        Part.COLD_STARTS: load_us,
        Part.IDLE if is_idle else Part.HEADROOM: rest_us - reload_us - load_us,
    }
    return {part: us for part, us in parts.items() if us}
