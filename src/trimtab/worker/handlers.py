"""A model served through handler functions: the script's own, and its flavor's where the script leaves them out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from trimtab.wire.frames import RequestMeta
from trimtab.worker import codecs, media, tracing
from trimtab.worker.answers import Answer, Buffer, Fault, Streamed
from trimtab.worker.batchable import Batchable
from trimtab.worker.context import CUSTOM_ATTRIBUTES, Context
from trimtab.worker.handled_batches import HandledBatches, one_for_each
from trimtab.worker.script import Function
from trimtab.worker.tensor_batches import TensorBatches

_AS_TEXT = frozenset({media.JSON, media.CSV})  # the toolkits hand these to handlers as str


class Defaults(Protocol):
    """What a container does where the script leaves a handler out."""

    accept: str  # answered when the caller does not care
    joins_rows: bool  # input_fn makes tensors and predict_fn asks the model: rows of several requests can be joined
    modules: tuple[str, ...]  # imported before loading

    def model_fn(self, model_dir: str) -> Any:
        """Load the artifact. Raises StartFailed where the container insists on the script's own."""
        ...

    def input_fn(self, input_data: Any, content_type: str) -> Any:
        """Decode a body."""
        ...

    def predict_fn(self, data: Any, model: Any) -> Any:
        """Ask the model."""
        ...

    def output_fn(self, prediction: Any, accept: str) -> Any:
        """Encode an answer; returns it with its content type."""
        ...

    def fault_of(self, error: BaseException) -> Fault:
        """What the container answers when a handler raises."""
        ...


class HandledModel:
    """Serves requests through handlers."""

    def __init__(
        self, handlers: Mapping[str, Function], defaults: Defaults, model_dir: Path, system_properties: dict[str, Any]
    ) -> None:
        self._model_dir = str(model_dir)
        self._system_properties = system_properties
        self.fault_of = defaults.fault_of
        self._accept = defaults.accept
        self._input = handlers.get("input_fn") or Function(defaults.input_fn)
        self.predict_batch = handlers.get("predict_batch_fn")
        self._predict = handlers.get("predict_fn") or Function(defaults.predict_fn)
        if self.predict_batch is not None and "predict_fn" not in handlers:
            self._predict = Function(lambda data, model, context: self.predict_many([data], context)[0], True)
        self._output = handlers.get("output_fn") or Function(defaults.output_fn)
        self._encodes_itself = "output_fn" in handlers
        self._transform = handlers.get("transform_fn")
        self._joins_rows = defaults.joins_rows and not handlers.keys() & {"input_fn", "predict_fn", "transform_fn"}
        self._load = handlers.get("model_fn") or Function(defaults.model_fn)
        self._before_load = handlers.get("pre_model_fn")
        self._warmup = handlers.get("model_warmup_fn")
        self._takes_context = any(function.takes_context for function in handlers.values())
        self._model: Any = None

    def load(self) -> None:
        """pre_model_fn, then model_fn. Raises what they raise."""
        context = self._context(RequestMeta())
        if self._before_load is not None:
            self._before_load(self._model_dir, context=context)
        self._model = self._load(self._model_dir, context=context)

    def warm(self) -> None:
        """model_warmup_fn, if the script has one."""
        if self._warmup is not None:
            self._warmup(self._model_dir, self._model, context=self._context(RequestMeta()))

    def answer(self, body: bytes, meta: RequestMeta) -> Answer | Streamed:
        """Run the handlers for one request. Every exception of theirs comes out as the Fault of the flavor."""
        context = self.context_of(meta)
        try:
            if meta.trace:
                return self._traced(body, meta, context)
            return self._answer(body, meta, context)
        except BaseException as error:  # sys.exit too: it is answered as the container would
            raise self.fault_of(error) from error

    def _traced(self, body: bytes, meta: RequestMeta, context: Context | None) -> Answer | Streamed:
        with tracing.current(meta.trace):
            result = self._answer(body, meta, context)
        return result if isinstance(result, tuple) else Streamed(tracing.within(meta.trace, result.chunks), result.head)

    def _answer(self, body: bytes, meta: RequestMeta, context: Context | None) -> Answer | Streamed:
        if self._transform is None:
            data = self.decode(body, meta, context)
            return self.encode(self.predict_one(data, context), meta, context)
        data, content_type = _given(body, meta)
        accept = self._accepted(meta)
        return self._finish(self._transform(self._model, data, content_type, accept, context=context), accept, context)

    def decode(self, body: bytes, meta: RequestMeta, context: Context | None) -> Any:
        """input_fn."""
        data, content_type = _given(body, meta)
        return self._input(data, content_type, context=context)

    def predict_many(self, inputs: list[Any], context: Context | None) -> Sequence[Any]:
        """predict_batch_fn, and a look at what it returns. Raises WrongCount, or what it raises."""
        assert self.predict_batch is not None
        return one_for_each(self.predict_batch(inputs, self._model, context=context), len(inputs))

    def predict_one(self, data: Any, context: Context | None = None) -> Any:
        """predict_fn."""
        return self._predict(data, self._model, context=context)

    def encode(self, prediction: Any, meta: RequestMeta, context: Context | None) -> Answer | Streamed:
        """output_fn, or the stream that a handler has begun."""
        accept = self._accepted(meta)
        if _is_stream(prediction) and not self._encodes_itself:
            return self._finish(prediction, accept, context)
        return self._finish(self._output(prediction, accept, context=context), accept, context)

    def _accepted(self, meta: RequestMeta) -> str:
        return meta.accept if meta.accept and meta.accept != media.ANY else self._accept

    def _finish(self, result: Any, content_type: str, context: Context | None) -> Answer | Streamed:
        if isinstance(result, tuple) and len(result) == 2:
            result, content_type = result[0], str(result[1])
        if _is_stream(result):
            return Streamed(
                _pieces(result, self.fault_of), lambda: _head(content_type.partition(",")[0].strip(), context)
            )
        body, content_type = _body(result, content_type)
        content_type, attributes = _head(content_type, context)
        if context is not None:
            status, _ = context.get_response_status()
            if status >= 400:
                raise Fault(status, "", body=body, content_type=content_type, custom_attributes=attributes)
        return body, content_type, attributes

    def context_of(self, meta: RequestMeta) -> Context | None:
        """The context of one request; None where no handler takes it."""
        return self._context(meta) if self._takes_context else None

    def in_batches(self) -> Batchable | str:
        """See `Served.in_batches`."""
        if self.predict_batch is None and self._joins_rows:
            return TensorBatches(self)
        if self.predict_batch is None:
            return "its handlers take one request; define predict_batch_fn(inputs, model) in the script"
        return HandledBatches(self)

    def _context(self, meta: RequestMeta) -> Context:
        return Context(meta, self._system_properties, "model")


