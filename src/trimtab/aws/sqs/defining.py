"""Queues themselves: created, changed, described, listed, emptied, deleted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from trimtab.aws.paging import Pager
from trimtab.aws.registry import Call, operation
from trimtab.aws.sqs import attributes as known
from trimtab.aws.sqs import faults
from trimtab.aws.sqs.book import Book, modified
from trimtab.aws.sqs.naming import arn_of, is_name, name_of_arn, url_of
from trimtab.aws.sqs.tagging import checked_tags
from trimtab.clock import Clock
from trimtab.queues.model import Depth, NoQueue, Purge
from trimtab.queues.store import Queues
from trimtab.queues.user_queues import FIFO_SUFFIX, PREFIX, UserQueue

Params = dict[str, Any]
_MOST_LISTED: Final = 1000
_NOT_ENCRYPTED = "KMS attributes are kept, but nothing is encrypted; Policy is kept, but the one account's keys decide"


class Defining:
    """Makes and changes users' queues."""

    def __init__(self, queues: Queues, book: Book, clock: Clock, pager: Pager) -> None:
        self._queues = queues
        self._book = book
        self._clock = clock
        self._pager = pager

    @operation("sqs", "CreateQueue", missing=_NOT_ENCRYPTED)
    async def create_queue(self, call: Call, params: Params) -> Params:
        """A queue; the one that is there, if it has the same attributes."""
        name = params["QueueName"]
        if not is_name(name):
            raise faults.bad_value(
                "QueueName",
                name,
                "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length.",
            )
        given = params.get("Attributes", {})
        fifo = _is_fifo(name, given)
        asked = known.checked(given, fifo=fifo, creating=True)
        now_s = self._clock.now_s()
        queue = UserQueue(
            attributes={key: text for key, text in asked.items() if text != ""},
            tags=checked_tags(params.get("tags", {})),
            created_s=now_s,
            modified_s=now_s,
        )
        known.check_together(queue)
        async with self._book.changing():
            _, there = await self._book.look(name)
            if there is None:
                await self._check_redrive(call, name, queue)
                await self._book.write(name, queue)
            else:
                _check_same(there, asked)
        return {"QueueUrl": url_of(call, name)}

    @operation("sqs", "SetQueueAttributes", missing=_NOT_ENCRYPTED)
    async def set_queue_attributes(self, call: Call, params: Params) -> Params:
        """Change attributes. A shorter retention period is that of messages sent from now on."""
        name, before = await self._book.by_url(call, params["QueueUrl"])
        given = known.checked(params["Attributes"], fifo=before.fifo, creating=False)
        wanted = modified(before, self._clock.now_s(), attributes=_merged(before, given))
        known.check_together(wanted)
        await self._check_redrive(call, name, wanted)

        def change(queue: UserQueue) -> UserQueue:
            return modified(queue, self._clock.now_s(), attributes=_merged(queue, given))

        await self._book.change(name, change)
        return {}

    @operation("sqs", "GetQueueAttributes")
    async def get_queue_attributes(self, call: Call, params: Params) -> Params:
        """The attributes asked for; none without names."""
        name, _ = await self._book.by_url(call, params["QueueUrl"])
        names = params.get("AttributeNames", [])
        depth, queue = await self._book.look(name)
        if depth is None or queue is None:
            raise faults.no_queue()
        every = {**known.told(queue), **_computed(call, name, queue, depth)}
        for asked in names:
            if asked != "All" and asked not in known.COMPUTED and not known.is_settable(asked):
                raise faults.unknown_attribute(asked)
        told = every if "All" in names else {key: every[key] for key in names if key in every}
        return {"Attributes": told} if told else {}

    @operation("sqs", "GetQueueUrl")
    async def get_queue_url(self, call: Call, params: Params) -> Params:
        """The URL of a queue by its name."""
        owner = params.get("QueueOwnerAWSAccountId", call.account)
        if owner != call.account or await self._book.find(params["QueueName"]) is None:
            raise faults.no_queue()
        return {"QueueUrl": url_of(call, params["QueueName"])}

    @operation("sqs", "ListQueues")
    async def list_queues(self, call: Call, params: Params) -> Params:
        """Queues by the beginning of their names."""
        prefix = params.get("QueueNamePrefix", "")
        names = [name for name in await self._book.all() if name.startswith(prefix)]
        urls, token = self._page(call, names, f"sqs queues {prefix}", params)
        return {**({"QueueUrls": urls} if urls else {}), **({"NextToken": token} if token else {})}

    @operation("sqs", "ListDeadLetterSourceQueues")
    async def list_dead_letter_source_queues(self, call: Call, params: Params) -> Params:
        """The queues whose dead letters go here."""
        name, _ = await self._book.by_url(call, params["QueueUrl"])
        every = await self._book.all()
        names = [source for source, queue in every.items() if known.dead_letters_of(queue) == name]
        urls, token = self._page(call, names, f"sqs sources {name}", params)
        return {"queueUrls": urls, **({"NextToken": token} if token else {})}

    @operation("sqs", "DeleteQueue")
    async def delete_queue(self, call: Call, params: Params) -> Params:
        """Gone at once, with all that is in it. The name is free again at once, too."""
        name, _ = await self._book.by_url(call, params["QueueUrl"])
        await self._book.drop(name)
        return {}

    @operation("sqs", "PurgeQueue")
    async def purge_queue(self, call: Call, params: Params) -> Params:
        """Empty at once, messages in flight included."""
        name, _ = await self._book.by_url(call, params["QueueUrl"])
        result = await self._queues.ask(Purge(queue=PREFIX + name, leased=True))
        if isinstance(result, NoQueue):
            self._book.forget(name)
            raise faults.no_queue()
        return {}

    # --- parts -------------------------------------------------------------------------------------------------

    async def _check_redrive(self, call: Call, name: str, queue: UserQueue) -> None:
        """The dead-letter queue must be there, of the same kind, and must let this queue have it."""
        policy = known.redrive_of(queue)
        if policy is None:
            return
        target = name_of_arn(call, policy.dead_letter_target_arn)
        dead_letters = await self._book.find(target) if target else None
        if dead_letters is None:
            raise faults.bad_value(
                "RedrivePolicy", queue.attributes["RedrivePolicy"], "Dead letter target does not exist."
            )
        if dead_letters.fifo != queue.fifo:
            raise faults.bad_value(
                "RedrivePolicy",
                queue.attributes["RedrivePolicy"],
                "Dead-letter queue must be same type of queue as the source.",
            )
        if not known.allows(dead_letters, arn_of(call, name)):
            raise faults.bad_value(
                "RedrivePolicy", queue.attributes["RedrivePolicy"], "The dead-letter queue does not allow this source."
            )

    def _page(self, call: Call, names: Iterable[str], listing: str, params: Params) -> tuple[list[str], str]:
        limit = params.get("MaxResults", _MOST_LISTED)
        if not 1 <= limit <= _MOST_LISTED:
            raise faults.bad_value("MaxResults", limit, f"Must be between 1 and {_MOST_LISTED}.")
        page, token = self._pager.page(
            names,
            listing=listing,
            place=lambda name: (name,),
            descending=False,
            limit=limit,
            token=params.get("NextToken", ""),
        )
        return [url_of(call, name) for name in page], token


