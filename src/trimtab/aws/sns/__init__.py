"""SNS: topics that tell queues and web servers, on trimtab's durable queues. Answered when it is on the disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from trimtab.aws.http import HttpRequest, HttpResponse
from trimtab.aws.paging import Pager
from trimtab.aws.registry import OperationHandler, handlers_of, merge
from trimtab.aws.sns.publishing import Publishing
from trimtab.aws.sns.subscribing import Subscribing
from trimtab.aws.sns.topics import Topics
from trimtab.clock import Clock
from trimtab.control.topics.deliverer import Deliverer
from trimtab.control.topics.signing import CERTIFICATE_PATH, Signer
from trimtab.queues.definitions import Definitions
from trimtab.queues.store import Queues
from trimtab.queues.topics import INBOX_PREFIX, Topic, inbox_settings, topic_of
from trimtab.queues.user_queues import UserQueue

UNSIGNED: Final = ("ConfirmSubscription", "Unsubscribe")  # AWS: links in messages, which subscribers follow


class Sns:
    """Every operation of SNS that is served. `run` delivers."""

    def __init__(
        self,
        queues: Queues,
        users: Definitions[UserQueue],
        clock: Clock,
        pager: Pager,
        *,
        signing_file: Path,
        base_url: Callable[[], str],
    ) -> None:
        """`users`: the queues of SQS. `base_url`: of this trimtab, for the links in messages."""
        topics: Definitions[Topic] = Definitions(
            queues, clock, kind="topic", prefix=INBOX_PREFIX, read=topic_of, settings_of=inbox_settings
        )
        self._signer = Signer(signing_file)
        self._deliverer = Deliverer(queues, topics, users, self._signer, clock, base_url)
        self.handlers: dict[str, dict[str, OperationHandler]] = merge(
            handlers_of(Topics(queues, topics, pager)),
            handlers_of(Subscribing(queues, topics, users, self._deliverer, pager)),
            handlers_of(Publishing(queues, topics, clock)),
        )

    @property
    def unsigned_handlers(self) -> dict[str, dict[str, OperationHandler]]:
        """Of the links in messages: who has one was sent it."""
        return {"sns": {name: self.handlers["sns"][name] for name in UNSIGNED}}

    async def run(self) -> None:
        """Deliver, for ever."""
        await self._deliverer.run()

    def certificate(self, request: HttpRequest) -> HttpResponse:
        """What SigningCertURL leads to."""
        if request.raw_path != self._signer.path:
            return HttpResponse(status=404)
        return HttpResponse(headers=[("Content-Type", "application/x-pem-file")], body=self._signer.certificate)


def is_certificate(request: HttpRequest) -> bool:
    """Whether somebody asks for the certificate that signs messages."""
    return request.method == "GET" and request.raw_path.startswith(CERTIFICATE_PATH)


def is_link(request: HttpRequest) -> bool:
    """Whether this is a link of a message that is followed, by somebody without a key."""
    named = any(f"Action={name}&" in request.query for name in UNSIGNED)
    return request.method == "GET" and named and "Signature=" not in request.query
