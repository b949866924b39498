"""What is foreseen of a model's use."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trimtab.policies.models import use
from trimtab.policies.models.use import Uses


def steady(uses: Uses, model: str, per_s: float, start_s: float, end_s: float) -> None:
    for number in range(int((end_s - start_s) * per_s)):
        uses.note(model, 1, start_s + (number + 1) / per_s)


def test_a_steady_rate_is_found() -> None:
    uses = Uses()
    steady(uses, "a", 2.0, 0.0, 3600.0)
    assert 1.5 < uses.rate("a", 3600.0) < 2.5


def test_a_model_that_falls_silent_is_cold_within_moments_for_its_rate() -> None:
    uses = Uses()
    steady(uses, "a", 2.0, 0.0, 3600.0)
    assert uses.rate("a", 3600.0 + 60.0) < 0.2


def test_a_model_that_becomes_hot_is_hot_within_seconds() -> None:
    uses = Uses()
    steady(uses, "b", 0.2, 0.0, 3600.0)
    steady(uses, "a", 0.01, 0.0, 3600.0)
    steady(uses, "a", 5.0, 3600.0, 3610.0)
    assert uses.rate("a", 3610.0) > uses.rate("b", 3610.0)


def test_a_model_never_seen_is_taken_for_one_of_the_rarer_ones() -> None:
    uses = Uses()
    steady(uses, "a", 2.0, 0.0, 100.0)
    uses.note("b", 1, 100.0)
    assert 0 < uses.rate("never", 100.0) < uses.rate("a", 100.0)


def test_of_very_many_models_the_longest_unused_are_forgotten(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(use, "REMEMBERED", 10)
    uses = Uses()
    for number in range(100):
        uses.note(f"m{number}", 5, float(number))
    assert len(uses._uses) == 10
    assert "m99" in uses._uses


@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 10**6)), max_size=30), st.floats(0, 1e9))
def test_whatever_comes_rates_are_finite_and_positive(notes: list[tuple[float, int]], later_s: float) -> None:
    uses, now_s = Uses(), 0.0
    for passed_s, requests in notes:
        now_s += passed_s
        uses.note("a", requests, now_s)
        assert 0 < uses.rate("a", now_s) < 1e12
        assert abs(sum(uses._uses["a"].beliefs) - 1.0) < 1e-9
    assert 0 < uses.rate("a", now_s + later_s) < 1e12
