"""Bodies to arrays and back."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.worker import codecs, media
from trimtab.worker.answers import Fault

JSON, CSV, NPY, LINES = media.JSON, media.CSV, media.NPY, media.JSON_LINES
_NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
_ROWS = st.integers(1, 6).flatmap(
    lambda n: st.lists(st.lists(_NUMBERS, min_size=n, max_size=n), min_size=1, max_size=6)
)


def outcome(call, *arguments):
    """What the call returns, or the Fault that it raises."""
    try:
        return call(*arguments)
    except Fault as fault:
        return fault


_FINITE = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**64 - 1)
_VALUES = st.recursive(
    _FINITE | st.none() | st.booleans() | st.text(alphabet='[]",1 ', max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=12,
)


@given(_VALUES | st.lists(st.lists(_FINITE, max_size=4), max_size=4), st.sampled_from([None, 1]))
def test_the_quick_array_reader_reads_rows_as_json_does_and_nothing_else(value, indent):
    array = codecs.decode_number_array(json.dumps(value, indent=indent).encode())

    is_rows = (
        isinstance(value, list)
        and all(isinstance(row, list) and len(row) == len(value[0]) > 0 for row in value)
        and all(type(number) in (int, float) for row in value for number in row)
        and bool(value)
    )
    assert (array is not None) is is_rows
    if array is not None:
        assert array.tolist() == [[float(number) for number in row] for row in value]
        assert array.flags.writeable  # scripts may compute in place


@given(st.binary(max_size=40) | st.text(alphabet="[]{}1234,.-e \n", max_size=40).map(str.encode))
def test_the_quick_array_reader_takes_nothing_that_is_not_json(body):
    if codecs.decode_number_array(body) is not None:
        json.loads(body)


@given(_ROWS, st.sampled_from([JSON, CSV, NPY, LINES]))
def test_an_array_comes_back_from_every_type_as_it_was(rows, kind):
    array = np.array(rows)

    back = codecs.decode(codecs.encode(array, kind), kind)

    assert back.shape == array.shape
    assert np.array_equal(back, array, equal_nan=True)


@given(_ROWS)
def test_the_quick_csv_reader_reads_what_the_careful_one_does(rows):
    body = codecs.encode_csv(rows)

    assert np.array_equal(codecs.decode_csv(body), codecs.decode_csv(body.decode()), equal_nan=True)


@given(st.binary(max_size=200), st.sampled_from([JSON, CSV, NPY, LINES, media.NPZ]))
def test_any_bytes_are_an_array_or_the_callers_fault(body, kind):
    result = outcome(codecs.decode, body, kind)
    assert not isinstance(result, Fault) or (result.status == 400 and result.body)


@given(st.text(alphabet="0123456789.,-+eEnaif \n\"'", max_size=40))
def test_csv_like_text_is_rows_of_one_length_or_the_callers_fault(text):
    rows = outcome(codecs.decode_csv, text.encode())
    if isinstance(rows, Fault):
        assert rows.status == 400
        return
    assert len({len(row) for row in rows}) == 1
    assert all(isinstance(value, float) for row in rows for value in row)


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        (b"1,2\n3,4\n", [[1, 2], [3, 4]]),
        (b"1,2\r\n3,4", [[1, 2], [3, 4]]),
        (b".5,+1,1e3,1.", [[0.5, 1, 1000, 1]]),
        (b'"1","2"', [[1, 2]]),
        (b" 1 , 2 ", [[1, 2]]),
        (b"1,,nan\n", [[1, math.nan, math.nan]]),
    ],
)
def test_csv_as_people_write_it(body, rows):
    assert np.array_equal(codecs.decode_csv(body), rows, equal_nan=True)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"amount,time\n1,2", "header"),
        (b"1,2\n3", "Row 2 of the CSV body has 1 fields, row 1 has 2"),
        (b"1,2\n3,x", "Row 2, column 2"),
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"\xff", "UTF-8"),
        (b"1],[2", "no number"),
    ],
)
def test_csv_that_is_wrong_says_where(body, said):
    with pytest.raises(Fault, match=said) as caught:
        codecs.decode_csv(body)
    assert caught.value.status == 400


def test_json_reads_and_writes_the_numbers_that_strict_json_lacks():
    assert np.array_equal(
        codecs.decode(b"[[NaN, Infinity, -Infinity, null]]", JSON, "float64"),
        [[math.nan, math.inf, -math.inf, math.nan]],
        equal_nan=True,
    )
    assert codecs.encode([1.0, math.nan, None, -math.inf], JSON) == b"[1.0, NaN, null, -Infinity]"
    assert codecs.encode(np.array([math.inf, 1]), JSON) == b"[Infinity, 1.0]"


@pytest.mark.parametrize("body", [b"[[1, 2], [3]]", b'[["a"]]', b'{"a": 1}'])
def test_json_that_is_no_array_of_numbers_is_the_callers_fault(body):
    with pytest.raises(Fault) as caught:
        codecs.decode(body, JSON, "float32")
    assert caught.value.status == 400


def test_deeply_nested_json_is_refused_rather_than_fatal():
    with pytest.raises(Fault):
        codecs.decode(b"[" * 100_000 + b"]" * 100_000, JSON)


def test_arrays_with_pickled_objects_are_never_loaded_nor_written():
    out = io.BytesIO()
    np.save(out, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(Fault, match="pickled"):
        codecs.decode(out.getvalue(), NPY)
    with pytest.raises(Fault) as caught:
        codecs.encode([{"a": 1}], NPY)
    assert caught.value.status == 500


def test_npz_holds_arrays_by_name_or_a_sparse_matrix():
    sparse = pytest.importorskip("scipy.sparse")
    out = io.BytesIO()
    np.savez(out, a=np.ones(2), b=np.zeros(3))
    assert sorted(codecs.decode(out.getvalue(), media.NPZ)) == ["a", "b"]

    out = io.BytesIO()
    sparse.save_npz(out, sparse.csr_matrix(np.eye(3)))
    assert codecs.decode(out.getvalue(), media.NPZ).shape == (3, 3)


def test_json_lines_name_the_line_that_is_wrong():
    assert codecs.decode(b"[1, 2]\n\n[3, 4]\n", LINES).tolist() == [[1, 2], [3, 4]]
    with pytest.raises(Fault, match="Line 2"):
        codecs.decode(b"[1, 2]\n[3,\n", LINES)


def test_csv_writes_scalars_columns_rows_and_text():
    assert codecs.encode(0.5, CSV) == b"0.5\n"
    assert codecs.encode(np.array([1, 2]), CSV) == b"1\n2\n"
    assert codecs.encode([["a,b", 1], ["c", 2]], CSV) == b'"a,b",1\nc,2\n'


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/csv", "text/csv"),
        ("TEXT/CSV; charset=utf-8", "text/csv"),
        ("text/html, text/csv;q=0.5, application/x-npy;q=0.9", "application/x-npy"),
        ("text/html, */*;q=0.1", "application/json"),
        ("text/*", "text/csv"),
        ("application/*", "application/json"),
        ("application/x-ndjson", "application/jsonlines"),
        ("text/csv;q=0, application/json;q=0.1", "application/json"),
    ],
)
def test_accept_headers_are_read_as_http_means_them(accept, chosen):
    assert media.negotiate(accept, codecs.STOCK_OUTPUTS, JSON) == chosen


@given(st.text(max_size=60))
def test_any_accept_header_is_answered_or_406(accept):
    chosen = outcome(media.negotiate, accept, codecs.STOCK_OUTPUTS, JSON)
    assert chosen.status == 406 if isinstance(chosen, Fault) else chosen in codecs.STOCK_OUTPUTS


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=20,
    )
)
def test_json_values_come_back_as_they_were(value):
    assert json.loads(codecs.encode(value, JSON)) == value
