"""What is known of an account in one region, as `reading` has found it and `findings` look at it.

None stands for what could not be seen (its reason is in `Account.unseen`); an empty tuple, mapping or Series for what
was looked for and is not there. A finding must not take the first for the second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct, field

from trimtab.advisor.audit.jobs import TrainingJob, TransformJob
from trimtab.advisor.audit.measures import Measure
from trimtab.advisor.audit.series import Series
from trimtab.advisor.audit.stored import Bucket, Repository
from trimtab.advisor.finding import Unseen
from trimtab.resources.scaling import ScalableTarget, ScalingPolicy, ScheduledAction
from trimtab.resources.serverless import Serverless


class Container(Struct, frozen=True, kw_only=True):
    """What a model runs. `settings` is a digest of its environment, which may hold secrets: equal ones are equal."""

    image: str
    model_data_url: str = ""
    is_multi_model: bool = False
    settings: str = ""


class Model(Struct, frozen=True, kw_only=True):
    """One model, with its containers in order (several: a pipeline)."""

    name: str
    arn: str
    containers: tuple[Container, ...]
    role_arn: str = ""
    network: str = ""  # a digest of its VpcConfig and isolation
    is_isolated: bool = False  # it has a VPC, or no network

    @property
    def is_multi_model(self) -> bool:
        """Whether it serves many artifacts below a prefix."""
        return any(container.is_multi_model for container in self.containers)


class Scaling(Struct, frozen=True, kw_only=True):
    """What Application Auto Scaling has of one variant. `periods_s`: what each policy's alarms look at, by its name."""

    target: ScalableTarget | None = None
    policies: tuple[ScalingPolicy, ...] = ()
    schedule: tuple[ScheduledAction, ...] = ()
    periods_s: dict[str, int] = field(default_factory=dict)


class Variant(Struct, frozen=True, kw_only=True):
    """One production variant as it runs. `instance_type` is "" of a serverless one."""

    name: str
    model: Model | None  # None: it could not be seen, or the variant hosts inference components
    instance_type: str
    count: int  # instances now
    initial_count: int
    weight: float
    serverless: Serverless | None = None
    managed: tuple[int, int] | None = None  # ManagedInstanceScaling's bounds, where it is enabled
    hosts_components: bool = False
    scaling: Scaling | None = None
    metrics: Mapping[Measure, Series] | None = None
    minutes: Series | None = None  # requests by the minute of the last days: read where a policy looks at minutes

    def series(self, measure: Measure) -> Series | None:
        """None where it was not seen, and where nothing was published."""
        found = None if self.metrics is None else self.metrics.get(measure)
        return None if found is None or found.is_empty else found

    @property
    def requests(self) -> Series | None:
        """Requests in each 300 s, asynchronous ones as they were done; None: not seen."""
        if self.metrics is None:
            return None
        asked, done = self.metrics.get(Measure.REQUESTS), self.metrics.get(Measure.PROCESSED)
        return asked if asked is not None and (done is None or asked.total >= done.total) else done


class Payload(Struct, frozen=True, kw_only=True):
    """How large requests and their answers are together, as far as it can be told. `how`: where that was read."""

    mean_bytes: float
    requests: int  # that it is the mean of
    how: str


class Endpoint(Struct, frozen=True, kw_only=True):
    """One endpoint with the config that it runs."""

    name: str
    arn: str
    status: str
    created_s: float
    changed_s: float
    config: str
    variants: tuple[Variant, ...]
    shadows: tuple[Variant, ...] = ()
    is_async: bool = False
    capture_uri: str = ""  # where data capture writes; "": it is off
    capture_percent: int = 0
    payload: Payload | None = None
    tags: dict[str, str] | None = None

    @property
    def is_multi_model(self) -> bool:
        """Whether a variant of it serves many artifacts."""
        return any(variant.model is not None and variant.model.is_multi_model for variant in self.variants)

    @property
    def is_serverless(self) -> bool:
        """Whether it is billed by the millisecond."""
        return any(variant.serverless is not None for variant in self.variants)

    @property
    def is_real_time(self) -> bool:
        """On instances that are there all the time, answering at once."""
        return not (self.is_async or self.is_serverless)


class Account(Struct, frozen=True, kw_only=True):
    """One look at one account and region at `at_s`; metrics are of the `days` before it."""

    account: str
    region: str
    at_s: float
    days: int
    endpoints: tuple[Endpoint, ...] = ()
    training: tuple[TrainingJob, ...] | None = ()  # of those days
    transforms: tuple[TransformJob, ...] | None = ()
    buckets: tuple[Bucket, ...] = ()  # that those use
    repositories: tuple[Repository, ...] | None = ()
    resilient: tuple[str, ...] = ()  # patterns of endpoints that the user wants two instances of (`resilience`)
    unseen: tuple[Unseen, ...] = ()

    def variants(self) -> Iterator[tuple[Endpoint, Variant]]:
        """Every production variant of the endpoints that are in service."""
        for endpoint in self.endpoints:
            if endpoint.status in IN_SERVICE:
                for variant in endpoint.variants:
                    yield endpoint, variant


def names(account: Account) -> frozenset[str]:
    """Of all that was looked at: what the id of a finding has behind its kind."""
    return frozenset({
        *(endpoint.name for endpoint in account.endpoints),
        *(job.family for job in account.training or ()),
        *(bucket.name for bucket in account.buckets),
        *(repository.name for repository in account.repositories or ()),
    })  # fmt: skip


IN_SERVICE = frozenset({"InService", "Updating", "SystemUpdating", "RollingBack", "UpdateRollbackFailed"})
