"""What a served model must offer to be asked in batches; and how a batch that fails is taken apart."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol

from trimtab.wire.frames import RequestMeta
from trimtab.worker.answers import Answer, Fault, Streamed


class Prepared:
    """A request that is decoded. Requests of equal `key` may be predicted together; None: only alone."""

    __slots__ = ("accept", "context", "form", "key", "rows", "size_bytes", "value")

    def __init__(self, value: Any, key: Hashable, rows: int, size_bytes: int, accept: str, form: str = "") -> None:
        self.value = value
        self.key = key
        self.rows = rows  # of the batch's bound that it takes up
        self.size_bytes = size_bytes
        self.accept = accept
        self.form = form
        self.context: Any = None


class Inseparable(Exception):
    """The model's answer to a batch cannot be divided among its requests: they must be asked one by one."""


class WrongCount(Fault):
    """predict_batch_fn returned something other than one prediction for each input. All requests fail by it."""


class Batchable(Protocol):
    """A model that can be asked for several requests at once."""

    apart: bool
    """`prepare` and `finish` may run in another thread while the model computes: they run none of its own code."""

    def prepare(self, body: bytes, meta: RequestMeta) -> Prepared:
        """Decode one request. Raises Fault, or what the model's code raises."""
        ...

    def predict(self, many: Sequence[Prepared]) -> Sequence[Any]:
        """One result for each, in their order. Raises Inseparable, WrongCount, or whatever the model raises."""
        ...

    def finish(self, one: Prepared, result: Any) -> Answer | Streamed:
        """Encode one result."""
        ...

    def answer_alone(self, body: bytes, meta: RequestMeta) -> Answer | Streamed:
        """The three in one, for one request. Raises Fault, or what the model's code raises."""
        ...

    def fault_of(self, error: BaseException) -> Fault:
        """What is answered when the model's code raises."""
        ...


class Failed:
    """In place of a result: why there is none."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


def results(
    predict: Callable[[Sequence[Prepared]], Sequence[Any]],
    many: Sequence[Prepared],
    on_failure: Callable[[BaseException], None],
) -> list[Any]:
    """A result or a Failed for each of `many`. `on_failure` is told when a batch of several raised.

    A batch that raises is asked again in halves until only those fail that fail alone: at most 2n - 1 calls for n
    requests. One whose answer cannot be divided is asked one by one. A wrong count of predictions is the script's
    mistake in every request alike: asking again would not mend it.
    """
    try:
        return list(predict(many))
    except WrongCount as error:
        return [Failed(error)] * len(many)
    except BaseException as error:  # noqa: BLE001 whatever the model raises, sys.exit too, fails requests alone
        if len(many) == 1:
            return [Failed(error)]
        on_failure(error)
        if isinstance(error, Inseparable):
            parts = [[one] for one in many]
        else:
            half = len(many) // 2
            parts = [list(many[:half]), list(many[half:])]
    return [result for part in parts for result in results(predict, part, on_failure)]
