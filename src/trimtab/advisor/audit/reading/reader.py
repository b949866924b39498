"""One call, all pages of one, or one for each of many: what is refused is remembered as unseen, never as empty."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from trimtab.advisor.audit.reading.login import CONCURRENCY, THROTTLED, Login
from trimtab.advisor.finding import Unseen

_FAILURES: Final = (ClientError, BotoCoreError, ResponseParserError)
_UNSUPPORTED: Final = frozenset(
    {"UnknownOperationException", "UnsupportedOperationException", "NotSupported", "NotImplemented", "InvalidAction"}
)
_MOST_SAID: Final = 200  # characters
_ACTIONS: Final = {  # where IAM's name of an action is not its operation's
    "s3:ListBuckets": "s3:ListAllMyBuckets",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "s3:ListMultipartUploads": "s3:ListBucketMultipartUploads",
}
Item = TypeVar("Item")
Made = TypeVar("Made")
Answer = dict[str, Any]


class Reader:
    """Calls of one account. For several threads at once: at most CONCURRENCY calls are under way.

    An answer is None where the call was refused (`unseen` says why, once for each operation and reason), and {} where
    what was asked for is not there: its error's code is in `absent`, or it went between two calls.
    """

    def __init__(self, login: Login) -> None:
        self._login = login
        self._lock = threading.Lock()
        self._refused: dict[tuple[str, str], tuple[Unseen, int]] = {}
        self._notes: list[Unseen] = []

    @property
    def region(self) -> str:
        """Where is read."""
        return self._login.region

    @property
    def is_aws(self) -> bool:
        """Whether AWS itself answers: what only trimtab has need not be asked for there."""
        return self._login.is_of_aws("cloudwatch")

    @property
    def unseen(self) -> tuple[Unseen, ...]:
        """All that could not be looked at so far."""
        with self._lock:
            return (*(_counted(*refused) for refused in self._refused.values()), *self._notes)

    def note(self, what: str, why: str, needs: str = "") -> None:
        """Something cannot be seen for a reason of another kind than a refused call."""
        with self._lock:
            self._notes.append(Unseen(what=what, why=why, needs=needs))

    def call(
        self, service: str, operation: str, what: str, *, absent: Sequence[str] = (), **params: Any
    ) -> Answer | None:
        """One call, by botocore's names. `what` it shows, in words: `unseen` says so where it is refused."""
        client = self._login.client(service)
        try:
            answer: Answer = getattr(client, operation)(**params)
        except _FAILURES as error:
            if _is_absent(error, absent):
                return {}
            self._refuse(client, operation, what, error)
            return None
        return answer

    def pages(
        self,
        service: str,
        operation: str,
        member: str,
        what: str,
        *,
        absent: Sequence[str] = (),
        at_most: int | None = None,
        page_size: int | None = None,
        **params: Any,
    ) -> list[Any] | None:
        """The entries in `member` of all pages (or the first `at_most`); None when a page was refused."""
        client = self._login.client(service)
        found: list[Any] = []
        paging = {"PageSize": page_size, "MaxItems": at_most}
        try:
            for page in client.get_paginator(operation).paginate(**params, PaginationConfig=paging):
                found += page.get(member, ())
        except _FAILURES as error:
            if _is_absent(error, absent):
                return []
            self._refuse(client, operation, what, error)
            return None
        return found

    def each(self, ask: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
        """`ask` of every item, several at once; answers in the items' order."""
        with ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="audit") as pool:
            yield from pool.map(ask, items)

    def _refuse(self, client: Any, operation: str, what: str, error: Exception) -> None:
        action = action_of(client, operation)
        why, is_denied = _why(error)
        key = (action, why)
        unseen = Unseen(what=what, why=why, needs=action if is_denied else "")
        with self._lock:
            first, count = self._refused.get(key, (unseen, 0))
            self._refused[key] = (first, count + 1)


def action_of(client: Any, operation: str) -> str:
    """IAM's name for what an operation needs."""
    name = f"{client.meta.service_model.signing_name}:{client.meta.method_to_api_mapping[operation]}"
    if name.startswith("monitoring:"):
        name = "cloudwatch:" + name.partition(":")[2]
    return _ACTIONS.get(name, name)


def _counted(unseen: Unseen, count: int) -> Unseen:
    return unseen if count == 1 else Unseen(what=f"{unseen.what} ({count} times)", why=unseen.why, needs=unseen.needs)


def _is_absent(error: Exception, absent: Sequence[str]) -> bool:
    if not isinstance(error, ClientError):
        return False
    said = error.response.get("Error", {})
    gone = said.get("Code") == "ValidationException" and "Could not find" in said.get("Message", "")
    return gone or said.get("Code") in absent


def _why(error: Exception) -> tuple[str, bool]:
    """In words, and whether a permission is what is missing."""
    if not isinstance(error, ClientError):
        return f"no answer: {error}", False
    said = error.response.get("Error", {})
    code = str(said.get("Code", "Unknown"))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in THROTTLED:
        return "throttled, also after many tries: audit again when less is going on", False
    if code in _UNSUPPORTED or (status in (404, 501) and "support" in said.get("Message", "")):
        return f"not supported there ({code})", False
    is_denied = "AccessDenied" in code or "Unauthorized" in code or status == 403
    return ("permission is missing" if is_denied else f"{code}: {_short(said.get('Message', ''))}"), is_denied


def _short(message: str) -> str:
    """The first of it: servers that are not AWS answer with whole pages."""
    line = " ".join(message.split())
    return line if len(line) <= _MOST_SAID else f"{line[:_MOST_SAID]}..."
