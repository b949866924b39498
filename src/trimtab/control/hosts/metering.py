"""From what model hosts tell to samples: AWS's metrics of multi-model endpoints, and trimtab's own.

`event_samples` and `held_samples` are pure. `HostMeter` writes them: an event counts once, whatever is killed and
however often a host repeats it, because its number is written in one transaction with its samples.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from trimtab.clock import Clock
from trimtab.control.metering import Keeps, Place
from trimtab.control.replica_metrics import sample_of
from trimtab.control.samples import MINUTE_S
from trimtab.logs import fields
from trimtab.metrics.names import CAUSE, INSTANCES, REASON, SAGEMAKER, TRIMTAB
from trimtab.metrics.sketch import Sketch
from trimtab.metrics.store import Sample
from trimtab.wire.hosting import Holding, ModelEvent, ModelState

logger = logging.getLogger(__name__)

GAUGES_EVERY_S: Final = 10  # numbers of models are published when they change, and so often while they do not
_NOTE: Final = "models/"
_KEPT_S: Final = 86_400.0  # a host that has been silent for so long is no more

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[int, int, float]).decode


class Held(Struct, frozen=True):
    """What one replica holds: models that are ready, and the measured bytes of all that are in its memory."""

    models: int
    bytes: int


def held_of(holding: Holding) -> Held:
    """The numbers of what a host told."""
    return Held(sum(one.state is ModelState.READY for one in holding.residents), holding.used_bytes)


def event_samples(place: Place, event: ModelEvent) -> Iterator[Sample]:
    """What is counted and timed of one event."""
    start_s = int(event.at_s)

    def one(name: str, extra: str = "", value: str = "") -> Iterator[Sample]:
        for more in ({}, {extra: value}) if value else ({},):
            yield sample_of(TRIMTAB, name, *place, Sketch.of([1.0]), start_s, more)

    def took(name: str, seconds: float | None) -> Iterator[Sample]:
        if seconds is not None:
            yield sample_of(SAGEMAKER, name, *place, Sketch.of([seconds * 1e6]), start_s)

    match event.what:
        case "loaded":
            yield from one("ModelLoads", CAUSE, joined(event.why))
            yield from took("ModelDownloadingTime", event.download_s)
            yield from took("ModelLoadingTime", event.load_s)
        case "unloaded":
            yield from one("ModelUnloads", CAUSE, joined(event.why))
            yield from took("ModelUnloadingTime", event.unload_s)
        case "load failed":
            yield from one("ModelLoadFailures", REASON, event.failure)
        case "crashed":
            yield from one("ModelCrashes")


def joined(words: str) -> str:
    """Words as a dimension's value: `new version` is `NewVersion`."""
    return "".join(word.capitalize() for word in words.split())


def held_samples(place: Place, held: Iterable[Held], start_s: int) -> Iterator[Sample]:
    """Gauges: a value per replica."""
    found = list(held)
    yield sample_of(TRIMTAB, "ModelsLoaded", *place, Sketch.of([float(one.models) for one in found]), start_s)
    yield sample_of(TRIMTAB, "ModelMemoryBytes", *place, Sketch.of([float(one.bytes) for one in found]), start_s)


