"""Which messages a filter lets pass, and when a delivery is tried again: AWS's examples, and the edges."""

from __future__ import annotations

from typing import Any

import pytest

from trimtab.errors import Invalid
from trimtab.policies.notices.filters import check, matches
from trimtab.policies.notices.retries import RetryPolicy, delay_s, is_permanent, retry_policy


@pytest.mark.parametrize(
    ("conditions", "value", "passes"),
    [
        (["rugby"], "rugby", True),
        (["rugby"], "Rugby", False),
        (["rugby"], ["tennis", "rugby"], True),
        ([301.5], 3.015e2, True),
        ([1], True, False),
        ([True], 1, False),
        ([None], None, True),
        ([{"prefix": "bas"}], "baseball", True),
        ([{"suffix": "ball"}], "baseball", True),
        ([{"suffix": "ball"}], 7, False),
        ([{"equals-ignore-case": "TENNIS"}], "tennis", True),
        ([{"wildcard": "*ball"}], "baseball", True),
        ([{"wildcard": "a[b]?*"}], "a[b]?c", True),
        ([{"wildcard": "a[b]?*"}], "abxc", False),
        ([{"anything-but": ["rugby", "tennis"]}], "baseball", True),
        ([{"anything-but": ["rugby", "tennis"]}], "rugby", False),
        ([{"anything-but": {"prefix": "order-"}}], "order-1", False),
        ([{"anything-but": {"prefix": "order-"}}], "data", True),
        ([{"numeric": ["<", 0]}], -1.5, True),
        ([{"numeric": [">", 0, "<=", 150]}], 150, True),
        ([{"numeric": [">", 0, "<=", 150]}], 0, False),
        ([{"numeric": ["=", 1]}], "1", False),
        ([{"cidr": "10.0.0.0/24"}], "10.0.0.255", True),
        ([{"cidr": "10.0.0.0/24"}], "10.0.1.0", False),
        ([{"cidr": "10.0.0.0/24"}], "no address", False),
        ([{"exists": True}], "x", True),
        ([{"exists": False}], "x", False),
        (["rugby", {"prefix": "b"}], "ball", True),
    ],
)
def test_a_condition_passes_what_it_says(conditions: list[Any], value: Any, passes: bool) -> None:
    policy = {"key": conditions}
    check(policy, body=False)
    assert matches(policy, {"key": value}) is passes


def test_what_is_not_there_passes_only_where_it_must_not_be() -> None:
    assert not matches({"key": ["x"]}, {})
    assert not matches({"key": [{"anything-but": "x"}]}, {})
    assert matches({"key": [{"exists": False}]}, {})
    assert not matches({"key": [{"exists": True}]}, {})


def test_keys_are_an_and_and_or_is_an_or() -> None:
    policy = {"source": ["s3"], "$or": [{"name": ["cpu"]}, {"space": ["ec2"]}]}
    check(policy, body=False)
    assert matches(policy, {"source": "s3", "name": "cpu"})
    assert matches(policy, {"source": "s3", "space": "ec2"})
    assert not matches(policy, {"source": "s3"})
    assert not matches(policy, {"name": "cpu"})


def test_bodies_are_matched_inside_objects_and_arrays() -> None:
    policy = {"order": {"items": {"colour": ["red"]}}}
    check(policy, body=True)
    assert matches(policy, {"order": {"items": [{"colour": "blue"}, {"colour": "red"}]}})
    assert not matches(policy, {"order": {"items": []}})
    assert not matches(policy, {"order": "text"})


@pytest.mark.parametrize(
    ("policy", "body"),
    [
        ([], False), ({"a": "x"}, False), ({"a": []}, False), ({"a": {"b": ["x"]}}, False), ({"a": {}}, True),
        ({"a": [{"like": "x"}]}, False), ({"a": [{"numeric": ["<"]}]}, False), ({"a": [{"numeric": ["<", "1"]}]}, False),
        ({"a": [{"numeric": ["<", 1, ">", 0]}]}, False), ({"a": [{"exists": "yes"}]}, False), ({"a": [["x"]]}, False),
        ({"a": [{"prefix": 1}]}, False), ({"a": [{"cidr": "x"}]}, False), ({"a": [{"anything-but": []}]}, False),
        ({str(n): ["x"] for n in range(6)}, False), ({k: [str(n) for n in range(6)] for k in "abc"}, False),
    ],
)  # fmt: skip
def test_what_is_no_policy_is_refused(policy: Any, body: bool) -> None:
    with pytest.raises(Invalid):
        check(policy, body=body)


def test_the_default_is_three_retries_twenty_seconds_apart() -> None:
    assert [delay_s(RetryPolicy(), n) for n in (1, 2, 3, 4)] == [20.0, 20.0, 20.0, None]


def test_the_four_phases_follow_each_other() -> None:
    policy = retry_policy(
        {
            "numRetries": 9, "numNoDelayRetries": 1, "numMinDelayRetries": 2, "numMaxDelayRetries": 2,
            "minDelayTarget": 10, "maxDelayTarget": 90, "backoffFunction": "linear",
        }
    )  # fmt: skip
    delays = [delay_s(policy, n) for n in range(1, 11)]
    assert delays[:3] == [0.0, 10.0, 10.0]
    assert delays[3:7] == pytest.approx([10.0, 36.667, 63.333, 90.0], abs=0.001)
    assert delays[7:] == [90.0, 90.0, None]


@pytest.mark.parametrize("function", ["linear", "arithmetic", "geometric", "exponential"])
def test_every_function_goes_from_the_least_to_the_most(function: str) -> None:
    policy = RetryPolicy(num_retries=10, min_delay_target=1, max_delay_target=100, backoff_function=function)
    delays = [delay_s(policy, n) or 0.0 for n in range(1, 11)]
    assert delays == sorted(delays)
    assert (delays[0], delays[-1]) == pytest.approx((1.0, 100.0))


@pytest.mark.parametrize(
    "document",
    [
        {"numRetries": 101}, {"numRetries": -1}, {"minDelayTarget": 0}, {"minDelayTarget": 30, "maxDelayTarget": 20},
        {"maxDelayTarget": 3601}, {"numRetries": 1, "numNoDelayRetries": 2}, {"backoffFunction": "random"}, {"numRetries": "x"},
    ],
)  # fmt: skip
def test_what_is_no_retry_policy_is_refused(document: Any) -> None:
    with pytest.raises(Invalid):
        retry_policy(document)


def test_only_a_refusal_is_final() -> None:
    assert [is_permanent(status) for status in (0, 301, 400, 404, 429, 500, 503)] == [
        False, False, True, True, False, False, False,
    ]  # fmt: skip
