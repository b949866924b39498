"""CloudWatch Logs over the replicas' logs: reading. Logs are written by replicas alone."""

from __future__ import annotations

from pathlib import Path

from trimtab.aws.logs.events import Events
from trimtab.aws.logs.listing import Listing
from trimtab.aws.logs.streams import LogFolder
from trimtab.aws.logs.tokens import Tokens
from trimtab.aws.paging import Pager
from trimtab.aws.registry import OperationHandler, handlers_of, merge
from trimtab.clock import Clock


def logs_handlers(folder: Path, clock: Clock, secret: bytes) -> dict[str, dict[str, OperationHandler]]:
    """Every operation of CloudWatch Logs that trimtab serves, over `folder` (`Paths.logs`); `secret` signs tokens."""
    logs = LogFolder(folder)
    return merge(handlers_of(Listing(logs, Pager(secret))), handlers_of(Events(logs, clock, Tokens(secret))))
