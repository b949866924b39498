"""Bodies to arrays and back, for the types that SageMaker's stock decoders know.

JSON: NaN, Infinity and -Infinity are read and written as Python's `json` (and so the AWS toolkits) do, although strict
JSON has no such numbers; a `null` among numbers is read as NaN.
CSV: no header; an empty field or `nan` is NaN.
NPY, NPZ: never with pickled objects inside, which would run the caller's code.

Everything raises Fault 400 when a body is not what its type says. numpy is imported on the first use.
"""

from __future__ import annotations

import csv
import io
import json
import threading
from typing import TYPE_CHECKING, Any

import msgspec

from trimtab.worker import media
from trimtab.worker.answers import Fault
from trimtab.worker.failures import require

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STOCK_INPUTS = (media.JSON, media.CSV, media.JSON_LINES, media.NPY, media.NPZ)
STOCK_OUTPUTS = (media.JSON, media.CSV, media.JSON_LINES, media.NPY)

_rows_decoder = msgspec.json.Decoder(list[list[float]])
_any_decoder = msgspec.json.Decoder()
_of_thread = threading.local()
_LARGE_BYTES = 2**20


def text_of(body: bytes | str) -> str:
    """UTF-8 as text; Fault 400 when it is not UTF-8."""
    if isinstance(body, str):
        return body
    try:
        return str(body, "utf-8")
    except UnicodeDecodeError as error:
        raise Fault(400, f"The body is not UTF-8 text: {error}.") from error


def decode_json(body: bytes | str) -> Any:
    """Any JSON value."""
    try:
        return _any_decoder.decode(body)
    except RecursionError as error:
        raise Fault(400, "The JSON body is nested too deeply.") from error
    except msgspec.DecodeError:
        try:
            return json.loads(text_of(body))  # NaN and Infinity, and Python's own words for what is wrong
        except (json.JSONDecodeError, RecursionError) as error:
            raise Fault(400, f"The body is not JSON: {error}.") from error


def decode_json_lines(body: bytes | str) -> list[Any]:
    """One JSON value a line; empty lines are skipped."""
    values = []
    for number, line in enumerate(text_of(body).splitlines(), 1):
        if line.strip():
            try:
                values.append(decode_json(line))
            except Fault as fault:
                raise Fault(400, f"Line {number} of the JSON Lines body is wrong. {fault}") from fault
    if not values:
        raise Fault(400, "The JSON Lines body is empty.")
    return values


def decode_number_rows(body: bytes | str) -> list[list[float]] | None:
    """`[[1, 2], [3, 4]]` the quick way; None when the body is anything else."""
    try:
        return _rows_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def decode_number_array(body: bytes | str) -> NDArray[np.float64] | None:
    """`[[1, 2], [3, 4]]` as an array, at half the cost of a list; None when the body is anything else.

    simdjson hands out all numbers of a document one after the other: where its brackets are must be looked at apart.
    """
    import numpy as np

    try:
        rows = _parser(len(body)).parse(body)
        flat = np.frombuffer(rows.as_buffer(of_type="d"), np.float64)
        count = len(rows)
        if not flat.size or not _has_brackets(body, count + 1):
            return None
        if count > 1 and len({len(row) for row in rows}) > 1:
            return None
    except (ValueError, TypeError, AttributeError, RuntimeError, MemoryError):
        return None  # not such rows; what is wrong, others say
    return flat.reshape(count, -1)


def _has_brackets(body: bytes | str, count: int) -> bool:
    """Whether exactly so many arrays begin in it. Finding the few of one row is quicker than counting."""
    bracket: Any = "[" if isinstance(body, str) else b"["
    if count > 2:
        return body.count(bracket) == count
    place = -1
    for _ in range(count):
        place = body.find(bracket, place + 1)
        if place < 0:
            return False
    return body.find(bracket, place + 1) < 0


def _parser(size_bytes: int) -> Any:
    """A parser for this thread. It keeps the memory of the largest document, so large ones get one of their own."""
    import simdjson

    if size_bytes > _LARGE_BYTES:
        return simdjson.Parser()
    parser = getattr(_of_thread, "parser", None)
    if parser is None:
        parser = _of_thread.parser = simdjson.Parser()
    return parser


def decode_csv(body: bytes | str) -> list[list[float]]:
    """Rows of numbers."""
    if not isinstance(body, str):
        # JSON's number parser is the quickest at hand; what it does not take (`.5`, `+1`, empty fields) is read below.
        stripped = body.strip()
        if stripped and b"]" not in stripped:
            rows = decode_number_rows(b"[[" + stripped.replace(b"\r\n", b"\n").replace(b"\n", b"],[") + b"]]")
            if rows is not None and all(len(row) == len(rows[0]) > 0 for row in rows):
                return rows
    return [_numbers(number, row) for number, row in enumerate(decode_csv_fields(body), 1)]


def decode_csv_fields(body: bytes | str) -> list[list[str]]:
    """Rows of fields as text, all of one length."""
    try:
        rows = [row for row in csv.reader(io.StringIO(text_of(body), newline="")) if row]
    except csv.Error as error:
        raise Fault(400, f"The body is not CSV: {error}.") from error
    if not rows:
        raise Fault(400, "The CSV body is empty.")
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise Fault(400, f"Row {number} of the CSV body has {len(row)} fields, row 1 has {len(rows[0])}.")
    return rows


