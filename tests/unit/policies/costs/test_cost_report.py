"""Reports of what was spent."""

from __future__ import annotations

import pytest

from trimtab.policies.costs.cells import Cell, CellKey
from trimtab.policies.costs.report import rows_of, total_of

CELLS = [
    (CellKey(0, "chat", "all", "1"), Cell(parts={"serving": 300}, requests=10, input_tokens=60, output_tokens=40)),
    (CellKey(3600, "chat", "all", "1"), Cell(parts={"idle": 700})),
    (CellKey(0, "fraud", "all", "1"), Cell(parts={"serving": 9_000}, requests=90)),
]


def test_a_token_costs_what_was_spent_on_those_that_tell_tokens_idle_hours_included() -> None:
    chat, fraud = sorted(rows_of(CELLS, ("endpoint",)), key=lambda row: str(row.of))
    assert chat.usd_per_million_tokens == pytest.approx(10.0)  # 1,000 micro-dollars for 100 tokens
    assert fraud.usd_per_million_tokens is None
    total = total_of(CELLS)
    assert total.usd_per_million_tokens == pytest.approx(10.0)
    assert total.usd_per_1000_requests == pytest.approx(0.1)
    assert total.micro_usd == 10_000
    first, second = rows_of(CELLS, ("hour",))
    assert first.usd_per_million_tokens == pytest.approx(3.0)
    assert second.usd_per_million_tokens is None
