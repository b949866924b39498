"""What findings come to together: savings of the same thing are not counted twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trimtab.advisor.audit.totals import of, ordered, saved, totals
from trimtab.advisor.finding import Finding

NAMES = "abcd"


def finding(number: int, saves: int | None, *covers: str) -> Finding:
    return Finding(
        id=f"{number}", kind="k", resource=covers[0], title="", saves_micro_usd_per_month=saves, covers=covers
    )


@st.composite
def some_findings(draw: st.DrawFn) -> list[Finding]:
    each = st.tuples(
        st.one_of(st.none(), st.integers(-100, 1000)), st.lists(st.sampled_from(NAMES), min_size=1, unique=True)
    )
    return [finding(i, saves, *covers) for i, (saves, covers) in enumerate(draw(st.lists(each, max_size=8)))]


@given(some_findings())
def test_no_dollar_is_saved_twice(found: list[Finding]) -> None:
    counted = totals(found).counted
    names = [name for one in counted for name in of(one)]
    assert len(names) == len(set(names))
    assert totals(found).saves == sum(saved(one) for one in counted)


@given(some_findings())
def test_every_finding_is_told_of_once(found: list[Finding]) -> None:
    together = totals(found)
    told = [*together.counted, *together.besides, *together.costing, *together.unpriced]
    free = [one for one in found if one.saves_micro_usd_per_month == 0]
    assert sorted(one.id for one in [*told, *free]) == sorted(one.id for one in found)


@given(some_findings())
def test_what_is_counted_saves_no_less_than_the_best_finding_of_each_thing_alone(found: list[Finding]) -> None:
    best = {name: max((saved(one) for one in found if of(one) == {name}), default=0) for name in NAMES}
    assert totals(found).saves >= sum(max(0, value) for value in best.values())


def test_one_endpoint_for_many_counts_where_it_saves_more_than_all_that_it_replaces() -> None:
    shared, one, two = finding(1, 500, "a", "b"), finding(2, 200, "a"), finding(3, 250, "b")
    assert totals([shared, one, two]).counted == (shared,)
    assert totals([finding(1, 400, "a", "b"), one, two]).counted == (two, one)


def test_the_dearest_comes_first_and_what_costs_comes_last() -> None:
    found = [finding(1, -5, "a"), finding(2, None, "b"), finding(3, 7, "c"), finding(4, 0, "d")]
    assert [one.id for one in ordered(found)] == ["3", "2", "4", "1"]
