"""ONNX models by onnxruntime.

Variables: OMP_NUM_THREADS or TRIMTAB_ONNX_THREADS (within one operator; default 1), TRIMTAB_ONNX_PROVIDERS (comma
separated; default: the GPU's where there is one, then the CPU's), TRIMTAB_ONNX_CONFIG (`key=value;...`, session
configuration entries as onnxruntime names them), TRIMTAB_OUTPUTS (comma separated: which outputs to answer).
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from trimtab.worker import codecs
from trimtab.worker.answers import Fault
from trimtab.worker.environment import thread_count
from trimtab.worker.failures import StartFailed, require
from trimtab.worker.models.model import Feed
from trimtab.worker.models.onnx_weights import LEAST_FILE_BYTES, referring
from trimtab.worker.models.rows import mixes_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CPU = "CPUExecutionProvider"
_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
_MAPS_FROM = (1, 21)  # the onnxruntime that knows this setting for a model in memory (its pull request 23557)
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int16)": "int16",
    "tensor(int8)": "int8",
    "tensor(uint64)": "uint64",
    "tensor(uint32)": "uint32",
    "tensor(uint16)": "uint16",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
    "tensor(string)": "object",
}


class _Input(Struct, frozen=True):
    name: str
    dtype: Any  # numpy dtype
    shape: tuple[int | None, ...]  # None = any; the model's rank

    def expected(self) -> str:
        return f"{self.name}: {self.dtype} of shape ({', '.join('any' if d is None else str(d) for d in self.shape)})"


class OnnxModel:
    """One session. Inputs are converted to the declared types; shapes are checked before the session sees them."""

    proof = None

    def __init__(self, path: Path, environment: Mapping[str, str]) -> None:
        runtime = require("onnxruntime")
        import numpy as np

        self.native = _session(runtime, path, environment, _providers(runtime, environment))
        self._inputs = tuple(_input(np, declared) for declared in self.native.get_inputs())
        self.outputs = _outputs([output.name for output in self.native.get_outputs()], environment)
        self._names = list(self.outputs)
        self.takes_text = any(item.dtype == np.dtype(object) for item in self._inputs)
        self._run = self.native.run
        self._invalid = tuple(
            getattr(runtime.capi.onnxruntime_pybind11_state, name) for name in ("InvalidArgument", "Fail")
        )
        # The common case, one table of numbers, without the general path's questions.
        only = self._inputs[0] if len(self._inputs) == 1 else None
        is_table = only is not None and len(only.shape) == 2 and only.shape[0] is None and only.dtype.kind == "f"
        self._table = only if is_table else None
        self._array_type, self._asarray = np.ndarray, np.asarray

    def warm(self) -> None:
        """Answer zeros once, where the inputs' shapes are known but for the number of rows."""
        feed = self._zeros()
        if feed is None:
            return
        try:
            self._run(self._names, feed)
        except self._invalid as error:
            print(f"trimtab: the model does not answer zeros, so it is not warm: {error}", flush=True)

    def _zeros(self) -> Feed | None:
        """One row of zeros; None where a row's shape is not known, or is of text."""
        import numpy as np

        if self.takes_text or any(d is None for item in self._inputs for d in item.shape[1:]):
            return None
        return {i.name: np.zeros([1 if d is None else d for d in i.shape], i.dtype) for i in self._inputs}

    @property
    def refuses_rows(self) -> str:
        """See `Model.refuses_rows`: by its shapes, and by what it makes of a few rows together and alone."""
        refusal = _refuses_rows(self._inputs, self.native, self.outputs)
        feed = None if refusal else self._zeros()
        if feed is None:
            return refusal
        try:
            return mixes_rows(feed, lambda rows: self._run(self._names, rows))
        except Exception:  # noqa: BLE001 it does not take what was drawn, and says so in many ways: requests will show
            return ""

    def run(self, value: Any) -> Sequence[Any]:
        """One value for each output; see `Model.run`."""
        return self.ask(self.feed(value))

    def feed(self, value: Any) -> Feed:
        """See `Model.feed`."""
        table, kind = self._table, type(value)
        if table is not None and (kind is list or kind is self._array_type):
            try:
                array = self._asarray(value, table.dtype)
            except (ValueError, TypeError, OverflowError):
                return self._feed(value)  # which says what is wrong
            if array.ndim == 2 and array.shape[1] == (table.shape[1] or array.shape[1]):
                return {table.name: array}
        return self._feed(value)

    def ask(self, feed: Feed) -> Sequence[Any]:
        """See `Model.ask`."""
        try:
            return self._run(self._names, feed)  # type: ignore[no-any-return]
        except self._invalid as error:
            raise Fault(400, f"The model does not take this input: {error}. It expects {self._expected()}.") from error

    def _feed(self, value: Any) -> dict[str, NDArray[Any]]:
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
            names = value[0].keys()
            if any(row.keys() != names for row in value):
                raise Fault(400, f"All rows must name the same inputs. The model expects {self._expected()}.")
            value = {name: [row[name] for row in value] for name in names}
        if isinstance(value, dict):
            return self._by_name(value)
        if len(self._inputs) == 1:
            return {self._inputs[0].name: self._fit(self._inputs[0], value)}
        return self._by_column(value)

    def _by_name(self, value: dict[str, Any]) -> dict[str, NDArray[Any]]:
        known = {item.name for item in self._inputs}
        if value.keys() != known:
            wrong = ", ".join(sorted(map(str, value.keys() ^ known)))
            raise Fault(400, f"Missing or unknown inputs: {wrong}. The model expects {self._expected()}.")
        return {item.name: self._fit(item, value[item.name]) for item in self._inputs}

    def _by_column(self, value: Any) -> dict[str, NDArray[Any]]:
        """A table for a model of several inputs: each takes as many columns as it is wide, in their order."""
        import numpy as np

        array: NDArray[Any] = np.asarray(codecs.to_array(value, object))
        array = array.reshape(1, -1) if array.ndim == 1 else array
        widths = [(item.shape[1] or 1) if len(item.shape) > 1 else 1 for item in self._inputs]
        if array.ndim != 2 or array.shape[1] != sum(widths):
            raise Fault(
                400,
                f"The model has {len(self._inputs)} inputs, {sum(widths)} columns in all; the body holds an array of "
                f"shape {array.shape}. It expects {self._expected()}.",
            )
        feed, at = {}, 0
        for item, width in zip(self._inputs, widths, strict=True):
            part = array[:, at : at + width]
            feed[item.name] = self._fit(item, part if len(item.shape) > 1 else part[:, 0])
            at += width
        return feed

    def _fit(self, item: _Input, value: Any) -> NDArray[Any]:
        """`value` as the array that this input takes; a missing batch (or, for columns, last) axis is added."""
        array = _typed(item, value)
        if array.ndim == len(item.shape) - 1:
            is_column = item.shape[-1] == 1 and array.ndim == 1
            array = array.reshape(-1, 1) if is_column else array[None]
        fits = array.ndim == len(item.shape) and all(
            d is None or d == have for d, have in zip(item.shape, array.shape, strict=True)
        )
        if not fits:
            raise Fault(400, f"The model expects {self._expected()}; the body holds an array of shape {array.shape}.")
        return array

    def _expected(self) -> str:
        return "; ".join(item.expected() for item in self._inputs)


