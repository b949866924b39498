"""TaskCall: a task's one call of a model, with the time limit that its sender chose."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from trimtab.consumer.spool import Spool
from trimtab.errors import TooLarge, TrimtabError
from trimtab.gateway.calls import Call
from trimtab.resources.asynchronous import MAX_INPUT_BYTES, AsyncTask
from trimtab.wire.frames import AnswerMeta


class TaskCall(Call):
    """`outcome` becomes the answer's head and its version, its body being in `answer`; or the error."""

    def __init__(self, task: AsyncTask, body: Sequence[bytes], size_bytes: int, answer: Spool) -> None:
        super().__init__(task.endpoint, body, size_bytes)
        self.content_type = task.content_type
        self.accept = task.accept
        self.custom_attributes = task.custom_attributes
        self.inference_id = task.inference_id
        self.target_model = task.target_model
        self.timeout_s = task.timeout_s
        self.answer = answer
        self.outcome: asyncio.Future[AnswerMeta] = asyncio.get_running_loop().create_future()

    def answered(self, meta: AnswerMeta, body: bytes) -> None:
        """The whole answer."""
        try:
            self.answer.write(body)
        except OSError as error:
            self._end(None, error)
            return
        self._end(meta, None)

    def failed(self, error: TrimtabError) -> None:
        """There is none."""
        self._end(None, error)

    def began(self, meta: AnswerMeta) -> None:
        """It comes in pieces."""
        self._meta = meta

    def received(self, data: bytes) -> None:
        """A piece goes to the spool."""
        if self.answer.size_bytes + len(data) > MAX_INPUT_BYTES:
            self._give_up(TooLarge("The answer is larger than 1 GiB.", limit_bytes=MAX_INPUT_BYTES))
            return
        try:
            self.answer.write(data)
        except OSError as error:
            self._end(None, error)
            self.cancel()
            return
        self.consumed(len(data))

    def _give_up(self, error: TrimtabError) -> None:
        if self.variant is not None:
            self.variant.give_up(self, error)

    def ended(self) -> None:
        """All pieces are there."""
        self._end(self._meta, None)

    def _end(self, meta: AnswerMeta | None, error: Exception | None) -> None:
        if self.outcome.done():
            return
        if meta is not None:
            self.outcome.set_result(meta)
        else:
            assert error is not None
            self.outcome.set_exception(error)

    @property
    def version(self) -> str:
        """The endpoint config of the replica that answered."""
        if self.lane is not None and self.lane.meter.version:
            return self.lane.meter.version
        return self.variant.route.version if self.variant is not None else ""
