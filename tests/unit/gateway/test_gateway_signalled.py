"""When control is told of one variant, and what."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.gateway.signalled import EVERY_S, Signalled


class Source:
    """A variant that is as the test says."""

    def __init__(self):
        self.waiting = self.with_lanes = self.ended = 0
        self.busy_s = self.starving = 0.0

    @property
    def in_hand(self):
        return self.waiting + self.with_lanes

    def counted(self):
        return self.ended + self.in_hand, self.ended

    def busy_so_far_s(self):
        return self.busy_s

    def starving_s(self):
        return self.starving


@pytest.fixture
def source():
    return Source()


@pytest.mark.parametrize(
    ("told", "now", "at_once"),
    [
        (0, 1, True),
        (1, 2, True),
        (4, 5, True),
        (8, 9, False),
        (8, 10, True),
        (100, 76, False),
        (100, 75, True),
        (2, 0, True),
    ],
)
def test_a_change_of_a_quarter_and_at_least_one_is_told_at_once_and_a_smaller_one_soon(source, told, now, at_once):
    signalled = Signalled("e", "v", source, 0.0)
    source.with_lanes = told
    signalled.tell(0.0)
    source.with_lanes = now
    assert signalled.look(0.02) is at_once
    assert signalled.look(EVERY_S)


def test_the_first_that_waits_is_told_at_once(source):
    signalled = Signalled("e", "v", source, 0.0)
    source.with_lanes = 50
    signalled.tell(0.0)
    source.waiting = 1
    assert signalled.look(0.02)


def test_what_is_in_hand_is_the_mean_of_what_was_seen_since_the_last_level(source):
    signalled = Signalled("e", "v", source, 0.0)
    for source.with_lanes in (4, 6, 5, 9):
        signalled.look(0.02)
    level = signalled.tell(0.08)
    assert (level.in_hand, level.now) == (6.0, 9)
    assert signalled.tell(0.08).in_hand == 9.0  # nothing seen between: what there is


def test_requests_too_short_to_be_seen_are_told_of(source):
    signalled = Signalled("e", "v", source, 0.0)
    assert not signalled.look(0.2)
    source.ended = 3
    assert signalled.look(0.22)
    level = signalled.tell(0.22)
    assert (level.in_hand, level.now, level.arrived, level.ended) == (0.0, 0, 3, 3)
    assert not signalled.look(0.5)


def test_it_falls_silent_once_control_knows_that_nothing_is_in_hand(source):
    signalled = Signalled("e", "v", source, 0.0)
    source.with_lanes = 1
    assert signalled.look(0.02)
    signalled.tell(0.02)
    source.with_lanes, source.ended, source.busy_s = 0, 1, 0.03
    assert signalled.look(0.04)
    assert signalled.tell(0.04).in_hand == 0.0
    assert signalled.is_quiet
    assert not signalled.look(10.0)


def test_a_replica_that_is_busy_for_nobody_is_told_of(source):
    """Its caller has left, and it works on."""
    signalled = Signalled("e", "v", source, 0.0)
    source.busy_s = 0.05
    assert not signalled.is_quiet
    assert signalled.look(0.1)
    assert signalled.tell(0.1).busy_s == 0.05
    assert signalled.is_quiet


def test_counting_begins_when_it_is_made(source):
    source.with_lanes, source.ended, source.busy_s = 2, 10, 5.0
    signalled = Signalled("e", "v", source, 0.0)
    source.ended, source.with_lanes, source.busy_s = 13, 1, 5.5
    level = signalled.tell(0.1)
    assert (level.arrived, level.ended, level.now, level.busy_s) == (2, 3, 1, 0.5)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 3)), max_size=60))
def test_whatever_happens_control_knows_all_of_it_a_moment_after_it_ends(steps):
    source = Source()
    signalled = Signalled("e", "v", source, 0.0)
    now_s, arrived = 0.0, 0
    told = [signalled.told]
    for coming, going, moving in [*steps, (0, 10**6, 10**6), *[(0, 0, 0)] * 12]:
        source.waiting += coming
        arrived += coming
        moving = min(moving, source.waiting)
        source.waiting, source.with_lanes = source.waiting - moving, source.with_lanes + moving
        going = min(going, source.with_lanes)
        source.with_lanes, source.ended = source.with_lanes - going, source.ended + going
        now_s += 0.02
        if signalled.look(now_s):
            told.append(signalled.tell(now_s))
    assert signalled.is_quiet
    assert (told[-1].arrived, told[-1].ended, told[-1].now, told[-1].waiting) == (arrived, arrived, 0, 0)
    for before, after in itertools.pairwise(told):
        assert after.arrived >= before.arrived
        assert after.ended >= before.ended
        assert after.arrived - after.ended == after.now
