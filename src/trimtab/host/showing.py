"""What the host holds, listed for control."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from trimtab.clock import Clock
from trimtab.host.happenings import Happenings
from trimtab.host.needs import Cache, Control
from trimtab.host.runner import Key
from trimtab.wire.hosting import Holding, ModelState


class Showing:
    """Of one host. To be called about once a second."""

    def __init__(self, cache: Cache, control: Control, clock: Clock) -> None:
        self._cache = cache
        self._control = control
        self._clock = clock
        self._shown: object = None

    def show(self, happenings: Happenings, pids: Mapping[Key, int], requests: int, misses: int) -> None:
        """Tell control what is here, if anything but the passing of time has changed it."""
        now_s = self._clock.monotonic_s()
        wall_s = self._clock.now_s() - now_s
        residents = self._cache.residents(now_s)
        shown = [msgspec.structs.replace(one, value=0.0) for one in residents]
        state = (shown, requests, misses, self._cache.memory_bytes)
        if state == self._shown:
            return
        self._shown = state
        listed = (
            msgspec.structs.replace(
                one,
                misses=happenings.misses(one.model) if one.state is ModelState.READY else 0,
                pid=pids.get(Key(one.model, one.version), 0),
                loaded_s=one.loaded_s + wall_s if one.loaded_s else 0.0,
                used_s=one.used_s + wall_s if one.used_s else 0.0,
            )
            for one in residents
        )
        self._control.hold(
            Holding(
                residents=tuple(listed),
                memory_bytes=self._cache.memory_bytes,
                used_bytes=self._cache.used_bytes,
                hits=requests - misses,
                misses=misses,
            )
        )
