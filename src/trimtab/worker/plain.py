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
from trimtab.worker.models.model import Model


class PlainModel:
    """Serves requests by a Model."""

    def __init__(self, model: Model, accept: str) -> None:
        self._model = model
        self._accept = accept
        self._run = model.run
        self._quick = accept == media.JSON and not model.takes_text

    def warm(self) -> None:
        """The model's own warm-up."""
        self._model.warm()

    def answer(self, body: bytes, meta: RequestMeta) -> Answer:
        """Decode, predict, encode. Raises Fault 400, 406 or 415 for what is the caller's."""
        accept = meta.accept
        if self._quick and (not accept or accept == media.ANY or accept == media.JSON):
            # The benchmark's path: numbers in JSON or CSV, JSON out.
            kind = meta.content_type
            rows: Any = None
            if kind == media.JSON or not kind:
                rows = codecs.decode_number_rows(body)
            elif kind == media.CSV:
                rows = codecs.decode_csv(body)
            if rows is not None:
                return self._json(self._run(rows), ""), media.JSON, ""
        chosen = media.negotiate(accept, codecs.STOCK_OUTPUTS, self._accept)
        value, form = self._decode(body, meta.content_type)
        return self._encode(self._run(value), form, chosen), chosen, ""

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
