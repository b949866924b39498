"""Scripts that are asked in batches: input_fn and output_fn for each request, predict_batch_fn for all together.

All of it runs in the main thread: a script's functions were written for one thread (a tokenizer, for one, refuses two).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from trimtab.wire.frames import RequestMeta
from trimtab.worker import tracing
from trimtab.worker.answers import Answer, Fault, Streamed
from trimtab.worker.batchable import Prepared, WrongCount
from trimtab.worker.context import Context

if TYPE_CHECKING:
    from trimtab.worker.handlers import HandledModel


class HandledBatches:
    """A HandledModel whose script has predict_batch_fn. A request counts as one, whatever is in it.

    A request's trace is the current one while its own functions run; predict_batch_fn has one only if all its requests
    belong to it.
    """

    apart = False

    def __init__(self, handled: HandledModel) -> None:
        self._handled = handled

    def prepare(self, body: bytes, meta: RequestMeta) -> Prepared:
        """input_fn."""
        context = self._handled.context_of(meta)
        with traced(meta.trace):
            value = self._handled.decode(body, meta, context)
        return Prepared((value, meta, context), kind_of(value), 1, len(body), meta.accept)

    def predict(self, many: Sequence[Prepared]) -> Sequence[Any]:
        """predict_batch_fn."""
        inputs = [one.value[0] for one in many]
        contexts = [one.value[2] for one in many if one.value[2] is not None]
        traces = {one.value[1].trace for one in many}
        with traced(traces.pop() if len(traces) == 1 else ""):
            return self._handled.predict_many(inputs, Context.joined(contexts) if contexts else None)

    def finish(self, one: Prepared, result: Any) -> Answer | Streamed:
        """output_fn."""
        _, meta, context = one.value
        with traced(meta.trace):
            answer = self._handled.encode(result, meta, context)
        if meta.trace and isinstance(answer, Streamed):
            return Streamed(tracing.within(meta.trace, answer.chunks), answer.head)
        return answer

    def answer_alone(self, body: bytes, meta: RequestMeta) -> Answer | Streamed:
        """input_fn, predict_batch_fn with a list of one, output_fn."""
        try:
            one = self.prepare(body, meta)
            return self.finish(one, self.predict([one])[0])
        except BaseException as error:  # sys.exit too: it is answered as the container would
            raise self.fault_of(error) from error

    def fault_of(self, error: BaseException) -> Fault:
        """What the flavor's container answers."""
        return self._handled.fault_of(error)


def traced(trace: str) -> AbstractContextManager[None]:
    """`trace` as the current one; nothing where there is none."""
    return tracing.current(trace) if trace else nullcontext()


def kind_of(value: Any) -> Hashable:
    """Which inputs may be in one list: arrays and tensors of one type, dtype and shape, so that they can be stacked,
    and dicts of such; anything else with anything else.
    """
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if dtype is not None and isinstance(shape, tuple):
        return type(value).__name__, str(dtype), tuple(shape)
    if isinstance(value, dict) and value:
        kinds = [(str(name), kind_of(item)) for name, item in value.items() if hasattr(item, "dtype")]
        return ("dict", *sorted(kinds, key=str)) if kinds else "any"
    return "any"


def one_for_each(predictions: Any, count: int) -> Sequence[Any]:
    """`predictions` if they are `count` in a sequence. Raises WrongCount that says what they are instead."""
    must = f"It must return one prediction for each of its inputs, in their order: here {count}."
    kind = type(predictions).__name__
    if hasattr(predictions, "columns"):
        raise WrongCount(500, f"predict_batch_fn returned a {kind}, which iterates over its columns. {must}")
    if isinstance(predictions, (str, bytes, dict, set, Iterator)) or not hasattr(predictions, "__getitem__"):
        raise WrongCount(500, f"predict_batch_fn returned a {kind}, which is no list of predictions. {must}")
    try:
        have = len(predictions)
    except TypeError:
        raise WrongCount(500, f"predict_batch_fn returned a {kind} that has no length. {must}") from None
    if have != count:
        raise WrongCount(500, f"predict_batch_fn returned {have} predictions (a {kind}) for {count} inputs. {must}")
    listed = list(predictions)
    if len(listed) != count:
        raise WrongCount(500, f"predict_batch_fn returned a {kind} of length {count} with {len(listed)} items. {must}")
    return listed
