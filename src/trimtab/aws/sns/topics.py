"""Topics: created, described, changed, listed, deleted; their tags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import structs

from trimtab.aws.paging import Pager
from trimtab.aws.registry import Call, operation
from trimtab.aws.sns import faults
from trimtab.aws.sns.naming import is_name, topic_arn, topic_of
from trimtab.errors import Invalid
from trimtab.policies.notices.retries import retry_policy
from trimtab.queues.definitions import Definitions
from trimtab.queues.model import Drop
from trimtab.queues.store import Queues
from trimtab.queues.topics import WEBHOOK_PREFIX, Topic

Params = dict[str, Any]
_PAGE: Final = 100
_MOST_TAGS: Final = 50
_FIFO: Final = ".fifo"
_SETTABLE: Final = (
    "ContentBasedDeduplication",
    "DeliveryPolicy",
    "DisplayName",
    "FifoThroughputScope",
    "KmsMasterKeyId",
    "Policy",
    "SignatureVersion",
    "TracingConfig",
)
_AT_CREATION: Final = ("FifoTopic",)
_KEPT = "Policy, KmsMasterKeyId and TracingConfig are kept and told, but change nothing"


class Topics:
    """Makes and changes topics."""

    def __init__(self, queues: Queues, topics: Definitions[Topic], pager: Pager) -> None:
        self._queues = queues
        self._topics = topics
        self._pager = pager

    @operation("sns", "CreateTopic", missing=_KEPT)
    async def create_topic(self, call: Call, params: Params) -> Params:
        """A topic; the one that is there, if it has the same attributes and tags."""
        name, given = params["Name"], params.get("Attributes", {})
        fifo = given.get("FifoTopic") == "true"
        if not is_name(name) or fifo != name.endswith(_FIFO):
            raise faults.invalid("Topic Name" if fifo == name.endswith(_FIFO) else
                                 "Topic Name: Fifo topic names must end with .fifo, and only those")  # fmt: skip
        attributes = {key: _checked(key, text, creating=True) for key, text in given.items()}
        arn = topic_arn(call, name)
        tags = _tags({tag["Key"]: tag["Value"] for tag in params.get("Tags", ())})
        async with self._topics.changing():
            _, there = await self._topics.look(name)
            if there is None:
                await self._topics.write(name, Topic(arn=arn, attributes=attributes, tags=tags))
            elif any(there.attributes.get(key, _default(key)) != text for key, text in attributes.items()):
                raise faults.invalid("Attributes Reason: Topic already exists with different attributes")
            elif tags and tags != there.tags:
                raise faults.invalid("Tags Reason: Topic already exists with different tags")
        return {"TopicArn": arn}

    @operation("sns", "DeleteTopic")
    async def delete_topic(self, call: Call, params: Params) -> Params:
        """Gone with its subscriptions, and with what was not delivered yet. AWS: no error when it is not there."""
        name = topic_of(call, params["TopicArn"])
        topic = await self._topics.find(name)
        if topic is None:
            return {}
        for subscription in topic.subscriptions:
            await self._queues.ask(Drop(queue=WEBHOOK_PREFIX + subscription.id))
        await self._topics.drop(name)
        return {}

    @operation("sns", "GetTopicAttributes")
    async def get_topic_attributes(self, call: Call, params: Params) -> Params:
        """All of them."""
        topic = await self._topics.get(topic_of(call, params["TopicArn"]))
        pending = sum(bool(subscription.token) for subscription in topic.subscriptions)
        told = {
            "TopicArn": topic.arn,
            "Owner": call.account,
            "DisplayName": "",
            "SubscriptionsConfirmed": str(len(topic.subscriptions) - pending),
            "SubscriptionsPending": str(pending),
            "SubscriptionsDeleted": "0",
            **({"ContentBasedDeduplication": "false"} if topic.fifo else {}),
            **topic.attributes,
        }
        told["EffectiveDeliveryPolicy"] = _effective(topic)
        return {"Attributes": told}

    @operation("sns", "SetTopicAttributes", missing=_KEPT)
    async def set_topic_attributes(self, call: Call, params: Params) -> Params:
        """Change one; an empty value removes it."""
        key, text = params["AttributeName"], params.get("AttributeValue", "")
        checked = _checked(key, text, creating=False) if text else text
        if not text and key not in _SETTABLE:
            raise faults.invalid("AttributeName")

        def change(topic: Topic) -> Topic:
            others = {name: value for name, value in topic.attributes.items() if name != key}
            return structs.replace(topic, attributes={**others, **({key: checked} if checked else {})})

        await self._topics.change(topic_of(call, params["TopicArn"]), change)
        return {}

    @operation("sns", "ListTopics")
    async def list_topics(self, call: Call, params: Params) -> Params:
        """A hundred at a time."""
        arns = [topic.arn for topic in (await self._topics.all()).values()]
        token = params.get("NextToken", "")
        page, token = self._pager.page(
            arns, listing="sns topics", place=lambda arn: (arn,), descending=False, limit=_PAGE, token=token
        )
        return {"Topics": [{"TopicArn": arn} for arn in page], **({"NextToken": token} if token else {})}

    # --- tags --------------------------------------------------------------------------------------------------

    @operation("sns", "TagResource")
    async def tag_resource(self, call: Call, params: Params) -> Params:
        """Add tags, or change them."""
        tags = {tag["Key"]: tag["Value"] for tag in params["Tags"]}

        def change(topic: Topic) -> Topic:
            return structs.replace(topic, tags=_tags({**topic.tags, **tags}))

        await self._topics.change(topic_of(call, params["ResourceArn"], "ResourceArn"), change)
        return {}

    @operation("sns", "UntagResource")
    async def untag_resource(self, call: Call, params: Params) -> Params:
        """Remove tags."""
        gone = set(params["TagKeys"])

        def change(topic: Topic) -> Topic:
            return structs.replace(topic, tags={k: v for k, v in topic.tags.items() if k not in gone})

        await self._topics.change(topic_of(call, params["ResourceArn"], "ResourceArn"), change)
        return {}

    @operation("sns", "ListTagsForResource")
    async def list_tags_for_resource(self, call: Call, params: Params) -> Params:
        """A topic's tags."""
        topic = await self._topics.get(topic_of(call, params["ResourceArn"], "ResourceArn"))
        return {"Tags": [{"Key": key, "Value": value} for key, value in topic.tags.items()]}


