"""What scaling decides upon: recorded as it came, so that a replay sees what live control saw.

Times are seconds since the epoch unless named otherwise. `capacity` is the desired replica count at that moment.
"""

from __future__ import annotations

from msgspec import Struct


class Load(Struct, frozen=True, array_like=True, tag="load", kw_only=True):
    """What all gateways together have of one variant now. Counters count from an arbitrary start and only grow (when
    one falls, a gateway has come or gone: differences over it say nothing)."""

    at_s: float
    capacity: int
    ready: int  # replicas that take requests
    in_hand: float  # in progress and queued: the mean since the last Load
    now: int  # in progress and queued at this moment
    waiting: int  # of these, queued
    arrived: int  # counter: requests received
    ended: int  # counter: requests answered or failed
    work_s: float  # counter: replica-seconds with a request in hand, over all replicas
    start_s: float  # how long a start takes here: measured of this variant, from the decision until ready; 0: unknown


class AlarmFired(Struct, frozen=True, array_like=True, tag="alarm", kw_only=True):
    """An alarm is in ALARM and names a policy; told again each minute (AWS) while it stays."""

    at_s: float
    capacity: int
    policy: str  # its ARN
    alarm: str  # name
    is_high: bool  # above its threshold; for target tracking: AlarmHigh
    value: float  # of the metric, newest point (step scaling: aggregated as the policy says)
    threshold: float  # the alarm's


class Scheduled(Struct, frozen=True, array_like=True, tag="schedule", kw_only=True):
    """A scheduled action is due. None: that bound stays."""

    at_s: float
    capacity: int
    action: str
    min_capacity: int | None
    max_capacity: int | None


class Bounds(Struct, frozen=True, array_like=True, tag="bounds", kw_only=True):
    """The target was registered (anew): capacity is moved inside its bounds at once."""

    at_s: float
    capacity: int


class Finished(Struct, frozen=True, array_like=True, tag="finished", kw_only=True):
    """A change of capacity is over: cooldowns begin here. `ok` False: it failed, and capacity is what is left."""

    at_s: float
    capacity: int
    ok: bool


class Forecast(Struct, frozen=True, array_like=True, tag="forecast", kw_only=True):
    """A predictive policy's capacity for the time until the next forecast."""

    at_s: float
    capacity: int
    policy: str
    wanted: float  # replicas, before rounding up


class Tick(Struct, frozen=True, array_like=True, tag="tick", kw_only=True):
    """Time passes: once a second while a target has an event policy."""

    at_s: float
    capacity: int


class Room(Struct, frozen=True, array_like=True, tag="room", kw_only=True):
    """A replica has left the machine since a scale-out failed: it may find room now."""

    at_s: float
    capacity: int


Input = Load | AlarmFired | Scheduled | Bounds | Finished | Forecast | Tick | Room
