"""The page of `trimtab cost`."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from trimtab.aws.client import CallFailed
from trimtab.aws.native_costs import WEEK_S, cost_query
from trimtab.cli.costing.page import dollars, percents, show
from trimtab.cli.main import app
from trimtab.errors import Invalid
from trimtab.policies.costs.cells import Cell, CellKey
from trimtab.policies.costs.report import CostReport, rows_of, total_of

HOUR_S = 1_700_000_000 // 3600 * 3600


def a_cell(**more: Any) -> Cell:
    fields = {"parts": {"serving": 100_000, "headroom": 300_000}, "replica_us": 3_600_000_000, "requests": 2000}
    return Cell(**{**fields, "instance_type": "ml.m5.large", **more})


def a_report(*cells: tuple[CellKey, Cell], by: tuple[str, ...] = ("endpoint", "variant")) -> dict[str, Any]:
    report = CostReport(
        since_s=HOUR_S,
        until_s=HOUR_S + 7200,
        charged_s=HOUR_S + 7100.0,
        by=by,
        rows=tuple(rows_of(cells, by)),
        total=total_of(cells),
        usd_per_hour=0.115,
        notes=("ml.x in us-east-1: derived",) if cells else (),
    )
    made: dict[str, Any] = msgspec.to_builtins(report)
    return made


@pytest.mark.parametrize(
    ("usd", "text"),
    [(0, "$0.00"), (1234.5, "$1,234.50"), (0.5, "$0.5000"), (0.000123, "$0.000123"), (0.0000041, "$4.1e-06")],
)
def test_small_amounts_keep_their_digits(usd: float, text: str) -> None:
    assert dollars(usd) == text


def test_the_table_has_a_row_for_each_and_a_total(capsys: pytest.CaptureFixture[str]) -> None:
    two = a_cell(input_tokens=10, output_tokens=90, parts={"serving": 1, "rollout": 1_199_999})
    document = a_report((CellKey(HOUR_S, "a", "blue", "v1"), a_cell()), (CellKey(HOUR_S, "b", "main", "v1"), two))
    show(document)
    printed = capsys.readouterr().out
    head, first, second, total, *_ = printed.splitlines()
    assert head.split()[:6] == ["ENDPOINT", "VARIANT", "COST", "SERVING", "HEADROOM", "IDLE"]
    assert "ROLLOUT" in head
    assert first.split() == ["b", "main", "$1.20", "<1%", "-", "-", "100%", "1.00", "2,000", "$0.6000", "$12,000.00"]
    assert second.split() == ["a", "blue", "$0.4000", "25%", "75%", "-", "-", "1.00", "2,000", "$0.2000", "-"]
    assert total.split()[:2] == ["total", "$1.60"]
    assert "What runs now costs $0.1150 an hour." in printed
    assert "Price of ml.x in us-east-1: derived" in printed


def test_what_has_no_price_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    cell = a_cell(parts={}, unpriced_us=7_200_000_000, unpriced_gb_us=3_000_000)
    show(a_report((CellKey(HOUR_S, "a", "blue", "v1"), cell)))
    printed = capsys.readouterr().out
    assert "2.00 replica-hours are not in this" in printed
    assert "3 GB-seconds" in printed


def test_nothing_spent_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    show(a_report(), endpoint="fraud")
    assert "Nothing was spent on fraud" in capsys.readouterr().out


def test_times_and_models_have_names(capsys: pytest.CaptureFixture[str]) -> None:
    cells = ((CellKey(HOUR_S, "a", "blue", "v1", "m.tar.gz"), a_cell()), (CellKey(HOUR_S, "a", "blue", "v1"), a_cell()))
    show(a_report(*cells, by=("day", "model", "instance-type")))
    printed = capsys.readouterr().out
    assert "2023-11-14  m.tar.gz" in printed
    assert "(shared)" in printed
    assert "ml.m5.large" in printed


def test_queries_are_read_strictly() -> None:
    asked = cost_query("endpoint=a&since=5&until=9&by=model,%20day")
    assert (asked.endpoint, asked.since_s, asked.until_s, asked.by) == ("a", 5.0, 9.0, ("model", "day"))
    assert cost_query("until=700000").since_s == 700_000 - WEEK_S
    for wrong in ("by=colour", "since=x", "until=1&since=2", "colour=red"):
        with pytest.raises(Invalid):
            cost_query(wrong)


def test_what_cannot_be_asked_is_said_before_anybody_is_asked(bare) -> None:
    assert "lies in the future" in bare("cost", "--since", "2199-01-01").stderr


def test_an_endpoint_that_never_was_is_no_endpoint_that_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nobody:
        def get(self, path: str, **query: str) -> dict[str, Any]:
            return a_report()

        def call(self, service: str, operation: str, **params: Any) -> None:
            raise CallFailed("ValidationException", f'Could not find endpoint "{params["EndpointName"]}".')

    monkeypatch.setattr("trimtab.cli.connect.connect", lambda data_dir, **_: Nobody())
    done = CliRunner().invoke(app, ["cost", "frued"])
    assert done.exit_code == 1
    assert "There is no endpoint 'frued'" in done.stderr


def test_a_dimension_that_is_named_twice_is_told_once() -> None:
    assert cost_query("by=endpoint,endpoint,hour").by == ("endpoint", "hour")


@given(st.lists(st.integers(0, 10**12), max_size=8))
def test_percents_sum_to_a_hundred_and_none_is_off_by_one(amounts: list[int]) -> None:
    found, whole = percents(amounts), sum(amounts)
    assert sum(found) == (100 if whole else 0)
    assert all(abs(percent - 100 * amount / whole) < 1 for percent, amount in zip(found, amounts, strict=True) if whole)


def test_hours_are_of_the_readers_clock_and_days_of_utc_also_where_clocks_are_half_an_hour_off(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        show(a_report((CellKey(HOUR_S, "a", "main", "v1"), a_cell()), by=("hour", "day")))
    finally:
        monkeypatch.undo()
        time.tzset()
    head, row, *_ = capsys.readouterr().out.splitlines()
    assert "DAY (UTC)" in head
    assert row.startswith("2023-11-15 03:30  2023-11-14")  # 22:00 UTC


def test_of_a_time_that_is_over_nothing_is_said_to_be_charged_later(capsys: pytest.CaptureFixture[str]) -> None:
    show(a_report() | {"until_s": HOUR_S})
    assert "charged some seconds later" not in capsys.readouterr().out
    show(a_report())
    assert "charged some seconds later" in capsys.readouterr().out
