"""Watchers: who is told when an object has changed."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

T = TypeVar("T")
logger = logging.getLogger(__name__)

Watcher = Callable[[str, str], None]
"""(bucket, key): what `head` answers of it may be another thing than before."""
Changes = tuple[str, Iterable[str]]
"""A bucket, and the keys in it that a write may change."""
NO_CHANGES: Final[Changes] = ("", ())


class Watchers:
    """Told in the order in which changes were made. On the event loop."""

    def __init__(self) -> None:
        self._watchers: list[Watcher] = []

    def add(self, watcher: Watcher) -> None:
        """From now on."""
        self._watchers.append(watcher)

    async def tell_after(self, step: Awaitable[T], changes: Changes) -> T:
        """What `step` gives; and when it has gone well, whoever watches is told of what it changed."""
        result = await step
        self.tell(*changes)
        return result

    def tell(self, bucket: str, keys: Iterable[str]) -> None:
        """These have changed. What a watcher raises is logged: the change is made, and its caller is to hear so."""
        for key in keys:
            for watcher in self._watchers:
                try:
                    watcher(bucket, key)
                except Exception:
                    logger.exception("a watcher of objects failed")
