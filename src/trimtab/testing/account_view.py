"""The account of `testing.account` as reading would have found it, without a server: for tests of findings."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import numpy as np

from trimtab.advisor.audit.account import Account, Container, Endpoint, Model, Payload, Scaling, Variant
from trimtab.advisor.audit.measures import SOURCES, Measure
from trimtab.advisor.audit.reading.scaling import policy_of
from trimtab.advisor.audit.series import DAY_S, HOUR_S, Series
from trimtab.resources.scaling import VARIANT_COUNT, ScalableTarget
from trimtab.testing.account import BUCKET, CASES, ROLE, Case, metric_data
from trimtab.testing.aws_server import statistic

NOW_S = 1_790_000_000.0
ACCOUNT = "123456789012"


def account_of(*cases: Case, days: int = 14, now_s: float = NOW_S) -> Account:
    """Of these cases, or of all of them."""
    return Account(
        account=ACCOUNT,
        region="us-east-1",
        at_s=now_s,
        days=days,
        endpoints=tuple(endpoint_of(case, days=days, now_s=now_s) for case in cases or CASES),
    )


def endpoint_of(case: Case, *, days: int = 14, now_s: float = NOW_S) -> Endpoint:
    """One endpoint with all that can be known of it."""
    captured = Payload(mean_bytes=case.payload_bytes, requests=50, how="capture") if case.payload_bytes else None
    return Endpoint(
        name=case.name,
        arn=f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:endpoint/{case.name}",
        status="InService",
        created_s=now_s - 90 * DAY_S,
        changed_s=now_s - 90 * DAY_S,
        config=case.name,
        variants=(_variant(case, days, now_s),),
        is_async=case.is_async,
        payload=captured,
        tags={},
    )


def _variant(case: Case, days: int, now_s: float) -> Variant:
    container = Container(
        image=case.image or f"company/{case.name}:1", model_data_url=f"s3://{BUCKET}/{case.name}/1/model.tar.gz"
    )
    metrics, minutes = _metrics(case, days, now_s)
    return Variant(
        name="main",
        model=Model(name=case.name, arn=f"model/{case.name}", containers=(container,), role_arn=ROLE),
        instance_type=case.instance_type,
        count=case.count,
        initial_count=case.count,
        weight=1.0,
        scaling=_scaling(case),
        metrics=metrics,
        minutes=minutes if case.has_minutes else None,
    )


def _scaling(case: Case) -> Scaling:
    if case.policy is None:
        return Scaling()
    key = (case.name, "main")
    policy = policy_of(
        key,
        {
            "PolicyName": f"{case.name}-load",
            "ScalableDimension": VARIANT_COUNT,
            "TargetTrackingScalingPolicyConfiguration": dict(case.policy),
        },
    )
    target = ScalableTarget(
        endpoint=case.name,
        variant="main",
        min_capacity=min(2, case.count),
        max_capacity=2 * case.count + 2,
        created_s=0.0,
    )
    kind = case.policy["PredefinedMetricSpecification"]["PredefinedMetricType"]
    return Scaling(
        target=target, policies=(policy,), periods_s={policy.name: 10 if kind.endswith("HighResolution") else 60}
    )


def _metrics(case: Case, days: int, now_s: float) -> tuple[dict[Measure, Series], Series]:
    """Every measure, and the requests by the minute."""
    by_name: defaultdict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for namespace, data in metric_data(case, now_s, days).items():
        for datum in data:
            by_name[namespace, datum["MetricName"]].append(datum)
    start_s = now_s // HOUR_S * HOUR_S - days * DAY_S
    made = {
        measure: _series(by_name[source.namespace, source.metric], source.stat, source.period_s, start_s, days * DAY_S)
        for measure, source in SOURCES.items()
    }
    invocations = by_name["AWS/SageMaker", "Invocations"]
    return made, _series(invocations, "Sum", 60, start_s, days * DAY_S).last(3 * DAY_S)


def _series(data: list[dict[str, Any]], stat: str, period_s: int, start_s: float, span_s: float) -> Series:
    periods: defaultdict[int, list[Any]] = defaultdict(list)
    for datum in data:
        periods[int((datum["Timestamp"] - start_s) // period_s)] += _plain(datum)
    values = np.full(round(span_s / period_s), np.nan)
    for index, mine in periods.items():
        found = statistic(stat, mine)
        values[index] = np.nan if found is None else found
    return Series(start_s, period_s, values)


def _plain(datum: dict[str, Any]) -> list[Any]:
    """As `statistic` takes it."""
    if "Values" in datum:
        return [SimpleNamespace(value=value) for value in datum["Values"]]
    of = datum["StatisticValues"]
    return [SimpleNamespace(sample_count=of["SampleCount"], sum=of["Sum"], min=of["Minimum"], max=of["Maximum"])]
