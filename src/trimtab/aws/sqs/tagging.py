"""Tags of queues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import structs

from trimtab.aws.registry import Call, operation
from trimtab.aws.sqs import faults
from trimtab.aws.sqs.book import Book
from trimtab.queues.user_queues import UserQueue

Params = dict[str, Any]
_MOST_TAGS: Final = 50


class Tagging:
    """Changes the tags of users' queues."""

    def __init__(self, book: Book) -> None:
        self._book = book

    @operation("sqs", "TagQueue")
    async def tag_queue(self, call: Call, params: Params) -> Params:
        """Add tags, or change them."""
        name, _ = await self._book.by_url(call, params["QueueUrl"])

        def change(queue: UserQueue) -> UserQueue:
            return structs.replace(queue, tags=checked_tags({**queue.tags, **params["Tags"]}))

        await self._book.change(name, change)
        return {}

    @operation("sqs", "UntagQueue")
    async def untag_queue(self, call: Call, params: Params) -> Params:
        """Remove tags."""
        name, _ = await self._book.by_url(call, params["QueueUrl"])
        gone = set(params["TagKeys"])

        def change(queue: UserQueue) -> UserQueue:
            return structs.replace(queue, tags={k: v for k, v in queue.tags.items() if k not in gone})

        await self._book.change(name, change)
        return {}

    @operation("sqs", "ListQueueTags")
    async def list_queue_tags(self, call: Call, params: Params) -> Params:
        """A queue's tags."""
        _, queue = await self._book.by_url(call, params["QueueUrl"])
        return {"Tags": dict(queue.tags)} if queue.tags else {}


def checked_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags as SQS takes them. Raises InvalidParameterValue."""
    if len(tags) > _MOST_TAGS:
        raise faults.bad_value("Tags", len(tags), f"A queue may have at most {_MOST_TAGS} tags.")
    for key, value in tags.items():
        if not 1 <= len(key) <= 128 or len(value) > 256 or key.lower().startswith("aws:"):
            raise faults.bad_value("Tags", key, "Keys have 1 to 128 characters and no prefix aws:, values up to 256.")
    return dict(tags)
