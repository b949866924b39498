"""The XGBoost container (sagemaker-xgboost-container): with a script, and as the built-in algorithm without one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from trimtab.wire.frames import RequestMeta
from trimtab.worker import codecs, media
from trimtab.worker.answers import Answer, Fault
from trimtab.worker.batchable import Batchable, Inseparable, Prepared
from trimtab.worker.failures import require
from trimtab.worker.faults import fault_of
from trimtab.worker.flavors.stock import StockDefaults
from trimtab.worker.models.boosters import XgboostModel

_INPUTS = (media.CSV, media.LIBSVM, media.JSON, media.JSON_LINES, media.NPY, media.NPZ)
_OUTPUTS = (media.CSV, media.JSON, media.JSON_LINES)


class XgboostDefaults(StockDefaults):
    """A script must bring model_fn; bodies become a DMatrix, and the booster predicts."""

    flavor = "XGBoost"
    modules: tuple[str, ...] = ("numpy", "xgboost")

    def input_fn(self, input_data: Any, content_type: str) -> Any:
        """A DMatrix of CSV, libsvm, JSON, NPY or NPZ."""
        return require("xgboost").DMatrix(rows_of(input_data, content_type))

    def predict_fn(self, data: Any, model: Any) -> Any:
        """`model.predict(data, validate_features=False)`."""
        return model.predict(data, validate_features=False)


class BuiltInAlgorithm:
    """No script: scores as one line of CSV, or `{"predictions": [{"score": ...}]}` where JSON is accepted."""

    def __init__(self, model: XgboostModel, accept: str) -> None:
        self._model = model
        self._accept = accept

    def warm(self) -> None:
        """Predict one row of zeros."""
        self._model.warm()

    def answer(self, body: bytes, meta: RequestMeta) -> Answer:
        """Predict. Raises Fault 400, 406 or 415 for what is the caller's."""
        accept = media.negotiate(meta.accept, _OUTPUTS, self._accept)
        if not len(body):
            return b"", accept, ""
        return self._encode(self._model.run(rows_of(body, meta.content_type or media.CSV))[0].tolist(), accept)

    def _encode(self, scores: list[Any], accept: str) -> Answer:
        if accept == media.CSV:
            return ",".join(map(_csv_field, scores)).encode(), accept, ""
        items = [{"score": score} for score in scores]
        if accept == media.JSON_LINES:
            return codecs.encode_json_lines(items), accept, ""
        return codecs.encode_json({"predictions": items}), accept, ""

    # In batches (worker/batchable.py)

    apart = True

    def in_batches(self) -> Batchable | str:
        """See `Served.in_batches`."""
        return self

    def prepare(self, body: bytes, meta: RequestMeta) -> Prepared:
        """Decode. Dense rows can be joined; sparse ones, and an empty body, are predicted alone."""
        accept = media.negotiate(meta.accept, _OUTPUTS, self._accept)
        if not len(body):
            return Prepared(None, None, 1, 0, accept)
        rows = rows_of(body, meta.content_type or media.CSV)
        feed = self._model.feed(rows)
        if feed is None:
            return Prepared(rows, None, int(rows.shape[0]), len(body), accept)
        return Prepared(feed[""], "rows", int(feed[""].shape[0]), int(feed[""].nbytes), accept)

    def predict(self, many: Sequence[Prepared]) -> Sequence[Any]:
        """Each request's scores."""
        import numpy as np

        if len(many) == 1:
            rows = many[0].value
            return [[] if rows is None else self._model.predict(rows).tolist()]
        scores = self._model.predict(np.concatenate([one.value for one in many])).tolist()
        ends = list(accumulate(one.rows for one in many))
        if len(scores) != ends[-1]:
            raise Inseparable(f"the booster answered {len(scores)} scores for {ends[-1]} rows")
        return [scores[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def finish(self, one: Prepared, result: Any) -> Answer:
        """Write one request's scores."""
        return (b"", one.accept, "") if one.value is None else self._encode(result, one.accept)

    def answer_alone(self, body: bytes, meta: RequestMeta) -> Answer:
        """As without batching."""
        return self.answer(body, meta)

    def fault_of(self, error: BaseException) -> Fault:
        """HTTP 500, message and traceback."""
        return fault_of(error)


def rows_of(body: bytes | str, content_type: str) -> Any:
    """A float32 array, or a sparse matrix for libsvm and NPZ. Raises Fault 400 or 415."""
    if media.base(content_type) == media.LIBSVM:
        return decode_libsvm(body)
    if media.base(content_type) not in _INPUTS:
        raise media.unsupported(content_type, _INPUTS)
    array = codecs.decode(body, content_type, "float32")
    return array.reshape(1, -1) if getattr(array, "ndim", 2) == 1 else array


def decode_libsvm(body: bytes | str) -> Any:
    """`[label] index:value ...` lines, indices from 0, as a sparse matrix. Labels are not looked at."""
    values: list[float] = []
    columns: list[int] = []
    starts = [0]
    for number, line in enumerate(codecs.text_of(body).splitlines(), 1):
        fields = line.partition("#")[0].split()
        if not fields:
            continue
        for field in fields if ":" in fields[0] else fields[1:]:
            index, _, value = field.partition(":")
            try:
                columns.append(int(index))
                values.append(float(value))
            except ValueError as error:
                raise Fault(400, f"Line {number} of the libsvm body is wrong: {field!r} is not index:value.") from error
        starts.append(len(values))
    if len(starts) == 1 or any(column < 0 for column in columns):
        raise Fault(400, "The libsvm body is empty, or has an index below 0.")
    return require("scipy.sparse").csr_matrix(
        (values, columns, starts), shape=(len(starts) - 1, max(columns, default=0) + 1)
    )


def _csv_field(score: Any) -> str:
    return ",".join(map(str, score)) if isinstance(score, list) else str(score)
