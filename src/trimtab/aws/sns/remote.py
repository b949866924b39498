"""Publish to a real SNS, with the credentials that the environment names: for notices to topics that are not here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode, urlsplit

from trimtab.aws.sigv4.signer import Credentials, Signer
from trimtab.clock import Clock
from trimtab.control.topics.envelopes import VERSION
from trimtab.control.topics.posting import post
from trimtab.errors import Invalid
from trimtab.queues.topics import Publication

_CONTENT_TYPE: Final = "application/x-www-form-urlencoded; charset=utf-8"


def check(endpoint_url: str, environ: Mapping[str, str]) -> None:
    """Raises Invalid, with the cure, when notices could not be published there."""
    if urlsplit(endpoint_url).scheme not in ("http", "https") or not urlsplit(endpoint_url).hostname:
        raise Invalid(f"--sns-endpoint-url is {endpoint_url!r}: give a URL like https://sns.eu-west-1.amazonaws.com.")
    if not environ.get("AWS_ACCESS_KEY_ID") or not environ.get("AWS_SECRET_ACCESS_KEY"):
        raise Invalid(
            "--sns-endpoint-url needs credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and, with temporary"
            " ones, AWS_SESSION_TOKEN) where `trimtab serve` is started."
        )


class Remote:
    """Signs and posts. The topic's ARN says in which region."""

    def __init__(self, endpoint_url: str, environ: Mapping[str, str], clock: Clock) -> None:
        check(endpoint_url, environ)
        self._url = endpoint_url.rstrip("/") + "/"
        self._credentials = Credentials(
            environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"], environ.get("AWS_SESSION_TOKEN", "")
        )
        self._clock = clock

    async def publish(self, said: Publication) -> int:
        """The status that is answered. Raises Unreachable."""
        form = {"Action": "Publish", "Version": VERSION, "TopicArn": said.topic, "Message": said.message}
        if said.subject:
            form["Subject"] = said.subject
        body = urlencode(form).encode()
        region = said.topic.split(":")[3]
        parts = urlsplit(self._url)
        signer = Signer(self._credentials, region, "sns")
        headers = signer.prepare("POST", parts.path, [("Host", parts.netloc), ("Content-Type", _CONTENT_TYPE)], body)
        return await post(self._url, dict(headers(int(self._clock.now_s()))), body)