def _given(body: bytes, meta: RequestMeta) -> tuple[Any, str]:
    """What handlers are given of a request: the body, as text where the toolkits decode it, and its type."""
    content_type = meta.content_type or media.JSON
    return codecs.text_of(body) if media.base(content_type) in _AS_TEXT else body, content_type


def _head(content_type: str, context: Context | None) -> tuple[str, str]:
    """Content type and custom attributes, of which a handler may have set others."""
    if context is None:
        return content_type, ""
    processor = context.request_processor[0]
    return (
        str(processor.get_response_header("Content-Type") or content_type),  # whatever the script has set
        str(processor.get_response_header(CUSTOM_ATTRIBUTES) or ""),
    )


def _body(result: Any, content_type: str) -> tuple[Buffer, str]:
    """What an output_fn returned, as bytes; arrays, lists and dicts are written in the type that is wanted."""
    if isinstance(result, str):
        return result.encode(), content_type
    if isinstance(result, (bytes, bytearray)):
        return result, content_type
    if isinstance(result, memoryview):
        return bytes(result), content_type
    if result is None:
        raise Fault(
            500, "The model's handlers returned None: output_fn (or transform_fn) must return the answer's body."
        )
    if inspect.isawaitable(result):
        raise Fault(500, "The model's handlers returned an awaitable: SageMaker calls them as plain functions.")
    chosen = media.negotiate(content_type, codecs.STOCK_OUTPUTS, media.JSON)
    return codecs.encode(result, chosen), chosen


def _is_stream(result: Any) -> bool:
    """Iterators stream; lists, arrays and text do not."""
    return isinstance(result, Iterator)


def _pieces(chunks: Iterator[Any], fault_of: Callable[[BaseException], Fault]) -> Iterator[bytes]:
    """Text as UTF-8, bytes as they are, anything else as a line of JSON. Closes `chunks` when it is closed."""
    try:
        for chunk in chunks:
            if isinstance(chunk, str):
                yield chunk.encode()
            elif isinstance(chunk, (bytes, bytearray, memoryview)):
                yield bytes(chunk)
            else:
                yield codecs.encode(chunk, media.JSON) + b"\n"
    except Exception as error:
        raise fault_of(error) from error
    finally:
        if close := getattr(chunks, "close", None):
            close()
