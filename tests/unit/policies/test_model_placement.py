"""Which replicas a model belongs to."""

import random
from collections import Counter
from math import ceil

from hypothesis import assume, given
from hypothesis import strategies as st

from trimtab.policies.models.placement import BUSY_LEAST, SLACK, Member, holds, next_replica, order, place
from trimtab.resources.hosting import ModelSetting

REPLICAS = [f"8f507293-{number}-1750c93{number}" for number in range(9)]
MODELS = [f"team/{number:04}.tar.gz" for number in range(300)]

replica_sets = st.sets(st.sampled_from(REPLICAS), min_size=1).map(sorted)
model_names = st.text(max_size=30)
copies_wanted = st.dictionaries(st.sampled_from(MODELS), st.integers(1, 5), max_size=60)
members = st.lists(
    st.builds(Member, st.sampled_from(REPLICAS), st.integers(0, 50), st.floats(0, 50), st.integers(0, 5)),
    min_size=1,
    unique_by=lambda member: member.replica_id,
)


# --- the order ---------------------------------------------------------------------------------------------------


@given(model_names, replica_sets, st.randoms(use_true_random=False))
def test_a_model_s_order_has_every_replica_and_does_not_depend_on_how_they_are_listed(model, replicas, shuffler):
    shuffled = replicas.copy()
    shuffler.shuffle(shuffled)
    assert order(model, replicas) == order(model, shuffled)
    assert sorted(order(model, replicas)) == replicas


@given(model_names, replica_sets, st.sampled_from(REPLICAS))
def test_a_replica_that_goes_changes_nothing_among_the_others(model, replicas, gone):
    assume(gone in replicas)
    left = [replica for replica in replicas if replica != gone]
    assert order(model, left) == tuple(replica for replica in order(model, replicas) if replica != gone)


def test_models_have_different_orders_and_each_replica_is_first_for_about_its_share():
    firsts = Counter(order(model, REPLICAS)[0] for model in MODELS)
    assert set(firsts) == set(REPLICAS)
    assert max(firsts.values()) < 2 * len(MODELS) / len(REPLICAS)
    # Those that one replica is first for go on to different ones: none inherits all that another cannot take.
    seconds = Counter(order(model, REPLICAS)[1] for model in MODELS if order(model, REPLICAS)[0] == REPLICAS[0])
    assert len(seconds) >= len(REPLICAS) - 2


# --- where the next copy goes ------------------------------------------------------------------------------------


@given(model_names, members, st.sets(st.sampled_from(REPLICAS)))
def test_a_further_copy_goes_to_a_replica_without_one_and_there_is_none_only_where_all_have_it(model, seen, having):
    chosen = next_replica(model, seen, having)
    without = {member.replica_id for member in seen} - having
    assert chosen in without if without else chosen is None


@given(model_names, members)
def test_a_replica_far_above_the_average_gets_a_copy_only_when_no_other_is_below_its_bounds(model, seen):
    most_models = ceil(SLACK * (sum(member.models for member in seen) + 1) / len(seen))
    most_load = max(BUSY_LEAST, SLACK * sum(member.load for member in seen) / len(seen))
    below = {member.replica_id for member in seen if member.models < most_models and member.load <= most_load}
    chosen = next_replica(model, seen)
    if below:
        assert chosen == next(replica for replica in order(model, REPLICAS) if replica in below)
    else:
        assert chosen == order(model, [member.replica_id for member in seen])[0]


@given(st.lists(st.sampled_from(MODELS), unique=True, max_size=120), st.integers(1, 6))
def test_however_models_come_no_replica_ever_holds_more_than_its_bound(asked, count):
    held = dict.fromkeys(REPLICAS[:count], 0)
    for number, model in enumerate(asked, start=1):
        chosen = next_replica(model, [Member(replica, models) for replica, models in held.items()])
        held[chosen] += 1
        assert max(held.values()) <= ceil(SLACK * number / count)


def test_gateways_that_know_nothing_of_one_another_ask_the_same_replica_for_the_same_model():
    views = [[Member(replica, 10, busy) for replica in REPLICAS] for busy in (0.0, 0.4, 1.9)]
    for model in MODELS[:50]:
        assert len({next_replica(model, view) for view in views}) == 1


