"""The price book as the cost ledger asks it (`control.costs.prices.Prices`): read when needed, and again when the
user's files have changed, so that a new price counts from then on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Final

from trimtab.advisor.prices.book import Book, aws_list, book
from trimtab.advisor.prices.hardware import user_files
from trimtab.errors import Invalid
from trimtab.logs import fields
from trimtab.resources.serverless import INSTANCE_TYPE_PREFIX

logger = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 5.0


class ChargedPrices:
    """Of one region. A file of the user's that cannot be read is told in the log, and what was known before holds."""

    def __init__(self, region: str, *, now_s: Callable[[], float], path: Path | None = None) -> None:
        self._region = region
        self._now_s = now_s
        self._path = path
        self._book: Book | None = None
        self._files: tuple[int, ...] = ()
        self._looked_s = 0.0

    def usd_per_hour(self, instance_type: str) -> Fraction | None:
        """See Prices."""
        price = self._here().instance(instance_type, "hosting", self._region) if instance_type else None
        return None if price is None else price.exact

    def serverless_usd_per_s(self, memory_mib: int) -> Fraction | None:
        """See Prices."""
        price = self._here().serverless(memory_mib, self._region)
        return None if price is None else price.exact

    def provisioned_usd_per_s(self, memory_mib: int) -> Fraction | None:
        """See Prices."""
        price = self._here().provisioned(memory_mib, self._region)
        return None if price is None else price.exact

    def notes(self, instance_types: Iterable[str]) -> Sequence[str]:
        """See Prices."""
        asked = self._here().fresh()
        for instance_type in sorted(set(instance_types)):
            if instance_type.startswith(INSTANCE_TYPE_PREFIX):
                asked.serverless(int(instance_type.removeprefix(INSTANCE_TYPE_PREFIX)), self._region)
            elif instance_type:
                asked.instance(instance_type, "hosting", self._region)
        return asked.notes(datetime.fromtimestamp(self._now_s(), UTC).date())

    def _here(self) -> Book:
        now_s = self._now_s()
        if self._book is None or not 0 <= now_s - self._looked_s < _LOOK_EVERY_S:
            self._looked_s = now_s
            files = self._changed_ns()
            if self._book is None or files != self._files:
                self._files = files
                self._read()
        assert self._book is not None
        return self._book

    def _changed_ns(self) -> tuple[int, ...]:
        """When the user's files were changed; 0 for one that is not there."""
        try:
            return tuple(file.stat().st_mtime_ns if file.exists() else 0 for file in user_files(self._path))
        except (Invalid, OSError):
            return ()

    def _read(self) -> None:
        try:
            self._book = book(self._path)
        except Invalid as error:
            logger.warning("the user's prices cannot be read: others hold %s", fields(error=error))
            self._book = self._book or aws_list().fresh()
