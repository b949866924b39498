"""Models behind the PyTorch container's own input_fn and predict_fn: rows of several requests' tensors are joined.

What is asked in one piece must have come in rows: a tensor of one dimension goes alone, as it is. All of it runs in the
main thread; the module may be a script's.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from trimtab.wire.frames import RequestMeta
from trimtab.worker.batchable import Inseparable, Prepared
from trimtab.worker.handled_batches import HandledBatches, traced
from trimtab.worker.models.model import Feed
from trimtab.worker.models.rows import RowProof

if TYPE_CHECKING:
    from trimtab.worker.handlers import HandledModel


class TensorBatches(HandledBatches):
    """A HandledModel with default input_fn and predict_fn."""

    def __init__(self, handled: HandledModel) -> None:
        super().__init__(handled)
        self._proof = RowProof(self._asked)

    def prepare(self, body: bytes, meta: RequestMeta) -> Prepared:
        """Decode to a tensor; tensors of one dtype whose rows have one shape can be joined."""
        one = super().prepare(body, meta)
        tensor = one.value[0]
        one.key = _rows_of(tensor)
        if one.key is not None:
            one.rows, one.size_bytes = int(tensor.shape[0]), tensor.element_size() * tensor.nelement()
        return one

    def predict(self, many: Sequence[Prepared]) -> Sequence[Any]:
        """One forward pass. Raises Inseparable where it does not answer with one tensor, a row for each row."""
        tensors = [one.value[0] for one in many]
        if len(many) == 1:
            with traced(many[0].value[1].trace):
                return [self._handled.predict_one(tensors[0])]
        import torch

        if refusal := self._proof.refusal({"": tensors[0].cpu().numpy()}):
            raise Inseparable(refusal)
        answer = self._handled.predict_one(torch.cat(tensors))
        sizes = [one.rows for one in many]
        if not isinstance(answer, torch.Tensor):
            raise Inseparable(f"the model answers with a {type(answer).__name__}, not with one tensor")
        if answer.shape[:1] != (sum(sizes),):
            rows = answer.shape[0] if answer.dim() else "no"
            raise Inseparable(f"the model's answer has {rows} rows for {sum(sizes)} rows of input")
        return list(answer.split(sizes))

    def _asked(self, feed: Feed) -> Sequence[Any]:
        import torch

        answer = self._handled.predict_one(torch.as_tensor(feed[""]))
        return [answer.detach().cpu().numpy()] if isinstance(answer, torch.Tensor) else []


def _rows_of(tensor: Any) -> Hashable:
    shape = getattr(tensor, "shape", None)
    if shape is None or len(shape) < 2 or not shape[0]:
        return None
    return str(tensor.dtype), tuple(shape[1:])
