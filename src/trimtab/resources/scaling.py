"""What is scaled, by which policies, and what came of it. Names are Application Auto Scaling's."""

from __future__ import annotations

import enum
from typing import Any, Final

from msgspec import Struct, field

from trimtab.resources.metric_query import MetricQuery, MetricStat

ACTIVITIES_KEPT_S: Final = 42 * 86_400  # AWS: six weeks
VARIANT_COUNT: Final = "sagemaker:variant:DesiredInstanceCount"
PROVISIONED: Final = "sagemaker:variant:DesiredProvisionedConcurrency"  # of serverless variants
LEAST: Final = {VARIANT_COUNT: 0, PROVISIONED: 1}  # MinCapacity (AWS: 0 is for asynchronous endpoints alone)

# Metrics that a policy may name to be served faster than AWS does, in the namespace `trimtab/Endpoints` with the
# dimensions EndpointName and VariantName. All are requests in progress and queued, per replica that is wanted.
SIGNAL_NAMESPACE: Final = "trimtab/Endpoints"  # as `metrics.names` has it, which is above this package
SIGNAL_1S: Final = "ConcurrencyPerReplica1s"
SIGNAL_10S: Final = "ConcurrencyPerReplica10s"
SIGNAL_EVENT: Final = "ConcurrencyPerReplicaEvent"


class Suspended(Struct, frozen=True, kw_only=True):
    """AWS's SuspendedState: what is not done, nor made up for later."""

    scale_in: bool = False
    scale_out: bool = False
    scheduled: bool = False


class ScalableTarget(Struct, frozen=True, kw_only=True):
    """A variant whose capacity may be changed by policies, within [min_capacity, max_capacity]: the number of its
    replicas, or of its provisioned environments (`dimension`).

    `managed`: made of the variant's ManagedInstanceScaling rather than by RegisterScalableTarget.
    """

    endpoint: str
    variant: str
    min_capacity: int
    max_capacity: int
    created_s: float
    id: str = ""  # the last part of its ARN
    dimension: str = VARIANT_COUNT
    role_arn: str = ""
    suspended: Suspended = Suspended()
    tags: dict[str, str] = field(default_factory=dict)
    managed: bool = False

    @property
    def resource_id(self) -> str:
        """AWS's ResourceId."""
        return f"endpoint/{self.endpoint}/variant/{self.variant}"


class TargetTracking(Struct, frozen=True, kw_only=True):
    """Keep a metric at `target_value`. `predefined` is AWS's PredefinedMetricType; else `stat` or `queries`.

    `stat.period_s` is the signal's period; `event` policies (SIGNAL_EVENT) have 0 there.
    """

    target_value: float
    predefined: str = ""
    stat: MetricStat | None = None
    queries: tuple[MetricQuery, ...] = ()
    scale_out_cooldown_s: float = 300.0  # AWS: the default for SageMaker variants
    scale_in_cooldown_s: float = 300.0
    disable_scale_in: bool = False

    @property
    def is_event(self) -> bool:
        """Whether it decides on every change rather than by alarms."""
        stat = self.stat
        return stat is not None and (stat.namespace, stat.name) == (SIGNAL_NAMESPACE, SIGNAL_EVENT)


class StepAdjustment(Struct, frozen=True):
    """From `lower` to `upper` beyond the alarm's threshold (None: without end) change capacity by `adjustment`."""

    lower: float | None
    upper: float | None
    adjustment: int


class StepScaling(Struct, frozen=True, kw_only=True):
    """AWS's StepScalingPolicyConfiguration."""

    adjustment_type: str  # ChangeInCapacity, PercentChangeInCapacity, ExactCapacity
    steps: tuple[StepAdjustment, ...]
    cooldown_s: float = 300.0
    aggregation: str = "Average"  # Average, Minimum, Maximum
    min_magnitude: int = 0


class Predictive(Struct, frozen=True, kw_only=True):
    """Forecast the load from the endpoint's own history, and have capacity for it `buffer_s` before it comes.

    AWS's PredictiveScalingPolicyConfiguration; `mode` ForecastOnly (the default) decides nothing.
    """

    target_value: float
    predefined: str = ""
    stat: MetricStat | None = None
    mode: str = "ForecastOnly"  # or ForecastAndScale
    buffer_s: float = 300.0
    max_capacity_breach: str = "HonorMaxCapacity"  # or IncreaseMaxCapacity, by `max_capacity_buffer` percent
    max_capacity_buffer: int = 0


class PolicyAlarm(Struct, frozen=True):
    """An alarm that target tracking made."""

    name: str
    arn: str


class ScalingPolicy(Struct, frozen=True, kw_only=True):
    """One policy of a target: exactly one of `tracking`, `step`, `predictive`."""

    name: str
    arn: str
    endpoint: str
    variant: str
    created_s: float
    dimension: str = VARIANT_COUNT
    tracking: TargetTracking | None = None
    step: StepScaling | None = None
    predictive: Predictive | None = None
    alarms: tuple[PolicyAlarm, ...] = ()
    document: dict[str, Any] = field(default_factory=dict)  # the configuration as declared, for Describe

    @property
    def kind(self) -> str:
        """AWS's PolicyType."""
        if self.tracking is not None:
            return "TargetTrackingScaling"
        return "StepScaling" if self.step is not None else "PredictiveScaling"


class ScheduledAction(Struct, frozen=True, kw_only=True):
    """At the times of `schedule` (AWS's at(), rate(), cron()) move the bounds, and capacity inside them."""

    name: str
    arn: str
    endpoint: str
    variant: str
    schedule: str
    created_s: float
    dimension: str = VARIANT_COUNT
    timezone: str = "UTC"
    start_s: float | None = None
    end_s: float | None = None
    min_capacity: int | None = None
    max_capacity: int | None = None


class ActivityStatus(enum.StrEnum):
    """As AWS names them."""

    PENDING = "Pending"
    IN_PROGRESS = "InProgress"
    SUCCESSFUL = "Successful"
    OVERRIDDEN = "Overridden"
    UNFULFILLED = "Unfulfilled"
    FAILED = "Failed"


class NotScaled(Struct, frozen=True, kw_only=True):
    """AWS's NotScaledReason."""

    code: str  # AutoScalingAnticipatedFlapping, TargetServicePutResourceAsUnscalable, AlreadyAtMaxCapacity, ...
    max_capacity: int | None = None
    min_capacity: int | None = None
    current_capacity: int | None = None


class ScalingActivity(Struct, frozen=True, kw_only=True):
    """One change of capacity that was tried, or (with `not_scaled`) one that was wanted and not made."""

    id: str
    endpoint: str
    variant: str
    description: str
    cause: str
    start_s: float
    end_s: float | None = None
    status: ActivityStatus
    status_message: str = ""
    details: str = ""  # JSON
    not_scaled: tuple[NotScaled, ...] = ()
    dimension: str = VARIANT_COUNT
