"""What control serves: every service of AWS's control planes, trimtab's own API, and scrapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab.clock import SystemClock
from trimtab.config import Config

if TYPE_CHECKING:
    from trimtab.aws.http import Handler
    from trimtab.aws.native_scaling import ScalingHistory
    from trimtab.aws.registry import Authenticate, Handlers
    from trimtab.control.alarms import Alarms
    from trimtab.control.api import ControlApi
    from trimtab.control.costs.asking import CostBook
    from trimtab.control.hosts.api import ModelsApi
    from trimtab.control.queue_desk import QueueDesk
    from trimtab.control.scaling.api import ScalingApi
    from trimtab.control.service import Control
    from trimtab.control.top import Overview
    from trimtab.metrics.store import MetricStore
    from trimtab.objects.store import ObjectStore


def control_handler(
    config: Config,
    plane: Control,
    overview: Overview,
    history: ScalingHistory,
    handlers: Handlers,
    authenticate: Authenticate,
    prometheus: Handler,
    models: ModelsApi | None = None,
    queues: QueueDesk | None = None,
    costs: CostBook | None = None,
) -> Handler:
    """Everything that is not data plane: Prometheus's scrapes, trimtab's own API, then AWS's services."""
    from trimtab.aws.dispatch import Dispatcher
    from trimtab.aws.http import HttpRequest, HttpResponse
    from trimtab.aws.native import PREFIX, native_api
    from trimtab.aws.prometheus import is_scrape

    about = {"region": config.region, "account": config.account}
    aws = Dispatcher(handlers, authenticate, **about)
    native = native_api(plane, overview, authenticate, config.paths.logs, about, history, models, queues, costs)

    async def handle(request: HttpRequest) -> HttpResponse:
        if is_scrape(request):
            return await prometheus(request)
        return await (native if request.raw_path.startswith(PREFIX) else aws)(request)

    return handle


def aws_handlers(
    config: Config,
    plane: ControlApi,
    objects: ObjectStore,
    metrics: MetricStore,
    alarms: Alarms,
    scaling: ScalingApi,
    messaging: Handlers,
) -> Handlers:
    """Every operation of AWS's control planes that is served; docs/operations.md lists them."""
    from trimtab.aws import keys, sts
    from trimtab.aws.autoscaling import autoscaling_handlers
    from trimtab.aws.cloudwatch import cloudwatch_handlers
    from trimtab.aws.iam import Iam
    from trimtab.aws.logs import logs_handlers
    from trimtab.aws.paging import Pager
    from trimtab.aws.registry import handlers_of, merge
    from trimtab.aws.s3 import s3_handlers
    from trimtab.aws.sagemaker import sagemaker_handlers

    paths = config.paths
    secret = keys.paging_secret(paths.keys)
    pager = Pager(secret)
    return merge(
        sagemaker_handlers(plane, SystemClock(), pager, scaling),
        cloudwatch_handlers(metrics, alarms, SystemClock(), pager),
        autoscaling_handlers(scaling, SystemClock(), pager, alarms.list),
        s3_handlers(objects),
        logs_handlers(paths.logs, SystemClock(), secret),
        messaging,
        handlers_of(sts),
        handlers_of(Iam(created_s=paths.version.stat().st_mtime)),
    )
