"""What scaling remembers of one target between inputs: the last change, cooldowns, and what each policy said last.

Immutable; `State()` is fresh. `pack` keeps what must outlive a restart of control: windows and wishes begin anew.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct, field

from trimtab.policies.scaling.event import EventState
from trimtab.policies.scaling.wish import Wish


class Change(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The last change of capacity. Several in one direction, each before the last had worked itself out, are one:
    `before` is what there was before the first of them, `served` what metrics were last measured with."""

    before: int
    served: int
    wanted: int
    at_s: float  # of the last decision
    ended_s: float | None = None  # None: under way
    out_cooldown_s: float = 0.0  # after its end: no further scale-out, unless a larger one
    in_cooldown_s: float = 0.0  # after its end: no scale-in

    @property
    def is_out(self) -> bool:
        """Whether capacity grows."""
        return self.wanted > self.before


class Low(Struct, frozen=True):
    """A policy's AlarmLow is in ALARM: it agrees to less."""

    at_s: float
    value: float


class Wished(Struct, frozen=True):
    """What an event policy wished last."""

    at_s: float
    wish: Wish


class Floor(Struct, frozen=True):
    """What a predictive policy foresees: at least `capacity` until its next forecast; it may lift the maximum."""

    at_s: float
    capacity: int
    max_capacity: int


class Durable(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The part of State that is kept. Fields are only ever added, with a default: older and newer ones can be read."""

    change: Change | None = None
    out_until_s: float = 0.0
    in_until_s: float = 0.0
    failures: int = 0
    failed_s: float = 0.0
    floors: dict[str, Floor] = field(default_factory=dict)


class State(Durable, frozen=True, kw_only=True):
    """`out_until_s`, `in_until_s`: cooldowns that run until then. Dicts are by policy ARN and never changed in place.

    `failures`: scale-outs that failed one after the other, the last at `failed_s`. `told`: when a decision that was not
    made was told last, by policy and kind.
    """

    events: dict[str, EventState] = field(default_factory=dict)
    wishes: dict[str, Wished] = field(default_factory=dict)
    lows: dict[str, Low] = field(default_factory=dict)
    told: dict[str, float] = field(default_factory=dict)


_DURABLE = tuple(Durable.__struct_fields__)


def pack(state: State) -> bytes:
    """The durable part."""
    return msgspec.msgpack.encode(Durable(**{name: getattr(state, name) for name in _DURABLE}))


def unpack(data: bytes) -> State:
    """A state with that durable part. Raises msgspec.DecodeError when `data` is nothing that `pack` made."""
    kept = msgspec.msgpack.decode(data, type=Durable)
    return State(**{name: getattr(kept, name) for name in _DURABLE})
