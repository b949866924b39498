"""What control serves: every service of AWS's control planes, trimtab's own API, scrapes, and the links of notices."""

from __future__ import annotations

import os
from collections.abc import Coroutine
from typing import TYPE_CHECKING

import msgspec

from trimtab.clock import Clock, SystemClock
from trimtab.config import Config

if TYPE_CHECKING:
    from pathlib import Path

    from trimtab.aws.http import Handler
    from trimtab.aws.native_scaling import ScalingHistory
    from trimtab.aws.paging import Pager
    from trimtab.aws.registry import Authenticate, Handlers
    from trimtab.aws.sns import Sns
    from trimtab.control.alarms import Alarms
    from trimtab.control.api import ControlApi
    from trimtab.control.hosts.api import ModelsApi
    from trimtab.control.queue_desk import QueueDesk
    from trimtab.control.scaling.api import ScalingApi
    from trimtab.control.service import Control
    from trimtab.control.top import Overview
    from trimtab.metrics.store import MetricStore
    from trimtab.objects.store import ObjectStore
    from trimtab.queues.store import Queues


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
) -> Handler:
    """Everything that is not data plane: Prometheus's scrapes, trimtab's own API, then AWS's services."""
    from trimtab.aws.dispatch import Dispatcher
    from trimtab.aws.http import HttpRequest, HttpResponse
    from trimtab.aws.native import PREFIX, native_api
    from trimtab.aws.prometheus import is_scrape

    about = {"region": config.region, "account": config.account}
    aws = Dispatcher(handlers, authenticate, **about)
    native = native_api(plane, overview, authenticate, config.paths.logs, about, history, models, queues)

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
    from trimtab.aws import sts
    from trimtab.aws.autoscaling import autoscaling_handlers
    from trimtab.aws.cloudwatch import cloudwatch_handlers
    from trimtab.aws.iam import Iam
    from trimtab.aws.logs import logs_handlers
    from trimtab.aws.registry import handlers_of, merge
    from trimtab.aws.s3 import s3_handlers
    from trimtab.aws.sagemaker import sagemaker_handlers

    paths = config.paths
    pager = pager_of(config)
    return merge(
        sagemaker_handlers(plane, SystemClock(), pager, scaling),
        cloudwatch_handlers(metrics, alarms, SystemClock(), pager),
        autoscaling_handlers(scaling, SystemClock(), pager, alarms.list),
        s3_handlers(objects),
        logs_handlers(paths.logs, SystemClock(), paging_secret(config)),
        messaging,
        handlers_of(sts),
        handlers_of(Iam(created_s=paths.version.stat().st_mtime)),
    )


def with_links(config: Config, sns: Sns, otherwise: Handler) -> Handler:
    """What subscribers of topics ask without a key: the certificate of messages, and the links in them."""
    from trimtab.aws.auth import Authenticator
    from trimtab.aws.dispatch import Dispatcher
    from trimtab.aws.http import HttpRequest, HttpResponse
    from trimtab.aws.sns import is_certificate, is_link

    anybody = Authenticator(dict, region=config.region, clock=SystemClock(), required=False)
    links = Dispatcher(sns.unsigned_handlers, anybody, region=config.region, account=config.account)

    async def handle(request: HttpRequest) -> HttpResponse:
        if is_certificate(request):
            return sns.certificate(request)
        return await (links if is_link(request) else otherwise)(request)

    return handle


def notices_elsewhere(config: Config, queues: Queues, clock: Clock) -> list[Coroutine[object, object, None]]:
    """What publishes notices to a real SNS, where the topics are to be those of one."""
    from trimtab.aws.sns.remote import Remote
    from trimtab.control.topics.elsewhere import Elsewhere

    if not config.sns_endpoint_url:
        return []
    remote = Remote(config.sns_endpoint_url, os.environ, clock)
    return [Elsewhere(queues, remote.publish, clock).run()]


def server_url(file: Path) -> str:
    """Where this trimtab can be reached, as it has told everybody in `server.json`."""
    return str(msgspec.json.decode(file.read_bytes())["url"])


def pager_of(config: Config) -> Pager:
    """What makes and reads the tokens of listings."""
    from trimtab.aws.paging import Pager

    return Pager(paging_secret(config))


def paging_secret(config: Config) -> bytes:
    """Of the root key: tokens stay good when other keys come and go."""
    import hashlib

    from trimtab.aws import keys

    paths = config.paths
    return hashlib.sha256(b"paging" + keys.root_of(keys.load(paths.keys), paths.keys).secret.encode()).digest()
