"""A model served without a script: bodies in, arrays through, bodies out.

JSON in three forms, each with its own answer:
    [[1, 2], [3, 4]] (or one flat row, or rows as objects)  ->  [...]             one output: its values
                                                                {"name": [...]}   several: by name
    {"instances": [row, ...]}                               ->  {"predictions": [...]}: one item a row
    {"inputs": rows, or {"name": rows, ...}}                ->  {"outputs": ...}: one output, or several by name
An object with none of these keys names the inputs themselves. JSON Lines: a row a line, an item a line. CSV: rows, and
the outputs' columns side by side. NPY: one array; NPZ: arrays by input name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trimtab.wire.frames import RequestMeta
from trimtab.worker import codecs, media
from trimtab.worker.answers import Answer, Fault
from trimtab.worker.batchable import Batchable, Inseparable, Prepared
from trimtab.worker.faults import fault_of
from trimtab.worker.models.model import Feed, Model

_SHORT_BYTES = 1024  # up to here lists are made as quickly as an array is begun


class PlainModel:
    """Serves requests by a Model."""

    def __init__(self, model: Model, accept: str) -> None:
        self._model = model
        self._accept = accept
        self._run = model.run
        self._proof = model.proof
        self._quick = accept == media.JSON and not model.takes_text

    def warm(self) -> None:
        """The model's own warm-up."""
        self._model.warm()

    def answer(self, body: bytes, meta: RequestMeta) -> Answer:
        """Decode, predict, encode. Raises Fault 400, 406 or 415 for what is the caller's."""
        rows = self._quick_rows(body, meta)
        if rows is not None:
            return self._json(self._run(rows), ""), media.JSON, ""
        chosen = media.negotiate(meta.accept, codecs.STOCK_OUTPUTS, self._accept)
        value, form = self._decode(body, meta.content_type)
        return self._encode(self._run(value), form, chosen), chosen, ""

    def _quick_rows(self, body: bytes, meta: RequestMeta) -> Any:
        """The most frequent request, numbers in JSON or CSV and JSON out, decoded; None where it is another."""
        accept = meta.accept
        if self._quick and (not accept or accept == media.ANY or accept == media.JSON):
            kind = meta.content_type
            if kind == media.JSON or not kind:
                return codecs.decode_number_rows(body) if len(body) < _SHORT_BYTES else codecs.decode_number_array(body)
            if kind == media.CSV:
                return codecs.decode_csv(body)
        return None

    # In batches (worker/batchable.py)

    apart = True

    def in_batches(self) -> Batchable | str:
        """See `Served.in_batches`."""
        return self._model.refuses_rows or self

    def prepare(self, body: bytes, meta: RequestMeta) -> Prepared:
        """Decode a request to the arrays that the model takes; those of equal types and shapes can be joined."""
        form, chosen = "", media.JSON
        value = self._quick_rows(body, meta)
        if value is None:
            chosen = media.negotiate(meta.accept, codecs.STOCK_OUTPUTS, self._accept)
            value, form = self._decode(body, meta.content_type)
        feed = self._model.feed(value)
        rows = _common_rows(feed)
        if feed is None or not rows:
            return Prepared((None, value), None, rows or 1, len(body), chosen, form)
        key = tuple([(name, array.dtype, array.shape[1:]) for name, array in feed.items()])
        size_bytes = sum([array.nbytes for array in feed.values()])
        return Prepared((feed, None), key, rows, size_bytes, chosen, form)

    def predict(self, many: Sequence[Prepared]) -> Sequence[Sequence[Any]]:
        """Each request's outputs. Raises Inseparable where the model does not answer one row for each of its rows."""
        feed, value = many[0].value
        if len(many) == 1:
            return [self._run(value) if feed is None else self._model.ask(feed)]
        import numpy as np

        if (proof := self._proof) is not None and (refusal := proof.refusal(feed)):
            raise Inseparable(refusal)
        joined = {name: np.concatenate([one.value[0][name] for one in many]) for name in feed}
        rows = sum([one.rows for one in many])
        # Lists are quicker to cut than arrays, and are what JSON is written from.
        outputs = [_listed(value) if _all_json(many) else value for value in self._model.ask(joined)]
        for name, output in zip(self._model.outputs, outputs, strict=True):
            if (have := _row_count(output)) != rows:
                raise Inseparable(f"the model's output {name!r} has {have} rows for {rows} rows of input")
        cut, at = [], 0
        for one in many:
            cut.append([output[at : at + one.rows] for output in outputs])
            at += one.rows
        return cut

    def finish(self, one: Prepared, result: Sequence[Any]) -> Answer:
        """Write one request's outputs in its own form and type."""
        if one.accept == media.JSON:
            return self._json(result, one.form), media.JSON, ""
        return self._encode(result, one.form, one.accept), one.accept, ""

    def answer_alone(self, body: bytes, meta: RequestMeta) -> Answer:
        """As without batching."""
        return self.answer(body, meta)

    def fault_of(self, error: BaseException) -> Fault:
        """HTTP 500, message and traceback."""
        return fault_of(error)

    def _decode(self, body: bytes, content_type: str) -> tuple[Any, str]:
        """The value for the model, and the form of JSON that it came in ("", "instances" or "inputs")."""
        kind = media.base(content_type or media.JSON)
        if kind == media.JSON:
            value = codecs.decode_json(body)
            if not isinstance(value, (list, dict)):
                raise Fault(400, "The JSON body must be an array or an object, not a single value.")
            if isinstance(value, dict):
                for form in ("instances", "inputs"):
                    if form in value:
                        return _unwrapped(value[form], form), form
            return value, ""
        if kind == media.CSV:
            return (codecs.decode_csv_fields(body) if self._model.takes_text else codecs.decode_csv(body)), ""
        if kind == media.JSON_LINES:
            rows = codecs.decode_json_lines(body)
            return [_unwrapped(row, "features") if _has(row, "features") else row for row in rows], ""
        if kind == media.NPY:
            return codecs.decode_npy(body), ""
        if kind == media.NPZ:
            return codecs.decode_npz(body), ""
        raise media.unsupported(content_type, codecs.STOCK_INPUTS)

    def _encode(self, values: Sequence[Any], form: str, accept: str) -> bytes:
        if accept == media.JSON:
            return self._json(values, form)
        if accept == media.JSON_LINES:
            return codecs.encode_json_lines(_by_row(self._model.outputs, values))
        if accept == media.CSV:
            columns = [_rows(value) for value in values]
            return codecs.encode_csv(
                columns[0] if len(columns) == 1 else [list(row) for row in zip(*columns, strict=True)]
            )
        if len(values) > 1:
            raise Fault(
                406,
                f"NPY holds one array, and the model answers {', '.join(self._model.outputs)}. Set TRIMTAB_OUTPUTS to "
                "one of them, or accept JSON.",
            )
        return codecs.encode(values[0], accept)

    def _json(self, values: Sequence[Any], form: str) -> bytes:
        if form == "instances":
            return codecs.encode({"predictions": _by_row(self._model.outputs, values)}, media.JSON)
        whole: Any = _listed(values[0])
        if len(values) > 1:
            whole = dict(zip(self._model.outputs, map(_listed, values), strict=True))
        return codecs.encode({"outputs": whole} if form == "inputs" else whole, media.JSON)