def _checked(key: str, text: str, *, creating: bool) -> str:
    if key not in _SETTABLE and not (creating and key in _AT_CREATION):
        raise faults.invalid("AttributeName" if not creating else f"Attributes Reason: Unknown attribute {key[:100]}")
    if key in ("FifoTopic", "ContentBasedDeduplication") and text not in ("true", "false"):
        raise faults.invalid(f"{key} Reason: must be true or false")
    if key == "SignatureVersion" and text not in ("1", "2"):
        raise faults.invalid("SignatureVersion Reason: must be 1 or 2")
    if key == "DisplayName" and len(text) > 100:
        raise faults.invalid("DisplayName Reason: must be at most 100 characters long")
    if key == "DeliveryPolicy":
        document = object_of(text, "DeliveryPolicy")
        of_http = document.get("http", {})
        if not isinstance(of_http, dict):
            raise faults.invalid("DeliveryPolicy: http must be an object")
        check_retries(of_http.get("defaultHealthyRetryPolicy"))
    if key == "Policy":
        object_of(text, "Policy")
    return text


def object_of(text: str, member: str) -> dict[str, Any]:
    """The JSON object in an attribute. Raises InvalidParameter."""
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError:
        raise faults.invalid(f"{member} Reason: failed to parse JSON: it must be an object") from None


def check_retries(document: Any) -> None:
    """Raises InvalidParameter for what is no healthyRetryPolicy."""
    try:
        retry_policy(document)
    except Invalid as error:
        raise faults.invalid(str(error)) from None


def _default(key: str) -> str:
    return {"FifoTopic": "false", "ContentBasedDeduplication": "false", "SignatureVersion": "1"}.get(key, "")


def _effective(topic: Topic) -> str:
    given = msgspec.json.decode(topic.attributes.get("DeliveryPolicy", "{}")).get("http", {})
    policy = msgspec.to_builtins(retry_policy(given.get("defaultHealthyRetryPolicy")))
    return msgspec.json.encode(
        {
            "http": {
                "defaultHealthyRetryPolicy": policy,
                "disableSubscriptionOverrides": bool(given.get("disableSubscriptionOverrides")),
            }
        }
    ).decode()


def _tags(tags: Mapping[str, str]) -> dict[str, str]:
    if len(tags) > _MOST_TAGS:
        raise faults.invalid(f"Tags Reason: a topic may have at most {_MOST_TAGS} tags")
    return dict(tags)