def test_an_empty_replica_is_not_where_everybody_goes():
    # Eight gateways, each with thirty models to place, all with the same old view: one replica has just come.
    view = [Member(replica, 50, 3.0) for replica in REPLICAS[1:]] + [Member(REPLICAS[0])]
    chosen = Counter(next_replica(model, view) for model in MODELS[:240])
    assert chosen[REPLICAS[0]] < 2 * 240 / len(REPLICAS)


def test_a_new_replica_beside_busy_ones_takes_hot_models_until_as_much_is_on_its_way_as_the_others_have():
    loading = 0
    for model in MODELS[:60]:
        view = [Member(replica, 50, 10.0) for replica in REPLICAS[:2]]
        newcomer = Member(REPLICAS[2], loading, 0.0, loading)
        if next_replica(model, [*view, newcomer], having=()) == REPLICAS[2]:
            loading += 1
    assert 5 <= loading <= 30  # without counting what it loads, it would be all 60


# --- what is held unasked ----------------------------------------------------------------------------------------


@given(copies_wanted, replica_sets)
def test_every_model_gets_the_copies_it_is_to_have_each_on_another_replica(copies, replicas):
    placed = place(copies, replicas)
    assert placed.keys() == copies.keys()
    for model, chosen in placed.items():
        assert len(set(chosen)) == len(chosen) == min(copies[model], len(replicas))
        assert set(chosen) <= set(replicas)
        assert chosen == order(model, chosen)


@given(copies_wanted, replica_sets)
def test_a_replica_is_above_its_bound_only_by_models_for_which_no_other_has_room(copies, replicas):
    placed = place(copies, replicas)
    held = Counter(replica for chosen in placed.values() for replica in chosen)
    most = ceil(SLACK * held.total() / len(replicas))
    with_room = {replica for replica in replicas if held[replica] < most}
    for crowded in (replica for replica in replicas if held[replica] > most):
        here = [model for model, chosen in placed.items() if crowded in chosen]
        assert any(with_room <= set(placed[model]) for model in here)


@given(st.sets(st.sampled_from(MODELS), max_size=60), replica_sets)
def test_with_one_copy_each_no_replica_is_above_its_bound(models, replicas):
    held = Counter(chosen for (chosen,) in place(dict.fromkeys(models, 1), replicas).values())
    assert max(held.values(), default=0) <= ceil(SLACK * len(models) / len(replicas))


@given(copies_wanted, replica_sets, st.randoms(use_true_random=False))
def test_the_answer_depends_on_no_order(copies, replicas, shuffler):
    rows, others = list(copies.items()), replicas.copy()
    shuffler.shuffle(rows)
    shuffler.shuffle(others)
    assert place(dict(rows), others) == place(copies, replicas)


def test_nothing_is_placed_where_there_is_no_replica():
    assert place({"a": 2}, ()) == {"a": ()}


def test_few_models_move_when_a_replica_comes_or_goes():
    copies = dict.fromkeys(MODELS, 1)
    for count in range(1, 9):
        before, after = place(copies, REPLICAS[:count]), place(copies, REPLICAS[: count + 1])
        moved = sum(before[model] != after[model] for model in MODELS)
        assert moved <= 1.6 * len(MODELS) / (count + 1)


def test_few_models_move_when_a_model_comes_or_goes():
    draw = random.Random(7)
    for _ in range(20):
        chosen = draw.sample(MODELS, draw.randint(2, 120))
        before, after = place(dict.fromkeys(chosen, 1), REPLICAS[:4]), place(dict.fromkeys(chosen[1:], 1), REPLICAS[:4])
        assert sum(before[model] != after[model] for model in chosen[1:]) <= 3


def test_what_replicas_hold_unasked_are_pinned_models_and_those_with_a_least_number_of_copies():
    settings = [
        ModelSetting(model="a", pinned=True),
        ModelSetting(model="b", min_copies=2),
        ModelSetting(model="c", pinned=True, min_copies=9),
        ModelSetting(model="d", ttl_s=60, max_copies=3),
    ]
    held = holds(settings, REPLICAS[:3])
    assert held.keys() == set(REPLICAS[:3])
    counts = Counter((model, why) for models in held.values() for model, why in models.items())
    assert counts == {("a", "pinned"): 1, ("b", "copies"): 2, ("c", "pinned"): 3}


def test_without_replicas_nothing_is_held():
    assert holds([ModelSetting(model="a", pinned=True)], ()) == {}