def _refuses_rows(inputs: Sequence[_Input], session: Any, outputs: Sequence[str]) -> str:
    """Why the model cannot be given the rows of several requests at once; "" = it can, by its shapes."""
    for item in inputs:
        if not item.shape or item.shape[0] is not None:
            rows = f"exactly {item.shape[0]} row(s)" if item.shape else "no rows"
            return f"its input {item.name!r} takes {rows}; export the model with a dynamic first dimension"
    for output in session.get_outputs():
        shape = output.shape
        if output.name in outputs and output.type.startswith("tensor") and shape and isinstance(shape[0], int):
            return f"its output {output.name!r} always has {shape[0]} row(s), not one for each row of the input"
    return ""


def session_options(runtime: Any, environment: Mapping[str, str]) -> Any:
    """Options for a session that shares its machine: one thread, and none that spins while it waits."""
    options = runtime.SessionOptions()
    text = environment.get("TRIMTAB_ONNX_THREADS", "")
    options.intra_op_num_threads = int(text) if text.isdecimal() else thread_count(environment)
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3
    for entry in filter(None, environment.get("TRIMTAB_ONNX_CONFIG", "").split(";")):
        key, equals, setting = entry.partition("=")
        if not equals:
            raise StartFailed("ModelLoadFailed", f"TRIMTAB_ONNX_CONFIG is `key=value;...`; this is neither: {entry!r}.")
        options.add_session_config_entry(key.strip(), setting.strip())
    return options


