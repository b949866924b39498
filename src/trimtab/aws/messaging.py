"""SQS and SNS as control has them: their operations, their work in the background, and what needs no key."""

from __future__ import annotations

import os
from collections.abc import Coroutine

import msgspec

from trimtab.aws.auth import Authenticator
from trimtab.aws.dispatch import Dispatcher
from trimtab.aws.http import Handler, HttpRequest, HttpResponse
from trimtab.aws.paging import Pager
from trimtab.aws.registry import OperationHandler, merge
from trimtab.aws.sns import Sns, is_certificate, is_link
from trimtab.aws.sns.remote import Remote
from trimtab.aws.sqs import Sqs
from trimtab.clock import Clock
from trimtab.config import Config
from trimtab.control.topics.elsewhere import Elsewhere
from trimtab.queues.store import Queues


class Messaging:
    """Both services, over `queues`."""

    def __init__(self, config: Config, queues: Queues, clock: Clock, pager: Pager) -> None:
        self._config = config
        self._queues = queues
        self._clock = clock
        self._sqs = Sqs(queues, clock, pager)
        self._sns = Sns(
            queues, self._sqs.book, clock, pager, signing_file=config.paths.notices, base_url=self._server_url
        )
        self.handlers: dict[str, dict[str, OperationHandler]] = merge(self._sqs.handlers, self._sns.handlers)

    def works(self) -> list[Coroutine[object, object, None]]:
        """What goes on for ever."""
        works = [self._sqs.run(), self._sns.run()]
        if self._config.sns_endpoint_url:
            remote = Remote(self._config.sns_endpoint_url, os.environ, self._clock)
            works.append(Elsewhere(self._queues, remote.publish, self._clock).run())
        return works

    def before(self, otherwise: Handler) -> Handler:
        """Answers what subscribers of topics ask without a key: the certificate of messages, and the links in them."""
        about = {"region": self._config.region, "account": self._config.account}
        anybody = Authenticator(dict, region=self._config.region, clock=self._clock, required=False)
        links = Dispatcher(self._sns.unsigned_handlers, anybody, **about)

        async def handle(request: HttpRequest) -> HttpResponse:
            if is_certificate(request):
                return self._sns.certificate(request)
            return await (links if is_link(request) else otherwise)(request)

        return handle

    def _server_url(self) -> str:
        """Where this trimtab can be reached, as it has told everybody in `server.json`."""
        return str(msgspec.json.decode(self._config.paths.server.read_bytes())["url"])
