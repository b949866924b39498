"""Account: what one replica has been charged, and for what. Pure; times are whole microseconds of steady time.

A charge is the growth of what its whole life costs (`resources.cost.micro_usd`), so charges add up to the bill of that
life exactly, in however many steps they were made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Final

from msgspec import Struct, field

from trimtab.policies.costs.split import IDLE_AFTER_S, Stage, split
from trimtab.resources.cost import Part, micro_usd

SECOND_US: Final = 1_000_000
_IDLE_AFTER_US: Final = int(IDLE_AFTER_S * SECOND_US)

Rate = tuple[int, int]
"""Dollars an hour: numerator and denominator."""


class Work(Struct, array_like=True):
    """So much of a stretch of time a replica had requests in hand, as a gateway's report says."""

    start_us: int
    end_us: int
    busy_us: int
    wasted_us: int = 0  # of these, on attempts that were thrown away


class Load(Struct, array_like=True):
    """A model was loaded into a running replica; `again`: it had been there and was evicted."""

    start_us: int
    end_us: int
    model: str
    again: bool


class Shares(Struct, frozen=True):
    """How the models of a replica share what it costs: `used` what it works, `held` what it stands ready.

    "" is nobody's: free memory. Empty: the replica has one model.
    """

    used: Mapping[str, int] = {}
    held: Mapping[str, int] = {}

    def of(self, loads: Mapping[bool, Mapping[str, int]]) -> Mapping[Part, Mapping[str, int]]:
        """Whose each part is. `loads`: the time that loads took by model, of those again and of the others."""
        return {
            Part.SERVING: self.used,
            Part.RETRIES: self.used,
            Part.HEADROOM: self.held,
            Part.IDLE: self.held,
            Part.RELOADS: loads[True],
            Part.COLD_STARTS: loads[False],
        }


NO_SHARES: Final = Shares()


class Charge(Struct, frozen=True):
    """What a stretch of an account's time costs, and for what: by part, and of each part by model."""

    version: str
    instance_type: str
    start_us: int
    end_us: int
    micro_usd: int
    is_priced: bool
    turn: int  # for `resources.cost.spread`
    parts: Mapping[Part, int]  # weights
    models: Mapping[Part, Mapping[str, int]]  # of each part, weights by model; without any, it is nobody's


class Account(Struct, array_like=True):
    """One replica. Charged through `through_us`; its price holds since `base_us`.

    `reserved`: not a replica, but environments that are paid for whether they are used or not.
    """

    version: str
    instance_type: str
    rate: Rate | None  # None: no price is known
    base_us: int
    through_us: int
    lanes: int = 1  # processes: each of them can be busy
    ready_us: int | None = None
    used_us: int | None = None  # when it last had a request in hand
    replaced_us: int | None = None  # since when another version takes the traffic
    end_us: int | None = None
    shadow: bool = False
    reserved: bool = False
    work: list[Work] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """Whether it has ended, and all of it is charged."""
        return self.end_us is not None and self.through_us >= self.end_us

    def priced(self, rate: Rate | None) -> None:
        """Another price from where it is charged to."""
        if rate != self.rate:
            self.rate, self.base_us = rate, self.through_us

    def worked(self, work: Work) -> None:
        """A report has come. What comes too late counts for the next stretch instead: no work is lost."""
        if work.start_us < self.through_us:
            takes_us = max(work.end_us - self.through_us, -(-work.busy_us // self.lanes))
            work = Work(self.through_us, self.through_us + takes_us, work.busy_us, work.wasted_us)
        self.work.append(work)

    def charge(self, to_us: int, shares: Shares = NO_SHARES, cuts: Sequence[int] = ()) -> Iterator[Charge]:
        """Charge it through `to_us`, or its end; no charge reaches over one of `cuts`."""
        to_us = to_us if self.end_us is None else min(to_us, self.end_us)
        while self.through_us < to_us:
            yield self._stretch(self._next(to_us, cuts), shares)
        self.work = [work for work in self.work if work.end_us > self.through_us]
        self.loads = [load for load in self.loads if load.end_us > self.through_us]

    def _next(self, to_us: int, cuts: Sequence[int]) -> int:
        """How far the next stretch goes: as long as nothing changes what time is charged as."""
        idle_us = self._idle_from_us()
        work = (at for work in self.work for at in (work.start_us, work.end_us))
        changes = (self.ready_us, self.replaced_us, idle_us, *cuts, *work)
        return min((at for at in changes if at is not None and self.through_us < at < to_us), default=to_us)

    def _idle_from_us(self) -> int | None:
        since_us = max((at for at in (self.ready_us, self.used_us) if at is not None), default=None)
        return None if since_us is None else since_us + _IDLE_AFTER_US

    def _stage(self) -> Stage:
        if self.shadow:
            return Stage.SHADOW
        if self.ready_us is None or self.through_us < self.ready_us:
            return Stage.STARTING
        return Stage.READY if self.replaced_us is None or self.through_us < self.replaced_us else Stage.REPLACED

    def _stretch(self, end_us: int, shares: Shares) -> Charge:
        start_us, span_us = self.through_us, end_us - self.through_us
        stage, idle_us = self._stage(), self._idle_from_us()
        busy_us, wasted_us = self._take_work(end_us)
        loads = {again: self._loading(end_us, again=again) for again in (False, True)}
        parts: Mapping[Part, int] = {Part.HEADROOM: span_us}
        if not self.reserved:
            parts = split(
                stage,
                span_us * self.lanes,
                busy_us=busy_us,
                wasted_us=wasted_us,
                reload_us=sum(loads[True].values()),
                load_us=sum(loads[False].values()),
                is_idle=not busy_us and idle_us is not None and start_us >= idle_us,
            )
        if busy_us:
            self.used_us = end_us
        self.through_us = end_us
        return Charge(
            self.version,
            self.instance_type,
            start_us,
            end_us,
            self._cost(end_us) - self._cost(start_us),
            self.rate is not None,
            self.base_us + start_us // SECOND_US,
            parts,
            shares.of(loads) if stage is Stage.READY else {},
        )

    def _cost(self, at_us: int) -> int:
        if self.rate is None:
            return 0
        return micro_usd(Fraction(*self.rate), Fraction(at_us - self.base_us, SECOND_US))

    def _take_work(self, end_us: int) -> tuple[int, int]:
        """Of the reports, what falls before `end_us`; the rest stays."""
        busy_us = wasted_us = 0
        for work in self.work:
            if (start_us := max(work.start_us, self.through_us)) < (until_us := min(work.end_us, end_us)):
                part, whole = until_us - start_us, work.end_us - start_us
                busy, wasted = work.busy_us * part // whole, work.wasted_us * part // whole
                work.start_us, work.busy_us, work.wasted_us = until_us, work.busy_us - busy, work.wasted_us - wasted
                busy_us, wasted_us = busy_us + busy, wasted_us + wasted
        return busy_us, wasted_us

    def _loading(self, end_us: int, *, again: bool) -> dict[str, int]:
        found: dict[str, int] = {}
        for load in self.loads:
            overlap_us = min(load.end_us, end_us) - max(load.start_us, self.through_us)
            if load.again is again and overlap_us > 0:
                found[load.model] = found.get(load.model, 0) + overlap_us
        return found
