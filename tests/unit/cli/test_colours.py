"""Colour is an extra: it can be turned off, and nobody's background is painted over."""

from __future__ import annotations

import pytest

from trimtab.cli.benching.charts import Chart, Line
from trimtab.cli.benching.terminal import plotted
from trimtab.cli.render import styled

CHART = Chart(
    title="Requests",
    x_label="minutes",
    y_label="requests/s",
    xs=(0.0, 1.0, 2.0),
    lines=(Line("offered", (1.0, 5.0, 2.0)),),
)


def test_no_color_turns_colours_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert styled("error:", fg="red") == "\x1b[31m\x1b[1merror:\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert styled("error:", fg="red") == "error:"
    assert "\x1b" not in plotted(CHART, 60, color=False)


def test_charts_leave_the_terminals_background_as_it_is() -> None:
    drawn = plotted(CHART, 60, color=True)
    assert "\x1b[38;5;" in drawn  # curves have colours
    assert "\x1b[48;5;" not in drawn
