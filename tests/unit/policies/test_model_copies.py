"""When a gateway wants a further copy of a model, and when it leaves one alone."""

import random
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.policies.models.copies import ASK_AGAIN_LEAST_S, COOL_LEAST_S, REFUSED_FIRST_S, Copies, Seen

STEP_S = 0.05  # a gateway's sweep


@dataclass
class World:
    """One model, a gateway, and copies that work at a pace. `arrive(now_s)` says how many requests come in a step."""

    service_s: float
    replicas: int = 3
    load_s: float = 0.2
    slots: int = 1
    least: int = 0
    most: int = 0
    refuses: bool = False
    ready: int = 1
    now_s: float = 100.0
    queue: float = 0.0  # requests not answered yet
    asked: list[float] = field(default_factory=list)
    coming: list[float] = field(default_factory=list)  # when they will be ready
    uses: list[int] = field(default_factory=list)

    def __post_init__(self):
        self.copies = Copies(self.now_s)

    def run(self, seconds, arrive):
        for _ in range(round(seconds / STEP_S)):
            self.step(arrive(self.now_s))

    def step(self, arrivals):
        self.now_s += STEP_S
        self.ready += sum(at_s <= self.now_s for at_s in self.coming)
        self.coming = [at_s for at_s in self.coming if at_s > self.now_s]
        self.queue += arrivals
        used = min(self.uses[-1] if self.uses else 1, self.ready)
        in_hand = min(round(self.queue), used * self.slots)
        verdict = self.copies.look(self.now_s, self.seen(in_hand))
        self.queue = max(0.0, self.queue - STEP_S / self.service_s * in_hand)
        self.uses.append(verdict.use)
        if verdict.want:
            assert verdict.words
            self.asked.append(self.now_s)
            if self.refuses:
                self.copies.refused(self.now_s)
            else:
                self.coming.append(self.now_s + self.load_s)

    def seen(self, in_hand):
        return Seen(
            in_hand=in_hand,
            waiting=max(0, round(self.queue) - in_hand),
            ready=self.ready,
            coming=len(self.coming),
            slots=self.slots,
            replicas=self.replicas,
            least=self.least,
            most=self.most,
            load_s=self.load_s,
        )


def poisson(rate, seed=1, from_s=100.0):
    draw = random.Random(seed)
    due_s = [from_s + draw.expovariate(rate)]

    def arrive(now_s):
        count = 0
        while due_s[0] <= now_s:
            due_s[0] += draw.expovariate(rate)
            count += 1
        return count

    return arrive


def test_a_model_that_its_copy_can_serve_gets_no_further_one():
    world = World(service_s=0.1)
    world.run(300, poisson(5.0))  # half busy
    assert world.asked == []


def test_a_model_that_is_too_much_for_its_copies_gets_as_many_as_it_needs_and_no_more():
    world = World(service_s=0.1, replicas=6)
    world.run(120, poisson(17.0))
    assert 2 <= world.ready <= 3
    assert world.asked[0] < 105  # soon
    assert world.queue < 5


def test_an_overwhelmed_model_is_on_all_replicas_within_seconds():
    world = World(service_s=0.1, replicas=3)
    world.run(10, poisson(60.0))
    assert world.ready == 3
    assert world.uses[-1] == 3


def test_one_burst_that_is_over_sooner_than_a_copy_would_pay_asks_for_nothing():
    world = World(service_s=0.02)
    world.run(120, lambda now_s: 12 if round(now_s / STEP_S) % 200 == 0 else 0)  # 12 at once every ten seconds
    assert world.asked == []


def test_a_copy_that_loads_slowly_must_pay_more_before_it_is_asked_for():
    asked_after_s = []
    for load_s in (0.05, 10.0, 60.0):
        world = World(service_s=0.1, load_s=load_s)
        world.run(300, lambda _: 0.6)
        asked_after_s.append(world.asked[0] - 100)
    assert asked_after_s[0] < 8
    assert asked_after_s[1] > 1.5 * asked_after_s[0]
    assert asked_after_s[2] > 1.5 * asked_after_s[1]


def test_a_model_that_waits_a_little_for_long_gets_its_copy_however_slowly_that_loads():
    world = World(service_s=1.0, load_s=40.0, replicas=2)
    world.run(1800, poisson(0.95))
    assert world.ready == 2


def test_while_a_copy_is_on_its_way_no_other_is_asked_for():
    world = World(service_s=0.1, load_s=30.0, replicas=6)
    world.run(100.0, poisson(30.0))
    gaps = [after - before for before, after in pairwise(world.asked)]
    assert len(world.asked) > 1
    assert min(gaps) >= 30.0


def test_a_copy_of_which_nothing_is_heard_is_asked_for_again_after_a_while():
    copies = Copies(0.0)
    asked = [n * STEP_S for n in range(400) if copies.look(n * STEP_S, Seen(1, 9, 1, replicas=3)).want]
    assert len(asked) > 1
    assert all(after - before >= ASK_AGAIN_LEAST_S for before, after in pairwise(asked))