def _all_json(many: Sequence[Prepared]) -> bool:
    """Whether every one of these is to be answered in JSON."""
    return all(one.accept == media.JSON for one in many)


def _common_rows(feed: Feed | None) -> int:
    """The rows that all arrays have; 0 where there are none, or not equally many."""
    rows = {array.shape[0] if array.ndim else 0 for array in feed.values()} if feed else {0}
    return rows.pop() if len(rows) == 1 else 0


def _row_count(value: Any) -> int:
    """Rows of an output; 0 where it has none."""
    shape = getattr(value, "shape", None)
    if shape is None:
        return len(value) if isinstance(value, list) else 0
    return int(shape[0]) if shape else 0


def _listed(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def _rows(value: Any) -> list[Any]:
    rows = _listed(value)
    return rows if isinstance(rows, list) else [rows]


def _by_row(names: Sequence[str], values: Sequence[Any]) -> list[Any]:
    """One item for each row: the value, or the values by name."""
    columns = [_rows(value) for value in values]
    if len(columns) == 1:
        return columns[0]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=False)]


def _has(row: Any, key: str) -> bool:
    return isinstance(row, dict) and row.keys() == {key}


def _unwrapped(value: Any, form: str) -> Any:
    """`instances` holds rows, which may each be wrapped in `features` (as built-in algorithms take them)."""
    if form == "instances":
        if not isinstance(value, list):
            raise Fault(400, '"instances" must be an array of rows.')
        return [row["features"] if _has(row, "features") else row for row in value]
    return value["features"] if form == "features" else value
