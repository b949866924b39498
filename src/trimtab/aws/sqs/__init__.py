"""SQS: queues of the user's own, on trimtab's durable queues. Answered when it is on the disk."""

from __future__ import annotations

from trimtab.aws.paging import Pager
from trimtab.aws.registry import OperationHandler, handlers_of, merge
from trimtab.aws.sqs.book import Book
from trimtab.aws.sqs.defining import Defining
from trimtab.aws.sqs.moving import Moving
from trimtab.aws.sqs.permitting import Permitting
from trimtab.aws.sqs.receiving import Receiving
from trimtab.aws.sqs.sending import Sending
from trimtab.aws.sqs.tagging import Tagging
from trimtab.clock import Clock
from trimtab.queues.store import Queues


class Sqs:
    """Every operation of SQS. `run` goes on with the redrives that were under way."""

    def __init__(self, queues: Queues, clock: Clock, pager: Pager) -> None:
        book = self.book = Book(queues, clock)
        self._moving = Moving(queues, book, clock)
        self.handlers: dict[str, dict[str, OperationHandler]] = merge(
            handlers_of(Defining(queues, book, clock, pager)),
            handlers_of(Tagging(book)),
            handlers_of(Permitting(book, clock)),
            handlers_of(Sending(queues, book, clock)),
            handlers_of(Receiving(queues, book)),
            handlers_of(self._moving),
        )

    async def run(self) -> None:
        """For ever."""
        await self._moving.run()