def test_a_copy_that_is_refused_is_asked_for_more_and_more_rarely():
    world = World(service_s=0.1, refuses=True)
    world.run(600, lambda _: 1.0 if world.queue < 50 else 0.0)
    gaps = [after - before for before, after in pairwise(world.asked)]
    assert gaps[0] >= REFUSED_FIRST_S
    assert all(after > 1.5 * before for before, after in pairwise(gaps))
    assert 4 <= len(world.asked) <= 7


def test_a_model_that_has_cooled_leaves_its_copies_alone_one_after_another():
    world = World(service_s=0.1, replicas=3)
    world.run(20, poisson(40.0))
    assert world.uses[-1] == 3
    hot_until = len(world.uses)
    world.run(60, poisson(1.0, from_s=world.now_s))
    assert world.uses[-1] == 1
    changes = [n for n in range(hot_until, len(world.uses)) if world.uses[n] < world.uses[n - 1]]
    assert len(changes) == 2
    assert (changes[1] - changes[0]) * STEP_S >= COOL_LEAST_S - STEP_S


def test_a_copy_that_was_left_alone_is_used_as_soon_as_the_others_are_busy_and_costs_no_load():
    world = World(service_s=0.1, ready=3)
    world.run(2, poisson(40.0))
    assert world.uses[-1] == 3
    assert world.asked == []


def test_all_copies_are_used_that_there_are_to_be_at_least_and_no_more_than_at_most():
    assert Copies(0.0).look(0.05, Seen(in_hand=0, waiting=0, ready=3, replicas=3, least=2)).use == 2
    copies = Copies(0.0)
    for step in range(200):
        verdict = copies.look(step * STEP_S, Seen(in_hand=2, waiting=90, ready=3, replicas=3, most=2))
        assert verdict.use <= 2
        assert not verdict.want


def test_the_words_have_the_numbers():
    world = World(service_s=0.1)
    copies = Copies(0.0)
    verdicts = (copies.look(step * STEP_S, Seen(2, 6, 2, replicas=4, load_s=0.25)) for step in range(400))
    words = next(verdict.words for verdict in verdicts if verdict.want)
    assert "2 copies work on 2" in words
    assert "a load of 0.25 s" in words
    assert world.asked == []


@pytest.mark.parametrize("gateways", [2, 4])
def test_gateways_that_decide_alone_ask_for_one_copy_between_them_not_for_one_each(gateways):
    # Each sees its part of one overload; what one has asked for, all are told a moment later.
    own = [Copies(100.0) for _ in range(gateways)]
    ready, ready_at_s, now_s = 1, None, 100.0
    loads = 0
    for _ in range(100):
        now_s += STEP_S
        if ready_at_s is not None and now_s >= ready_at_s:
            ready, ready_at_s = ready + 1, None
        overload = 4 if ready == 1 else 0
        coming = int(ready_at_s is not None)
        for copies in own:
            seen = Seen(1 if overload else 0, overload, ready, coming, replicas=8, load_s=1.0)
            if copies.look(now_s, seen).want and ready_at_s is None:
                ready_at_s, loads = now_s + 1.0, loads + 1
    assert loads == 1
    assert ready == 2


seen_rows = st.lists(
    st.tuples(
        st.floats(0, 30),
        st.integers(0, 40),
        st.integers(0, 40),
        st.integers(0, 5),
        st.integers(0, 2),
        st.integers(1, 6),
        st.integers(0, 7),
        st.integers(0, 7),
        st.floats(0, 100),
    ),
    max_size=60,
)


@given(seen_rows, st.integers(1, 8))
def test_whatever_is_seen_what_is_used_keeps_to_its_bounds_and_a_copy_is_wanted_only_with_room_for_it(rows, slots):
    copies, now_s, used = Copies(0.0), 0.0, 1
    for elapsed_s, in_hand, waiting, ready, coming, replicas, least, most, load_s in rows:
        now_s += elapsed_s
        seen = Seen(in_hand, waiting, ready, coming, slots, replicas, least, most, load_s)
        verdict = copies.look(now_s, seen)
        bound = max(1, min(most or replicas, replicas))
        assert min(max(1, least), bound) <= verdict.use <= bound
        assert verdict.use <= max(used, least) + 1  # one at a time
        if verdict.want:
            assert not coming
            assert ready <= verdict.use < bound
            assert waiting + in_hand > 0 or elapsed_s <= 1.0
        used = verdict.use


@given(st.floats(0.0, 12.0), st.integers(1, 4), st.floats(0.01, 5.0))
def test_under_a_steady_load_the_number_of_copies_settles(demand, slots, load_s):
    """No copy is asked for, left alone, and asked for again: what makes it hot is far from what makes it cool."""
    world = World(service_s=0.1, slots=slots, load_s=load_s, replicas=6)
    world.run(200, lambda _: demand * STEP_S / world.service_s)
    settled = world.uses[len(world.uses) // 2 :]
    turns = sum(a != b for a, b in pairwise(settled))
    assert turns <= 2
    assert len(world.asked) <= 5
