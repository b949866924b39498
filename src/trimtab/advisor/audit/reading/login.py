"""Whose account, which region, and clients for its services, as any AWS program would find them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ProfileNotFound
from botocore.utils import parse_timestamp

from trimtab.errors import Invalid

CONCURRENCY: Final = 8  # calls under way at once: a console's page makes as many
THROTTLED: Final = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "SlowDown",  # S3
    }
)
"""Codes of errors that ask for slower calls."""
_ATTEMPTS: Final = 10  # with botocore's adaptive back-off: minutes of throttling are waited out


class Login:
    """A profile's credentials and endpoints. AWS_ENDPOINT_URL and a profile's `endpoint_url` hold, as botocore has it.

    `on_throttled` is called when a call is asked to wait for the first time: what follows may take minutes.
    Invalid: the profile, a region or credentials are missing.
    """

    def __init__(
        self,
        *,
        profile: str = "",
        region: str = "",
        attempts: int = _ATTEMPTS,
        on_throttled: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_throttled = on_throttled
        self._is_throttled = False
        try:
            self._session = botocore.session.Session(profile=profile or None)
            self.region: str = (
                region or os.environ.get("AWS_REGION", "") or self._session.get_config_variable("region") or ""
            )
            if not self.region:
                raise Invalid("No region is set: give --region, or set AWS_REGION or the profile's region.")
            if self._session.get_credentials() is None:
                raise Invalid(
                    "There are no AWS credentials: name a --profile, "
                    "or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
                )
        except ProfileNotFound as error:
            raise Invalid(f"{error}. `aws configure list-profiles` lists what there is.") from error
        except BotoCoreError as error:
            raise Invalid(f"The AWS configuration cannot be used: {error}") from error
        self._counting = self._reading_seconds(profile)
        self._config = Config(
            retries={"mode": "adaptive", "total_max_attempts": attempts},
            connect_timeout=5,
            read_timeout=60,
            max_pool_connections=CONCURRENCY,
            s3={"addressing_style": "path"},
            user_agent_extra="trimtab-audit",
        )
        self._impatient = self._config.merge(Config(retries={"mode": "standard", "total_max_attempts": 2}))
        self._clients: dict[str, Any] = {}
        self._making = threading.Lock()  # of a session: it is not for several threads, clients are

    @staticmethod
    def _reading_seconds(profile: str) -> botocore.session.Session:
        """A session whose clients read times as seconds since the epoch: of CloudWatch's millions of points, making
        dates is nine tenths of the work."""
        session = botocore.session.Session(profile=profile or None)
        parsers = session.get_component("response_parser_factory")
        parsers.set_parser_defaults(timestamp_parser=_seconds)
        return session

    def client(self, service: str) -> Any:
        """botocore's client of a service; Invalid where the region or an endpoint's URL cannot be one."""
        with self._making:
            if service not in self._clients:
                try:
                    # The first call is to sts: that nobody is there should be told at once.
                    config = self._impatient if service == "sts" else self._config
                    session = self._counting if service == "cloudwatch" else self._session
                    client = session.create_client(service, region_name=self.region, config=config)
                    client.meta.events.register("needs-retry", self._answered)
                    self._clients[service] = client
                except (BotoCoreError, ValueError) as error:
                    raise Invalid(f"Calls to {service} in region {self.region!r} cannot be made: {error}") from error
                self._check_region(service)
            return self._clients[service]

    def _answered(self, response: tuple[Any, dict[str, Any]] | None = None, **_: Any) -> None:
        """botocore asks after each answer whether to try again; None leaves that to its own rules."""
        code = response[1].get("Error", {}).get("Code") if response is not None else ""
        if code in THROTTLED and not self._is_throttled:
            self._is_throttled = True
            self._on_throttled()

    def is_of_aws(self, service: str) -> bool:
        """Whether AWS itself answers, as far as the endpoint's name tells."""
        return is_aws(self.client(service).meta.endpoint_url)

    def _check_region(self, service: str) -> None:
        """A region that AWS does not list is a slip of the pen, unless the endpoint is somebody's own."""
        url = self._clients[service].meta.endpoint_url
        if not is_aws(url):
            return
        partition = self._clients[service].meta.partition
        known = self._session.get_available_regions("sagemaker", partition)
        if known and self.region not in known:
            raise Invalid(f"SageMaker has no region {self.region!r}; it has {', '.join(sorted(known))}.")


def _seconds(value: Any) -> float:
    """Of a time in whichever way a protocol has it."""
    return float(value) if isinstance(value, int | float) else float(parse_timestamp(value).timestamp())


def is_aws(url: str) -> bool:
    """Whether an endpoint's URL is AWS's own: `monitoring.us-east-1.amazonaws.com`, `.amazonaws.com.cn`, `.api.aws`."""
    host = f"{urlsplit(url).hostname or ''}."
    return ".amazonaws." in host or host.endswith(".api.aws.")
