"""What happened to models, as events for control: with the times that are behind them, and what each had answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from trimtab.clock import Clock
from trimtab.host.runner import Key
from trimtab.policies.models.actions import Refuse
from trimtab.resources.replica import Failure
from trimtab.wire.hosting import ModelEvent, NoFiles


class Happenings:
    """Remembers when a model was first asked for, how long its artifact took, and how many requests it has had."""

    def __init__(self, note: Callable[[ModelEvent], None], clock: Clock) -> None:
        self._note = note
        self._clock = clock
        self._asked_s: dict[str, float] = {}
        self._download_s: dict[Key, float] = {}
        self._requests: Counter[str] = Counter()
        self._misses: Counter[str] = Counter()

    def asked(self, model: str) -> None:
        """Somebody waits for it."""
        self._asked_s.setdefault(model, self._clock.monotonic_s())

    def waiting(self) -> list[str]:
        """Models that somebody waits for."""
        return list(self._asked_s)

    def used(self, model: str, requests: int, misses: int) -> None:
        """So many requests were sent to it, and so many of these had waited for it."""
        if requests:  # word that a model is idle may come after its end: nothing is to be remembered of it
            self._requests[model] += requests
        if misses:
            self._misses[model] += misses

    def misses(self, model: str) -> int:
        """Requests that had waited for what is loaded of it now."""
        return self._misses[model]

    def fetched(self, key: Key, download_s: float) -> None:
        """Its artifact is here; 0: it was before, so that there is nothing to tell of a download."""
        if download_s:
            self._download_s[key] = download_s

    def forgotten(self, key: Key) -> None:
        """It is not needed any more."""
        self._download_s.pop(key, None)

    def ready(self, model: str) -> float | None:
        """It takes requests; for how long the first of them has waited."""
        asked_s = self._asked_s.pop(model, None)
        return None if asked_s is None else self._clock.monotonic_s() - asked_s

    def loaded(
        self, key: Key, why: str, wait_s: float | None, load_s: float, footprint_bytes: int, artifact_bytes: int
    ) -> None:
        """It is ready, and measured."""
        self._event(
            "loaded",
            key.model,
            why,
            version=key.version,
            bytes=footprint_bytes,
            artifact_bytes=artifact_bytes,
            wait_s=wait_s,
            download_s=self._download_s.pop(key, None),
            load_s=load_s,
        )

    def load_failed(self, key: Key, why: str, failure: Failure) -> None:
        """It does not."""
        self._asked_s.pop(key.model, None)
        self._event(
            "load failed",
            key.model,
            why,
            version=key.version,
            text=failure.message,
            failure=failure.reason,
            download_s=self._download_s.pop(key, None),
        )

    def fetch_failed(self, model: str, said: NoFiles) -> None:
        """Its artifact cannot be had; where that may change, whoever waits goes on waiting."""
        if not said.transient:
            self._asked_s.pop(model, None)
        self._event("load failed", model, "asked", text=said.message, failure=said.reason)

    def refused(self, order: Refuse, *, told: bool) -> None:
        """Those who wait are told no. `told`: the failure behind it has been noted."""
        self._asked_s.pop(order.model, None)
        if not told:
            self._event("refused", order.model, text=order.message, failure=order.reason)

    def unloaded(self, key: Key, why: str, text: str, footprint_bytes: int, unload_s: float) -> None:
        """Its worker has ended, as it was told."""
        self._event(
            "unloaded",
            key.model,
            why,
            version=key.version,
            text=text,
            bytes=footprint_bytes,
            unload_s=unload_s,
            requests=self._requests.pop(key.model, 0),
            misses=self._misses.pop(key.model, 0),
        )

    def crashed(self, key: Key, failure: Failure) -> None:
        """Its worker has ended by itself."""
        self._event(
            "crashed",
            key.model,
            version=key.version,
            text=failure.message,
            failure=failure.reason,
            requests=self._requests.pop(key.model, 0),
            misses=self._misses.pop(key.model, 0),
        )

    def changed(self, model: str, *, deleted: bool) -> None:
        """Its object is another one now, or gone."""
        self._event("changed", model, "deleted" if deleted else "new version")

    def _event(self, what: str, model: str, why: str = "", **more: Any) -> None:
        self._note(ModelEvent(at_s=self._clock.now_s(), model=model, what=what, why=why, **more))