def _is_fifo(name: str, given: Mapping[str, str]) -> bool:
    fifo = given.get("FifoQueue") == "true"
    if fifo and not name.endswith(FIFO_SUFFIX):
        raise faults.bad_value("QueueName", name, "The name of a FIFO queue can only end in .fifo.")
    if name.endswith(FIFO_SUFFIX) and not fifo:
        raise faults.bad_value("QueueName", name, "Only a FIFO queue (FifoQueue true) has a name that ends in .fifo.")
    return fifo


def _check_same(there: UserQueue, asked: Mapping[str, str]) -> None:
    told = known.told(there)
    for name, text in asked.items():
        if known.canonical(name, told.get(name, "")) != known.canonical(name, text):
            raise faults.name_exists(name)


def _merged(queue: UserQueue, given: Mapping[str, str]) -> dict[str, str]:
    """Attributes after a change; an empty value of those that may be absent removes them."""
    return {key: text for key, text in {**queue.attributes, **given}.items() if text != ""}


def _computed(call: Call, name: str, queue: UserQueue, depth: Depth) -> dict[str, str]:
    return {
        "QueueArn": arn_of(call, name),
        "ApproximateNumberOfMessages": str(depth.waiting - depth.delayed),
        "ApproximateNumberOfMessagesNotVisible": str(depth.leased),
        "ApproximateNumberOfMessagesDelayed": str(depth.delayed),
        "CreatedTimestamp": str(int(queue.created_s)),
        "LastModifiedTimestamp": str(int(queue.modified_s)),
    }
