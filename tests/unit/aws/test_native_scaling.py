"""Autoscaling's history in trimtab's own API: who may see it, which part, and of what is no more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from test_native_api import ROOT, World

from trimtab.aws.native import native_api
from trimtab.aws.native_scaling import ScalingHistory
from trimtab.clock import ManualClock
from trimtab.control.scaling.journal import Journal
from trimtab.control.top import Overview
from trimtab.policies.scaling.decisions import Decision, Rules
from trimtab.policies.scaling.inputs import Tick
from trimtab.policies.scaling.state import State
from trimtab.resources.routing import AccessKey
from trimtab.resources.scaling import ScalableTarget
from trimtab.testing.fake_scaling import FakeScaling
from trimtab.testing.metrics import MemoryMetricStore

T0 = 1_700_000_000.0
PATH = "/_trimtab/v1/endpoints/{}/scaling"


class Scaled(World):
    """The same, with a journal."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.journal = Journal(folder / "scaling.db", ManualClock(T0), write_every_s=0)
        history = ScalingHistory(self.journal, FakeScaling(ManualClock(T0), [("e", "a")]))
        overview = Overview(self.control, MemoryMetricStore(), dict, ManualClock())
        self.api = native_api(self.control, overview, self.authenticate, folder, {}, history)

    def note(self, endpoint: str, variant: str, at_s: float) -> None:
        target = ScalableTarget(endpoint=endpoint, variant=variant, min_capacity=1, max_capacity=4, created_s=T0)
        made = Decision(at_s=at_s, before=1, wanted=2, made=True, reason="why")
        self.journal.note(
            endpoint, variant, Rules(target=target), State(), Tick(at_s=at_s, capacity=1), [made], State()
        )


@pytest.fixture
def scaled(tmp_path: Path) -> Iterator[Scaled]:
    made = Scaled(tmp_path)
    yield made
    made.journal.close()


async def test_entries_are_lines_with_their_variant_and_kind(scaled: Scaled) -> None:
    scaled.note("e", "A", T0)
    scaled.note("e", "B", T0 + 1)
    status, lines = await scaled.get(PATH.format("e"))
    assert status == 200
    assert [(line["variant"], line["kind"]) for line in lines] == [
        ("A", "began"), ("A", "tick"), ("A", "decision"), ("B", "began"), ("B", "tick"), ("B", "decision"),
    ]  # fmt: skip
    assert lines[2]["reason"] == "why"
    _, lines = await scaled.get(PATH.format("e"), "variant=B")
    assert {line["variant"] for line in lines} == {"B"}
    _, lines = await scaled.get(PATH.format("E"), "variant=b")  # names have no case
    assert {line["variant"] for line in lines} == {"B"}
    _, lines = await scaled.get(PATH.format("e"), f"end={T0 + 0.5}")
    assert {line["variant"] for line in lines} == {"A"}


async def test_decisions_come_with_the_inputs_that_led_to_them_and_nothing_else(scaled: Scaled) -> None:
    scaled.note("e", "A", T0)
    target = ScalableTarget(endpoint="e", variant="A", min_capacity=1, max_capacity=4, created_s=T0)
    for second in range(5):
        scaled.journal.note("e", "A", Rules(target=target), State(), Tick(at_s=T0 + second, capacity=2), [], State())
    scaled.note("e", "A", T0 + 5)
    _, lines = await scaled.get(PATH.format("e"), "only=decisions")
    assert [(line["kind"], line["at_s"] - T0) for line in lines] == [
        ("tick", 0.0), ("decision", 0.0), ("tick", 5.0), ("decision", 5.0),
    ]  # fmt: skip


async def test_an_endpoint_without_history_has_none_and_one_that_is_not_is_not_found(scaled: Scaled) -> None:
    assert await scaled.get(PATH.format("e")) == (200, [])
    status, (error,) = await scaled.get(PATH.format("nobody"))
    assert (status, error["error"]["code"]) == (404, "NotFound")
    status, _ = await scaled.get(PATH.format("nobody") + "/activities")
    assert status == 404


async def test_history_outlives_its_endpoint(scaled: Scaled) -> None:
    scaled.note("gone", "A", T0)
    status, lines = await scaled.get(PATH.format("gone"))
    assert (status, len(lines)) == (200, 3)


@pytest.mark.parametrize("path", [PATH, PATH + "/activities"])
async def test_a_key_of_other_endpoints_or_services_sees_nothing(scaled: Scaled, path: str) -> None:
    scaled.note("e", "A", T0)
    limited: AccessKey = replace(ROOT, endpoints=("other-*",))
    for key in (limited, replace(ROOT, actions=("sagemaker:*",))):
        scaled.key = key
        status, (error,) = await scaled.get(path.format("e"))
        assert status == 403, error


@pytest.mark.parametrize("query", ["what=1", "start=now", "end=nan", "start=inf", "only=ticks"])
async def test_a_question_that_means_nothing_is_refused(scaled: Scaled, query: str) -> None:
    status, (error,) = await scaled.get(PATH.format("e"), query)
    assert (status, error["error"]["code"]) == (400, "Invalid")


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=100000", "start=1"])
async def test_activities_are_asked_for_by_variant_and_limit_alone(scaled: Scaled, query: str) -> None:
    status, _ = await scaled.get(PATH.format("e") + "/activities", query)
    assert status == 400
