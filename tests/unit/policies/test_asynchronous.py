"""What is done with a leased task, and how many are taken."""

from hypothesis import given
from hypothesis import strategies as st

from trimtab.policies.asynchronous import MAX_LEASES, Step, capacity, next_step, pause_s, to_lease
from trimtab.resources.asynchronous import DECIDED, AsyncSettings, AsyncTask, QueueMark
from trimtab.resources.replica import Wire
from trimtab.resources.routing import EndpointRoute, Lane, VariantRoute

SETTINGS = AsyncSettings(output_path="s3://b/out")
MARK = QueueMark(uid="u1")


def task(**changes):
    fixed = {"id": "t", "inference_id": "i", "endpoint": "e", "endpoint_uid": "u1", "version": "c"}
    return AsyncTask(**fixed, settings=SETTINGS, output_location="s3://b/out/t.out", **changes)


def step(which, mark=MARK, leases=1, expired=False):
    return next_step(which, mark, leases=leases, expired=expired)


def test_a_task_is_worked_on_first():
    assert step(task()) is Step.WORK


def test_what_was_decided_is_published_whatever_has_happened_since():
    decided = task(stage=DECIDED)
    for leases in (2, MAX_LEASES + 5):
        for mark in (MARK, QueueMark(uid="u2"), QueueMark(uid="u1", deleted=True)):
            assert step(decided, mark, leases=leases, expired=True) is Step.PUBLISH


def test_what_comes_back_from_the_dead_letters_is_tried_anew():
    assert step(task(stage=DECIDED), leases=1) is Step.WORK


def test_a_task_of_an_endpoint_that_is_deleted_or_another_one_by_now_ends():
    assert step(task(), QueueMark(uid="u1", deleted=True)) is Step.DELETED
    assert step(task(), QueueMark(uid="u2")) is Step.DELETED


def test_expired_and_worn_tasks_end():
    assert step(task(), expired=True, leases=2) is Step.EXPIRED
    assert step(task(), leases=MAX_LEASES) is Step.WORK
    assert step(task(), leases=MAX_LEASES + 1) is Step.WORN


@given(st.integers(1, 1000))
def test_pauses_grow_and_have_an_end(leases):
    assert pause_s(1) == 0.0
    assert 0.0 <= pause_s(leases) <= pause_s(leases + 1) <= 10.0


def route(*lanes, weight=1.0, uid="u1", **settings):
    variant = VariantRoute(name="blue", weight=weight, lanes=lanes)
    asynchronous = AsyncSettings(output_path="s3://b/out", **settings)
    return EndpointRoute(name="e", variants=(variant,), uid=uid, asynchronous=asynchronous)


def lane(replica, wire=Wire.FRAMES, **more):
    return Lane(replica_id=replica, address=f"unix:/{replica}", wire=wire, **more)


def test_the_bound_holds_for_each_replica_however_many_processes_it_has():
    assert capacity(route(lane("a"), lane("a"), lane("b"), max_concurrency=3), MARK) == 6


def test_without_a_bound_a_replica_gets_what_it_works_on_at_once():
    assert capacity(route(lane("a"), lane("a"), lane("b", concurrency=2, batch_size=8)), MARK) == 10
    assert capacity(route(lane("a", Wire.HTTP)), MARK) == 4


def test_no_replica_no_route_or_the_route_of_another_life_mean_that_tasks_wait():
    assert capacity(route(max_concurrency=3), MARK) == 0
    assert capacity(None, MARK) == 0
    assert capacity(route(lane("a"), uid="u2"), MARK) == 0
    assert capacity(route(lane("a"), weight=0.0), MARK) == 0


def test_tasks_of_a_deleted_endpoint_need_no_replica_to_end():
    assert capacity(None, QueueMark(uid="u1", deleted=True)) > 0


@given(st.integers(0, 5000), st.integers(0, 5000), st.integers(1, 300), st.integers(1, 4096))
def test_no_queue_takes_more_than_its_part(room, in_hand, busy, most):
    more = to_lease(room, in_hand, busy=busy, most=most)
    assert more >= 0
    assert more == 0 or in_hand + more <= min(room, max(1, most // busy))
