"""The definitions of users' queues."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from trimtab.aws.registry import Call
from trimtab.aws.sqs.attributes import settings_of
from trimtab.aws.sqs.naming import name_of_url
from trimtab.clock import Clock
from trimtab.queues.definitions import Definitions
from trimtab.queues.store import Queues
from trimtab.queues.user_queues import PREFIX, UserQueue, queue_of

KIND = "queue"


class Book(Definitions[UserQueue]):
    """Every user's queue by its name."""

    def __init__(self, queues: Queues, clock: Clock) -> None:
        super().__init__(queues, clock, kind=KIND, prefix=PREFIX, read=queue_of, settings_of=settings_of)

    async def by_url(self, call: Call, url: str) -> tuple[str, UserQueue]:
        """Name and definition of the queue that a call is about. Raises InvalidAddress, NotFound."""
        name = name_of_url(call, url)
        return name, await self.get(name)


def modified(queue: UserQueue, now_s: float, **changes: Any) -> UserQueue:
    """The definition with changes, and when it was changed."""
    return structs.replace(queue, modified_s=now_s, **changes)
