"""What subscribers are sent: SNS's JSON, and what of it is signed. Pure.

Source: SNS developer guide, "HTTP/HTTPS notification JSON format" and "Verifying the signatures of Amazon SNS
messages".
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from trimtab.queues.topics import Publication
from trimtab.queues.user_queues import MessageAttribute

NOTIFICATION: Final = "Notification"
CONFIRMATION: Final = "SubscriptionConfirmation"
VERSION: Final = "2010-03-31"  # of SNS's API
# Members that are signed, in this order; those that a message does not have are left out.
_SIGNED: Final = ("Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")


def notification(said: Publication, *, protocol: str, id: str, topic: str, at_s: float) -> dict[str, Any]:
    """A message to a subscriber, not signed yet."""
    members: dict[str, Any] = {
        "Type": NOTIFICATION,
        "MessageId": id,
        **({"SequenceNumber": said.sequence} if said.sequence else {}),
        "TopicArn": topic,
        **({"Subject": said.subject} if said.subject else {}),
        "Message": text_for(said, protocol),
        "Timestamp": timestamp(at_s),
    }
    if said.attributes:
        members["MessageAttributes"] = {name: _attribute(a) for name, a in said.attributes.items()}
    return members


def confirmation(*, topic: str, token: str, id: str, at_s: float, base_url: str) -> dict[str, Any]:
    """What a new subscriber by http is asked, not signed yet."""
    query = urlencode({"Action": "ConfirmSubscription", "TopicArn": topic, "Token": token, "Version": VERSION})
    return {
        "Type": CONFIRMATION,
        "MessageId": id,
        "Token": token,
        "TopicArn": topic,
        "Message": f"You have chosen to subscribe to the topic {topic}.\nTo confirm the subscription, visit the"
        " SubscribeURL included in this message.",
        "SubscribeURL": f"{base_url}/?{query}",
        "Timestamp": timestamp(at_s),
    }


def unsubscribe_url(base_url: str, subscription_arn: str) -> str:
    """Where anybody who was told can end the subscription."""
    query = urlencode({"Action": "Unsubscribe", "SubscriptionArn": subscription_arn, "Version": VERSION})
    return f"{base_url}/?{query}"


def string_to_sign(members: dict[str, Any]) -> bytes:
    """What the signature is of."""
    return "".join(f"{name}\n{members[name]}\n" for name in _SIGNED if name in members).encode()


def rendered(members: dict[str, Any]) -> str:
    """As SNS writes it."""
    return json.dumps(members, indent=2, separators=(",", " : "), ensure_ascii=False)


def text_for(said: Publication, protocol: str) -> str:
    """What is said to subscribers of a protocol."""
    return said.by_protocol.get(protocol, said.message)


def timestamp(at_s: float) -> str:
    """`2026-01-31T12:00:00.000Z`."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _attribute(attribute: MessageAttribute) -> dict[str, str]:
    value = attribute.string if attribute.binary is None else base64.b64encode(attribute.binary).decode("ascii")
    return {"Type": attribute.type, "Value": value or ""}
