"""Histories that nobody would write down: whatever happens, each second is charged once, and parts sum to the bill."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from trimtab.control.costs.ledger import CONNECT_S, LAG_S
from trimtab.resources.cost import micro_usd
from trimtab.resources.replica import ReplicaState
from trimtab.testing.costs import LARGE, LedgerWorld

SPANS = st.integers(1, 320).map(lambda parts: parts / 64) | st.sampled_from([1.0, 59.0, 61.0, 301.0, 50_000.0])
"""Whole microseconds that floats hold exactly, beside any wall time: what is charged can be compared to the microsecond."""


class Histories(RuleBasedStateMachine):
    """`lives`: when each replica was born and has ended, on the clock that never jumps. A replica that ends while
    control is away is charged until control was last there: then both the least and the most are known."""

    living = Bundle("living")

    def __init__(self) -> None:
        super().__init__()
        self.world = LedgerWorld()
        self.lives: dict[str, list[float | None]] = {}  # born, ended at the earliest, ended at the latest
        self.seen_s = 0.0  # when control's look was last made durable

    @property
    def now_s(self) -> float:
        return self.world.clock.monotonic_s()

    @rule(target=living)
    def a_replica_is_ordered(self) -> str:
        replica_id = self.world.start()
        self.lives[replica_id] = [self.now_s, None, None]
        return replica_id

    @rule(replica=living)
    def it_becomes_ready(self, replica: str) -> None:
        if replica in self.world.replicas:
            self.world.becomes(replica, ReplicaState.READY)

    @rule(replica=consumes(living), fails=st.booleans())
    def it_ends(self, replica: str, fails: bool) -> None:
        if replica not in self.world.replicas:
            return
        if fails:
            self.world.becomes(replica, ReplicaState.FAILED)
        self.world.ends(replica)
        self.lives[replica][1:] = [self.now_s, self.now_s]
        self.commit()  # an end that is seen and not written yet is one that was not seen: the rule below has those

    @rule()
    def commit(self) -> None:
        self.world.ledger.tick()
        self.world.store.commit()
        self.seen_s = self.now_s

    @rule(seconds=SPANS, ticks=st.booleans())
    def time_passes(self, seconds: float, ticks: bool) -> None:
        self.world.clock.advance(seconds)
        if ticks:
            self.world.ledger.tick()

    @rule(replica=living, share=st.floats(0.0, 2.0), span_s=st.integers(1, 90), count=st.integers(0, 9))
    def a_gateway_reports(self, replica: str, share: float, span_s: int, count: int) -> None:
        self.world.reports({replica: share * span_s}, span_s=span_s)
        self.world.answered(count, busy_s={replica: share})

    @rule(away_s=SPANS, lost=st.lists(consumes(living), max_size=2), everything=st.booleans())
    def control_is_killed(self, away_s: float, lost: list[str], everything: bool) -> None:
        killed_s = self.now_s
        gone = [replica for replica in lost if replica in self.world.replicas]
        self.world.crash(away_s=away_s, then=lambda: [self.world.ends(replica, told=False) for replica in gone])
        for replica in gone:
            born_s = self.lives[replica][0] or 0.0
            self.lives[replica][1:] = [max(born_s, min(self.seen_s, killed_s)), killed_s]
        self.commit()

    @rule(jump_s=st.sampled_from([-86_400.0, -5.0, 5.0, 86_400.0]))
    def the_wall_clock_jumps(self, jump_s: float) -> None:
        self.commit()  # of births that are not written the wall clock alone tells
        self.world.clock.set_wall(self.world.clock.now_s() + jump_s)

    @invariant()
    def parts_sum_to_what_was_spent_and_the_metric_says_the_same(self) -> None:
        cells = self.world.cells()
        assert all(amount > 0 for cell in cells.values() for amount in cell.parts.values())
        assert self.world.spent() == sum(self.world.parts().values()) == self.world.sampled()

    def teardown(self) -> None:
        for replica, (_, ended_s, _) in self.lives.items():
            if ended_s is None and replica in self.world.replicas:
                self.world.ends(replica)
                self.lives[replica][1:] = [self.now_s, self.now_s]
        self.world.clock.advance(CONNECT_S + LAG_S + 2)
        self.world.settle()
        rate = self.world.prices.hourly[LARGE]
        least = sum(_cost(rate, born_s, ended_s) for born_s, ended_s, _ in self.lives.values())
        most = sum(_cost(rate, born_s, ended_s) for born_s, _, ended_s in self.lives.values())
        assert least <= self.world.spent() <= most
        if least == most:
            charged_us = sum(cell.replica_us for cell in self.world.cells().values())
            assert charged_us == sum(
                int(ended_s * 1e6) - int(born_s * 1e6) for born_s, ended_s, _ in self.lives.values()
            )
        self.parts_sum_to_what_was_spent_and_the_metric_says_the_same()


def _cost(rate: Fraction, born_s: float, ended_s: float) -> int:
    return micro_usd(rate, max(Fraction(0), Fraction(int(ended_s * 1e6) - int(born_s * 1e6), 1_000_000)))


Histories.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestHistories = Histories.TestCase
