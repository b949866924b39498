"""Tokens in the custom attributes of answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.policies.costs.tokens import tokens_of


@pytest.mark.parametrize(
    ("told", "tokens"),
    [
        ("input_tokens=812, output_tokens=143", (812, 143)),
        ("trace=7;output_tokens = 5;input_tokens=2", (2, 5)),
        ("output_tokens=5", (0, 5)),
        ("input_tokens=1,input_tokens=2", (2, 0)),
        ("", (0, 0)),
        ("c000b4f9", (0, 0)),
        ("input_tokens=-3", (0, 0)),
        ("input_tokens=3.5", (0, 0)),
        ("input_tokens=12345678901234567890", (0, 0)),
        ("myinput_tokens=3", (0, 0)),
    ],
)
def test_tokens_are_read_as_told(told: str, tokens: tuple[int, int]) -> None:
    assert tokens_of(told) == tokens


@given(st.text())
def test_any_text_is_read_without_harm(text: str) -> None:
    assert all(count >= 0 for count in tokens_of(text))
