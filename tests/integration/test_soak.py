"""The soak, in short; and that its ledger would tell."""

from __future__ import annotations

import json

import pytest

from benchmarks.soak import soak
from benchmarks.soak_clients import Line, judge
from trimtab.testing.postgresql import PostgresServer


def noticed(id: str, *, notice: str = "", number: int = 1, status: str = "Completed", of: str = "") -> Line:
    return Line("noticed", id, notice or f"notice of {id}", status, json.dumps({"of": of or id, "number": number}))


GOOD = [Line("asked", "1"), Line("accepted", "1"), noticed("1")]


def test_a_ledger_without_fault_is_good() -> None:
    again = noticed("1")  # the same notice once more: SQS may
    unanswered = [Line("asked", "2"), noticed("2"), Line("asked", "3")]
    verdict = judge([*GOOD, again, *unanswered], left=[])
    assert verdict.good
    assert (verdict.asked, verdict.accepted, verdict.unanswered_done) == (3, 1, 1)


@pytest.mark.parametrize(
    ("lines", "left", "what"),
    [
        ([Line("asked", "2"), Line("accepted", "2")], [], "lost"),
        ([Line("asked", "2"), Line("noticed", "2", "n", "Completed")], [], "without_result"),
        ([noticed("1", notice="another")], [], "double"),
        ([noticed("1", number=2)], [], "double"),
        ([], ["1"], "double"),
        ([noticed("unasked")], [], "wrong"),
        ([Line("asked", "2"), noticed("2", status="Failed")], [], "wrong"),
        ([Line("asked", "2"), noticed("2", of="1")], [], "wrong"),
    ],
)
def test_a_ledger_tells_what_went_wrong(lines: list[Line], left: list[str], what: str) -> None:
    verdict = judge([*GOOD, *lines], left)
    assert not verdict.good
    assert [name for name in ("lost", "without_result", "double", "wrong") if getattr(verdict, name)] == [what]


@pytest.mark.slow
def test_nothing_is_lost_or_doubled_while_processes_are_killed() -> None:
    report = soak(120, 8, clients=1, seed=11)
    assert report.verdict.good, report
    assert sum(report.killed.values()) > 0


@pytest.mark.slow
@pytest.mark.postgres
def test_nor_with_queues_in_a_database(postgres: PostgresServer) -> None:
    report = soak(80, 5, clients=1, seed=12, options=("--queues-url", postgres.empty()))
    assert report.verdict.good, report