def _session(runtime: Any, path: Path, environment: Mapping[str, str], providers: list[str]) -> Any:
    """A session of the file; of a large one, with its weights mapped where that can be (see `onnx_weights`)."""
    found = _referring(runtime, path) if providers == [_CPU] else None
    if found is not None:
        options = session_options(runtime, environment)
        options.add_session_config_entry(_WEIGHTS_FOLDER, str(path.parent))
        try:
            return runtime.InferenceSession(found, options, providers=providers)
        except Exception as error:  # noqa: BLE001 of many types; the file itself is loaded next, and says what it lacks
            print(f"trimtab: {path.name} is read whole, as its weights cannot be mapped: {error}", flush=True)
    return runtime.InferenceSession(str(path), session_options(runtime, environment), providers=providers)


def _referring(runtime: Any, path: Path) -> bytes | None:
    """The model without its weights; None where it is small, or where they cannot be mapped."""
    if path.stat().st_size < LEAST_FILE_BYTES or _version(runtime.__version__) < _MAPS_FROM:
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as content:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)  # mapped pages are read a few at a time
        with memoryview(content) as view:
            return referring(view, path.name)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdecimal())


def _providers(runtime: Any, environment: Mapping[str, str]) -> list[str]:
    available = runtime.get_available_providers()
    named = [name.strip() for name in environment.get("TRIMTAB_ONNX_PROVIDERS", "").split(",") if name.strip()]
    if unknown := [name for name in named if name not in available]:
        raise StartFailed(
            "RuntimeMissing",
            f"TRIMTAB_ONNX_PROVIDERS names {', '.join(unknown)}; this onnxruntime has {', '.join(available)}.",
        )
    has_gpu = bool(environment.get("CUDA_VISIBLE_DEVICES"))
    wanted = ["CUDAExecutionProvider"] if has_gpu and "CUDAExecutionProvider" in available else []
    return named or [*wanted, _CPU]


def _input(np: Any, declared: Any) -> _Input:
    dtype = _DTYPES.get(declared.type)
    if dtype is None:
        raise StartFailed(
            "ModelLoadFailed",
            f"The model's input {declared.name!r} is a {declared.type}, which cannot be sent without a script. Write "
            "an inference.py with an input_fn.",
        )
    shape = tuple(d if isinstance(d, int) else None for d in declared.shape)
    return _Input(declared.name, np.dtype(dtype), (None, *shape[1:]) if shape and not shape[0] else shape)


def _outputs(names: list[str], environment: Mapping[str, str]) -> tuple[str, ...]:
    wanted = [name.strip() for name in environment.get("TRIMTAB_OUTPUTS", "").split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in names]:
        raise StartFailed(
            "ModelLoadFailed",
            f"TRIMTAB_OUTPUTS names {', '.join(unknown)}; the model's outputs are {', '.join(names)}.",
        )
    return tuple(wanted or names)


def _typed(item: _Input, value: Any) -> NDArray[Any]:
    import numpy as np

    if item.dtype == np.dtype(object):
        return codecs.to_array(value, str).astype(object)
    array: NDArray[Any] = value if isinstance(value, np.ndarray) else codecs.to_array(value)
    if item.dtype.kind in "iub" and array.dtype.kind in "fO":
        numbers = codecs.to_array(array, np.float64)
        if not np.array_equal(numbers, np.trunc(numbers)):
            raise Fault(400, f"The input {item.name} takes whole numbers ({item.dtype}); the body holds others.")
        array = numbers
    return codecs.to_array(np.ascontiguousarray(array), item.dtype)
