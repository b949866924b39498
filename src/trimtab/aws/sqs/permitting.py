"""AddPermission and RemovePermission: statements of a queue's Policy.

The policy is kept and told. It decides nothing here: policies of resources let other accounts in, and there is one.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from trimtab.aws.arns import partition_of
from trimtab.aws.registry import Call, operation
from trimtab.aws.sqs import faults
from trimtab.aws.sqs.book import Book, modified
from trimtab.aws.sqs.naming import arn_of
from trimtab.clock import Clock
from trimtab.queues.user_queues import UserQueue

Params = dict[str, Any]
_KEPT = "the policy is kept, but the one account's keys decide"
_LABEL: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")
_MOST_ACTIONS: Final = 7
# Source: AddPermission.
_ACTIONS: Final = frozenset(
    {
        "*",
        "SendMessage",
        "ReceiveMessage",
        "DeleteMessage",
        "ChangeMessageVisibility",
        "GetQueueAttributes",
        "GetQueueUrl",
        "ListDeadLetterSourceQueues",
        "PurgeQueue",
    }
)


class Permitting:
    """Changes policies of users' queues."""

    def __init__(self, book: Book, clock: Clock) -> None:
        self._book = book
        self._clock = clock

    @operation("sqs", "AddPermission", missing=_KEPT)
    async def add_permission(self, call: Call, params: Params) -> Params:
        """A statement with the label as its Sid."""
        name, _ = await self._book.by_url(call, params["QueueUrl"])
        statement = _statement(call, name, params)

        def change(queue: UserQueue) -> UserQueue:
            policy = _policy(queue, arn_of(call, name))
            if any(there.get("Sid") == statement["Sid"] for there in policy["Statement"]):
                raise faults.bad_value("Label", statement["Sid"], "Already exists.")
            policy["Statement"].append(statement)
            return self._with(queue, policy)

        await self._book.change(name, change)
        return {}

    @operation("sqs", "RemovePermission", missing=_KEPT)
    async def remove_permission(self, call: Call, params: Params) -> Params:
        """Remove the statement of the label."""
        name, _ = await self._book.by_url(call, params["QueueUrl"])
        label = params["Label"]

        def change(queue: UserQueue) -> UserQueue:
            policy = _policy(queue, arn_of(call, name))
            kept = [statement for statement in policy["Statement"] if statement.get("Sid") != label]
            if len(kept) == len(policy["Statement"]):
                raise faults.bad_value("Label", label, "can't find label.")
            return self._with(queue, {**policy, "Statement": kept})

        await self._book.change(name, change)
        return {}

    def _with(self, queue: UserQueue, policy: Params) -> UserQueue:
        others = {key: text for key, text in queue.attributes.items() if key != "Policy"}
        told = {"Policy": msgspec.json.encode(policy).decode()} if policy["Statement"] else {}
        return modified(queue, self._clock.now_s(), attributes={**others, **told})


def _statement(call: Call, name: str, params: Params) -> Params:
    label, actions, accounts = params["Label"], params["Actions"], params["AWSAccountIds"]
    if not _LABEL.fullmatch(label):
        raise faults.bad_value("Label", label, "1 to 80 letters, digits, hyphens and underscores.")
    if not 1 <= len(actions) <= _MOST_ACTIONS:
        raise faults.over_limit(f"{len(actions)} Actions were found, maximum allowed is {_MOST_ACTIONS}.")
    for action in actions:
        if action not in _ACTIONS:
            raise faults.bad_value("ActionName", f"SQS:{action}", "Please refer to the appropriate WSDL for a list of"
                                   " valid actions.")  # fmt: skip
    if not accounts or not all(re.fullmatch(r"\d{12}", account) for account in accounts):
        raise faults.bad_value("PrincipalId", accounts, "Unable to verify.")
    partition = partition_of(call.region)
    return {
        "Sid": label,
        "Effect": "Allow",
        "Principal": {"AWS": [f"arn:{partition}:iam::{account}:root" for account in accounts]},
        "Action": [f"SQS:{action}" for action in actions],
        "Resource": arn_of(call, name),
    }


def _policy(queue: UserQueue, arn: str) -> Params:
    text = queue.attributes.get("Policy")
    policy: Params = msgspec.json.decode(text) if text else {}
    statements = policy.get("Statement", [])
    return {
        "Version": "2008-10-17",
        "Id": f"{arn}/SQSDefaultPolicy",
        **policy,
        "Statement": list(statements) if isinstance(statements, list) else [statements],
    }
