"""Tables on terminals that are too narrow for them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from trimtab.cli.narrow import fitted

COLUMNS = ("ENDPOINT", "VARIANT", "COST", "SERVING", "REPLICA-H", "NOTE")
RIGHT = ("COST", "SERVING", "REPLICA-H")
ROWS = [
    ("shared-3-9fff987d", "AllTraffic", "$1,234.0592", "44%", "120.19", "price of 2025-01-26"),
    ("pricing", "AllTraffic", "$0.04", "<1%", "0.19", ""),
]


def drawn(width: int, columns=COLUMNS, rows=ROWS, **options) -> list[list[str]]:
    """The lines of the titles and of each row."""
    lines = fitted(columns, rows, width=width, right=options.pop("right", RIGHT), **options)
    return [[line.plain for line in row] for row in lines]


def test_a_table_that_has_room_is_one_line_a_row():
    assert drawn(200) == [
        ["ENDPOINT           VARIANT            COST  SERVING  REPLICA-H  NOTE"],
        ["shared-3-9fff987d  AllTraffic  $1,234.0592      44%     120.19  price of 2025-01-26"],
        ["pricing            AllTraffic        $0.04      <1%       0.19"],
    ]


def test_words_are_wrapped_before_anything_else_gives_way():
    assert drawn(76)[1] == [
        "shared-3-9fff987d  AllTraffic  $1,234.0592      44%     120.19  price of",
        "                                                                2025-01-26",
    ]


def test_where_words_do_not_help_names_stand_above_their_numbers():
    assert drawn(60) == [
        ["ENDPOINT           VARIANT", "           COST  SERVING  REPLICA-H  NOTE"],
        [
            "shared-3-9fff987d  AllTraffic",
            "    $1,234.0592      44%     120.19  price of 2025-01-26",
        ],
        ["pricing            AllTraffic", "          $0.04      <1%       0.19"],
    ]


def test_a_row_takes_as_many_lines_as_it_needs():
    lines = drawn(30)[1]
    assert [line.split() for line in lines[:2]] == [["shared-3-9fff987d", "AllTraffic"], ["$1,234.0592", "44%"]]
    assert max(map(len, lines)) <= 30


def test_lines_of_a_cell_stay_lines():
    rows = [("-$672", "three endpoints run one image\ncould-share-an-endpoint/risk-eu")]
    assert drawn(45, ("$ A MONTH", "FINDING, AND ITS ID"), rows, right=("$ A MONTH",))[1] == [
        "    -$672  three endpoints run one image",
        "           could-share-an-endpoint/risk-eu",
    ]


def test_what_is_to_stay_whole_is_not_wrapped():
    rows = [("a title of many words", "no-versioning/loose-models *")]
    assert drawn(42, ("FINDING", "ID"), rows, whole=("ID",))[1] == [
        "a title of    no-versioning/loose-models *",
        "many words",
    ]


def test_a_status_is_coloured_where_it_stands_alone():
    (_, (ready,), (named,)) = fitted(("NAME",), [("Ready",), ("Ready or not",)], width=80, styles={"Ready": "green"})
    assert [str(span.style) for span in ready.spans] == ["green"]
    assert not named.spans


@pytest.mark.parametrize("width", [1, 20])
def test_a_word_that_is_wider_than_the_terminal_is_left_to_it(width):
    assert drawn(width, ("NAME",), [("a-name-that-is-longer-than-twenty",)])[1] == ["a-name-that-is-longer-than-twenty"]


words = st.text("ab1$é漢", min_size=1, max_size=12)
cells = st.lists(words, max_size=4).map(" ".join)


@given(st.integers(2, 5).flatmap(lambda many: st.lists(st.tuples(*[cells] * many), min_size=1, max_size=4)), st.data())
def test_no_word_is_broken_nor_lost_and_no_line_too_long(rows, data):
    columns = [f"C{at}" for at in range(len(rows[0]))]
    right = data.draw(st.sets(st.sampled_from(columns)))
    width = data.draw(st.integers(60, 120))
    numbers = [cell_len(row[at]) + 4 for row in rows for at, column in enumerate(columns) if column in right]
    most = max(width, *numbers, 0)  # these are not wrapped, and may stand indented
    for cells_of_row, lines in zip(rows, fitted(columns, rows, width=width, right=right)[1:], strict=True):
        shown = [word for line in lines for word in line.plain.split()]
        assert sorted(shown) == sorted(word for cell in cells_of_row for word in cell.split())
        assert all(cell_len(line.plain) <= most for line in lines)