def _numbers(number: int, row: list[str]) -> list[float]:
    values = []
    for column, field in enumerate(row, 1):
        try:
            values.append(float(field) if field.strip() else float("nan"))
        except ValueError as error:
            hint = " The body must hold no header." if number == 1 else ""
            raise Fault(400, f"Row {number}, column {column} of the CSV body is no number: {field!r}.{hint}") from error
    return values


def decode_npy(body: bytes) -> NDArray[Any]:
    """One array."""
    import numpy as np

    try:
        return np.asarray(np.load(io.BytesIO(body), allow_pickle=False))
    except (ValueError, EOFError, OSError) as error:
        raise Fault(400, f"The body is not an NPY array (without pickled objects): {error}.") from error


def decode_npz(body: bytes) -> Any:
    """Arrays by name; a matrix saved by `scipy.sparse.save_npz` as such."""
    import zipfile

    import numpy as np

    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as archive:
            if "format" in archive.files and "shape" in archive.files:
                return require("scipy.sparse").load_npz(io.BytesIO(body))
            return {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, AttributeError) as error:
        raise Fault(400, f"The body is not an NPZ archive of arrays (without pickled objects): {error}.") from error


def to_array(values: Any, dtype: Any = None) -> NDArray[Any]:
    """Nested lists to an array. Fault 400 when they are ragged or hold what `dtype` cannot."""
    import numpy as np

    try:
        array = np.asarray(values, dtype=dtype)
    except (ValueError, TypeError, OverflowError) as error:
        raise Fault(400, f"The body does not hold an array of numbers with rows of one length: {error}.") from error
    if dtype is not None and array.dtype.kind == "f" and array.dtype.itemsize > 8:
        return array.astype(np.float64)
    return array


def decode(body: bytes | str, content_type: str, dtype: Any = None) -> Any:
    """The toolkits' stock decoder: an array for JSON, CSV, NPY; arrays by name, or a sparse matrix, for NPZ."""
    kind = media.base(content_type)
    if kind == media.JSON:
        array = decode_number_array(body)
        return to_array(decode_json(body) if array is None else array, dtype)
    if kind == media.CSV:
        return to_array(decode_csv(body), dtype)
    if kind == media.JSON_LINES:
        return to_array(decode_json_lines(body), dtype)
    raw = body.encode() if isinstance(body, str) else body
    if kind == media.NPY:
        array = decode_npy(raw)
        return array if dtype is None else array.astype(dtype)
    if kind == media.NPZ:
        return decode_npz(raw)
    raise media.unsupported(content_type, STOCK_INPUTS)


def plain_value(value: Any) -> Any:
    """What JSON knows, for an object that it does not: arrays, tensors, numpy's scalars, data frames."""
    tolist = getattr(value, "detach", None)  # a torch tensor may be on a device and carry a gradient
    if tolist is not None:
        value = value.detach().cpu()
    for method in ("tolist", "to_dict", "item"):
        convert = getattr(value, method, None)
        if convert is not None:
            return convert(orient="records") if method == "to_dict" and hasattr(value, "columns") else convert()
    raise TypeError(f"a {type(value).__module__}.{type(value).__qualname__} cannot be written as JSON")


_encoder = msgspec.json.Encoder(enc_hook=plain_value)


def encode_json(value: Any) -> bytes:
    """A value as JSON. TypeError, ValueError or RecursionError when it cannot be written."""
    text = _encoder.encode(value)
    if b"null" in text:  # either None, or a NaN that `json` would have named
        return json.dumps(value, default=plain_value).encode()
    return text


def encode_csv(value: Any) -> bytes:
    """A scalar, a list or rows of them: one line a row (numpy.savetxt's layout)."""
    value = value if isinstance(value, (list, tuple, str, int, float)) else plain_value(value)
    rows = value if isinstance(value, (list, tuple)) else [value]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows(_flat(row) if isinstance(row, (list, tuple)) else [row] for row in rows)
    return out.getvalue().encode()


def _flat(row: Any) -> list[Any]:
    flat: list[Any] = []
    for value in row:
        flat.extend(_flat(value) if isinstance(value, (list, tuple)) else [value])
    return flat


def encode_json_lines(value: Any) -> bytes:
    """One JSON value a line: a list's items, or the one value."""
    if not isinstance(value, (list, tuple, dict, str)) and hasattr(value, "tolist"):
        value = plain_value(value)
    items = value if isinstance(value, (list, tuple)) else [value]
    return b"".join(encode_json(item) + b"\n" for item in items)


def encode_npy(value: Any) -> bytes:
    """One array. TypeError when it would have to be pickled."""
    import numpy as np

    array: np.ndarray[Any, Any] = np.asarray(plain_value(value) if hasattr(value, "detach") else value)
    if array.dtype.hasobject:
        raise TypeError("the answer is not an array of numbers or text, so it cannot be written as NPY")
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()


_ENCODERS = {
    media.JSON: encode_json,
    media.CSV: encode_csv,
    media.JSON_LINES: encode_json_lines,
    media.NPY: encode_npy,
}


def encode(value: Any, content_type: str) -> bytes:
    """The toolkits' stock encoder, for one of STOCK_OUTPUTS.

    Raises Fault 406 for another type, 500 for a value that cannot be written.
    """
    encoder = _ENCODERS.get(media.base(content_type))
    if encoder is None:
        raise Fault(
            406, f"The model's answer cannot be written as {content_type!r}. Possible: {', '.join(STOCK_OUTPUTS)}."
        )
    try:
        return encoder(value)
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise Fault(
            500,
            f"The model's answer, a {type(value).__qualname__}, cannot be written as {content_type}: {error}. Return "
            "numbers, text, lists, dicts or arrays, or write an output_fn.",
        ) from error
