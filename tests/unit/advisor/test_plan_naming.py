"""Names of a plan's endpoints: those that SageMaker takes, one for each."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trimtab.advisor.plan.naming import name_of
from trimtab.resources.names import is_name


@given(st.lists(st.text(min_size=1), min_size=1, max_size=3, unique=True))
def test_every_endpoint_has_a_name_that_sagemaker_takes(workloads: list[str]) -> None:
    assert is_name(name_of(workloads))


def test_a_workload_whose_name_may_stand_names_its_endpoint() -> None:
    assert name_of(["card-fraud"]) == "card-fraud"
    assert name_of(["card fraud"]).startswith("card-fraud-")


def test_names_that_differ_in_what_may_not_stand_in_one_stay_two() -> None:
    names = ["a b", "a.b", "a-b", "-a-b-", "b" * 63, "b" * 64, "b" * 65, "é", "ü"]
    assert len({name_of([name]) for name in names}) == len(names)


def test_what_is_no_name() -> None:
    assert not any(map(is_name, ["", "a b", "-a", "a-", "a_b", "é", "a" * 64, "a\n"]))