class HostMeter:
    """Writes what hosts tell. `tick` once a second. On the event loop."""

    def __init__(
        self,
        store: Keeps,
        clock: Clock,
        also: Callable[[str, Place, Sequence[ModelEvent]], Mapping[str, bytes | None]] = lambda *_: {},
        holding: Callable[[str, Holding], None] = lambda *_: None,
    ) -> None:
        """`also` says which notes are written together with the events of a replica that are counted. `holding` hears
        what a replica holds."""
        self._also = also
        self._holding = holding
        self._store = store
        self._clock = clock
        self._numbers: dict[str, int] = {}  # last event that was counted, by replica
        self._places: dict[str, Place] = {}  # of connected replicas
        self._held: dict[str, Held] = {}
        self._told: dict[Place, tuple[dict[str, Held], int]] = {}  # gauges as last published, and in which second
        self._counted: dict[str, int] = {}  # minute of a replica's last LoadedModelCount
        self._load()

    def _load(self) -> None:
        old: dict[str, bytes | None] = {}
        for name, value in self._store.notes(_NOTE).items():
            number, minute_s, at_s = _unpack(value)
            if self._clock.now_s() - at_s > _KEPT_S:
                old[name] = None
            else:
                self._numbers[name.removeprefix(_NOTE)] = number
                self._counted[name.removeprefix(_NOTE)] = minute_s
        if old:
            self._store.record((), notes=old)

    def models(self) -> dict[str, int]:
        """How many models connected replicas have loaded, by replica id."""
        return {replica_id: held.models for replica_id, held in self._held.items()}

    def noted(
        self,
        replica_id: str,
        place: Place,
        events: Sequence[ModelEvent],
        committed: Callable[[], None] | None = None,
    ) -> None:
        """Count events of a host, in their order; those that were counted before are passed over.

        `committed` is called, from another thread, once what they count is durable.
        """
        last = self._numbers.get(replica_id, 0)
        fresh = [event for event in events if event.seq > last]
        if not fresh:
            self._store.record((), committed=committed)
            return
        self._numbers[replica_id] = fresh[-1].seq
        samples = [sample for event in fresh for sample in event_samples(place, event)]
        noted = {**self._notes([replica_id]), **self._also(replica_id, place, fresh)}
        self._store.record(samples, notes=noted, committed=committed)

    def _notes(self, replica_ids: Iterable[str]) -> dict[str, bytes | None]:
        """What is known to be counted of each: its last event, and the minute of its last LoadedModelCount."""
        now_s = self._clock.now_s()
        return {
            _NOTE + one: _pack((self._numbers.get(one, 0), self._counted.get(one, 0), now_s)) for one in replica_ids
        }

    def holds(self, replica_id: str, place: Place, holding: Holding) -> None:
        """What a connected host holds now."""
        self._places[replica_id] = place
        self._held[replica_id] = held_of(holding)
        self._holding(replica_id, holding)

    def left(self, replica_id: str) -> None:
        """A host is not connected any more: it publishes no gauges."""
        self._places.pop(replica_id, None)
        self._held.pop(replica_id, None)

    def gone(self, replica_id: str) -> None:
        """A replica has ended, and its last events have come: what was counted of it need not be known any more."""
        self.left(replica_id)
        known = self._numbers.pop(replica_id, None), self._counted.pop(replica_id, None)
        if known != (None, None):
            self._store.record((), notes={_NOTE + replica_id: None})

    # --- every second ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Tick for ever."""
        while True:
            await asyncio.sleep(1.0)
            try:
                self.tick()
            except Exception:  # the next second is another one
                logger.exception("models could not be metered %s", fields(replicas=len(self._held)))

    def tick(self) -> None:
        """Publish gauges that have changed or are due, and every replica's count of this minute."""
        now_s = int(self._clock.now_s())
        samples: list[Sample] = []
        counted: list[str] = []
        for place, held in self._by_place().items():
            before, at_s = self._told.get(place, ({}, 0))
            if held != before or not 0 <= now_s - at_s < GAUGES_EVERY_S:
                self._told[place] = (held, now_s)
                samples += held_samples(place, held.values() or (Held(0, 0),), now_s)
            minute_s = now_s // MINUTE_S * MINUTE_S
            if due := [replica_id for replica_id in held if self._counted.get(replica_id) != minute_s]:
                self._counted.update(dict.fromkeys(due, minute_s))
                counted += due
                samples.append(_minute_count(place, [held[replica_id] for replica_id in due], minute_s))
        if samples:
            self._store.record(samples, notes=self._notes(counted))

    def _by_place(self) -> dict[Place, dict[str, Held]]:
        """Those that hold something, and once more those whose last replica has left."""
        found: dict[Place, dict[str, Held]] = {}
        for replica_id, held in self._held.items():
            found.setdefault(self._places[replica_id], {})[replica_id] = held
        for place in [place for place in self._told if place not in found]:
            if self._told[place][0]:
                found[place] = {}
            else:
                del self._told[place]
        return found


def _minute_count(place: Place, held: Sequence[Held], minute_s: int) -> Sample:
    sketch = Sketch.of([float(one.models) for one in held])
    return sample_of(INSTANCES, "LoadedModelCount", *place, sketch, minute_s, resolution_s=MINUTE_S)
