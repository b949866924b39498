"""Moments and lengths of time, as people say them to a verb."""

from __future__ import annotations

import pytest

from trimtab.cli.render import CliError
from trimtab.cli.times import length, moment

NOW_S = 1.8e9


def test_a_length_ago_is_said_as_a_length_is() -> None:
    assert moment("1h30m", "--since", NOW_S) == NOW_S - length("1h30m", "--last") == NOW_S - 5400


@pytest.mark.parametrize("text", ["99999w", "9" * 30 + "d", "9" * 400 + "s"])
def test_a_length_of_more_than_a_life_is_refused(text: str) -> None:
    with pytest.raises(CliError, match="--last takes 50 years at most"):
        length(text, "--last")
    with pytest.raises(CliError, match="--since takes 50 years at most"):
        moment(text, "--since", NOW_S)


@pytest.mark.parametrize(
    "text",
    ["", "soon", "-1h", "0s", "nan", "25:00", "12:00:61", "2026-02-30", "1764232606000", "0001-01-01T00:00+14:00"],
)
def test_what_is_no_moment_is_refused_with_what_would_be_one(text: str) -> None:
    with pytest.raises(CliError, match="--since takes a "):
        moment(text, "--since", NOW_S)
