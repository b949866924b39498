"""The account of `testing.account` as reading would have found it, without a server: for tests of findings."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from trimtab.advisor.audit.account import Account, Container, Endpoint, Model, Payload, Scaling, Variant
from trimtab.advisor.audit.measures import SOURCES, Measure
from trimtab.advisor.audit.reading.scaling import policy_of
from trimtab.advisor.audit.series import DAY_S, HOUR_S, Series
from trimtab.resources.scaling import VARIANT_COUNT, ScalableTarget
from trimtab.sim.load import Floats
from trimtab.testing.account import BUCKET, CASES, ROLE, Case, metric_data

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
    captured = Payload(mean_bytes=case.payload_bytes, requests=50, how="data capture") if case.payload_bytes else None
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
    columns = {name: _Columns(data) for name, data in by_name.items()}
    nothing = _Columns([])
    made = {
        measure: columns.get((source.namespace, source.metric), nothing).series(
            source.stat, source.period_s, start_s, days * DAY_S
        )
        for measure, source in SOURCES.items()
    }
    invocations = columns["AWS/SageMaker", "Invocations"]
    return made, invocations.series("Sum", 60, start_s, days * DAY_S).last(3 * DAY_S)


class _Columns:
    """PutMetricData's data of one metric."""

    def __init__(self, data: list[dict[str, Any]]) -> None:
        sets = [datum.get("StatisticValues") or _set(datum["Values"]) for datum in data]
        self._at_s = np.array([datum["Timestamp"] for datum in data])
        self._sum, self._count, self._most = (
            np.array([each[name] for each in sets], dtype=float) for name in ("Sum", "SampleCount", "Maximum")
        )
        self._values = [datum.get("Values") for datum in data]

    def series(self, stat: str, period_s: int, start_s: float, span_s: float) -> Series:
        """One statistic, by the period."""
        values = np.full(round(span_s / period_s), np.nan)
        if not len(self._at_s):
            return Series(start_s, period_s, values)
        index = ((self._at_s - start_s) // period_s).astype(int)
        present, of = np.unique(index, return_inverse=True)
        values[present] = self._statistic(stat, of)
        return Series(start_s, period_s, values)

    def _statistic(self, stat: str, of: Any) -> Floats:
        match stat:
            case "Sum":
                return np.bincount(of, self._sum).astype(float)
            case "SampleCount":
                return np.bincount(of, self._count).astype(float)
            case "Average":
                return np.bincount(of, self._sum) / np.bincount(of, self._count)
            case "Maximum":
                most = np.full(of.max() + 1, -np.inf)
                np.maximum.at(most, of, self._most)
                return most
            case _:  # a percentile: of plain values, of which a period has one datum
                return np.array([np.quantile(mine, float(stat[1:]) / 100) if mine else np.nan for mine in self._values])


def _set(values: list[float]) -> dict[str, float]:
    return {"Sum": sum(values), "SampleCount": len(values), "Maximum": max(values)}
