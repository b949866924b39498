"""The search finds the highest rate of endpoints that behave, and of those that do not quite."""

from __future__ import annotations

import random
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from trimtab.jobs.loadtest.search import Found, Purpose, Search, Trial, Verdict

Endpoint = Callable[[float], Verdict]


def search_to_the_end(search: Search, endpoint: Endpoint) -> tuple[Found, list[Trial]]:
    trials: list[Trial] = []
    while True:
        step = search.next(trials)
        if isinstance(step, Found):
            return step, trials
        assert search.least <= step.rate <= search.most
        trials.append(Trial(step.rate, step.purpose, endpoint(step.rate)))
        assert len(trials) <= search.most_trials, trials


def limit(capacity: float) -> Endpoint:
    return lambda rate: Verdict.KEPT if rate <= capacity else Verdict.BROKEN


@given(st.floats(0.5, 50_000), st.floats(0.5, 50_000), st.sampled_from([0.02, 0.05, 0.2]))
def test_it_finds_the_capacity_to_within_its_precision_and_confirms_it(capacity, first, precision) -> None:
    search = Search(first=first, precision=precision, most_trials=100)
    found, trials = search_to_the_end(search, limit(capacity))
    assert found.confirmed
    assert found.rate <= capacity <= found.rate * (1 + precision)
    assert trials[-1] == Trial(found.rate, Purpose.CONFIRM, Verdict.KEPT)


@given(st.floats(1, 10_000))
def test_from_nearby_it_takes_few_trials(capacity) -> None:
    _, trials = search_to_the_end(Search(first=capacity / 3), limit(capacity))
    assert len(trials) <= 16


@given(st.floats(1, 1000), st.integers(0, 2**32), st.floats(0, 0.3))
def test_noise_moves_the_answer_but_it_ends_and_was_confirmed(capacity, seed, noise) -> None:
    dice = random.Random(seed)
    search = Search(first=50, most_trials=200)

    def endpoint(rate: float) -> Verdict:
        return limit(capacity * (1 + dice.uniform(-noise, noise)))(rate)

    found, trials = search_to_the_end(search, endpoint)
    assert found.rate <= capacity * (1 + noise)
    assert found.rate >= capacity * (1 - noise) * 0.7 or not found.confirmed
    if found.confirmed:
        assert Trial(found.rate, Purpose.CONFIRM, Verdict.KEPT) in trials


@given(st.lists(st.sampled_from(list(Verdict)), min_size=400, max_size=400), st.floats(0.5, 1e5))
def test_whatever_comes_back_it_ends(verdicts, first) -> None:
    answers = iter(verdicts)
    search_to_the_end(Search(first=first, most_trials=60), lambda rate: next(answers))


def test_one_bad_trial_does_not_become_the_bound() -> None:
    calls: list[float] = []

    def endpoint(rate: float) -> Verdict:
        calls.append(rate)
        return Verdict.BROKEN if len(calls) == 2 else limit(1000)(rate)

    found, _ = search_to_the_end(Search(first=100), endpoint)
    assert found.rate > 900
    assert calls[1] == calls[2]


def test_an_answer_that_fails_its_confirmation_gives_way() -> None:
    confirmed: list[float] = []

    def endpoint(rate: float) -> Verdict:
        return limit(100)(rate)

    search = Search(first=60)
    trials: list[Trial] = []
    while not isinstance(step := search.next(trials), Found):
        verdict = endpoint(step.rate)
        if step.purpose is Purpose.CONFIRM:
            confirmed.append(step.rate)
            verdict = limit(80)(step.rate)
        trials.append(Trial(step.rate, step.purpose, verdict))
    assert step.confirmed
    assert 70 <= step.rate <= 80
    assert confirmed == sorted(confirmed, reverse=True)


def test_nothing_is_found_where_nothing_is_kept() -> None:
    found, _ = search_to_the_end(Search(first=8, least=1), limit(0))
    assert (found.rate, found.confirmed) == (0, False)
    assert "even the lowest rate" in found.why


def test_the_highest_rate_that_may_be_tried_can_be_the_answer() -> None:
    found, _ = search_to_the_end(Search(first=8, most=100), limit(1e9))
    assert (found.rate, found.confirmed) == (100, True)


def test_a_generator_that_is_too_slow_is_said_to_be_the_bound() -> None:
    found, _ = search_to_the_end(Search(first=8), lambda rate: Verdict.KEPT if rate <= 100 else Verdict.UNABLE)
    assert found.confirmed
    assert "which the load generator cannot send" in found.why


def test_what_ended_it_is_the_endpoint_unless_the_generator_failed_each_time() -> None:
    kept = [Trial(97.0, Purpose.BISECT, Verdict.KEPT), Trial(97.0, Purpose.CONFIRM, Verdict.KEPT)]
    again = Trial(100.0, Purpose.AGAIN, Verdict.UNABLE)
    for first, said in ((Verdict.BROKEN, "which breaks it"), (Verdict.UNABLE, "which the load generator cannot send")):
        found = Search(first=100).next([Trial(100.0, Purpose.BRACKET, first), again, *kept])
        assert isinstance(found, Found)
        assert said in found.why
