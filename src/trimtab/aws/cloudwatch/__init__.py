"""CloudWatch: metrics read and written, metric math, alarms."""

from __future__ import annotations

from trimtab.aws.cloudwatch.alarms import AlarmOperations
from trimtab.aws.cloudwatch.data import Data
from trimtab.aws.cloudwatch.history import History
from trimtab.aws.cloudwatch.putting import Putting
from trimtab.aws.cloudwatch.reading import Reading
from trimtab.aws.paging import Pager
from trimtab.aws.registry import OperationHandler, handlers_of, merge
from trimtab.clock import Clock
from trimtab.control.alarms import Alarms
from trimtab.metrics.store import MetricStore


def cloudwatch_handlers(
    metrics: MetricStore, alarms: Alarms, clock: Clock, pager: Pager
) -> dict[str, dict[str, OperationHandler]]:
    """The handlers of every CloudWatch operation that trimtab serves, for the Dispatcher."""
    return merge(
        handlers_of(Putting(metrics, clock)),
        handlers_of(Reading(metrics, clock, pager)),
        handlers_of(Data(metrics, clock, pager)),
        handlers_of(AlarmOperations(alarms, pager)),
        handlers_of(History(alarms, clock, pager)),
    )
