"""Targets that nobody registered: of variants whose endpoint config has ManagedInstanceScaling."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from trimtab.control.scaling.arns import Arns
from trimtab.control.scaling.book import Book, Place, place_of
from trimtab.control.scaling.seen import managed_of, seen_of
from trimtab.control.scaling.service import Scaling
from trimtab.metrics.names import ENDPOINT, TRIMTAB, VARIANT
from trimtab.resources.deployment import EndpointRecord
from trimtab.resources.metric_query import MetricStat
from trimtab.resources.scaling import SIGNAL_EVENT, ScalableTarget, ScalingPolicy, TargetTracking

POLICY: Final = "ManagedInstanceScaling"
TARGET_VALUE: Final = 1.0  # in hand per replica: busy for half of the time, when requests come at random
COOLDOWN_S: Final = 60.0


class Managed:
    """Keeps them as the configs that serve want them. A target that a caller registers takes their place."""

    def __init__(self, scaling: Scaling, book: Book, arns: Arns) -> None:
        self._scaling = scaling
        self._book = book
        self._arns = arns

    def sync(self, records: Sequence[EndpointRecord], now_s: float) -> None:
        """Make, change and forget what is needed; without effect when it is done."""
        wanted: dict[Place, tuple[str, str, int, int]] = {}
        for record in records:
            for variant, (least, most) in managed_of(record).items():
                if seen_of(record, variant) is not None:
                    name = record.endpoint.name
                    wanted[place_of(name, variant)] = (name, variant, least, most)
        for target in self._book.targets():
            if target.managed and place_of(target.endpoint, target.variant) not in wanted:
                self._scaling.forget(target)
        for place, (endpoint, variant, least, most) in wanted.items():
            known = self._book.find(place)
            if known is not None and not known.managed:
                continue
            if known is None:
                known = ScalableTarget(
                    endpoint=endpoint,
                    variant=variant,
                    min_capacity=least,
                    max_capacity=most,
                    created_s=now_s,
                    id=secrets.token_hex(18),
                    managed=True,
                )
                self._scaling.keep_target(known)
            elif (known.min_capacity, known.max_capacity) != (least, most):
                self._scaling.keep_target(replace(known, min_capacity=least, max_capacity=most))
            if self._book.policy(known, POLICY) is None:  # also when control died before it was saved
                self._scaling.keep_policy(self._policy(known, now_s))

    def _policy(self, target: ScalableTarget, now_s: float) -> ScalingPolicy:
        dimensions = ((ENDPOINT, target.endpoint), (VARIANT, target.variant))
        stat = MetricStat(TRIMTAB, SIGNAL_EVENT, dimensions, 0, "Average")
        return ScalingPolicy(
            name=POLICY,
            arn=self._arns.policy(target, POLICY),
            endpoint=target.endpoint,
            variant=target.variant,
            created_s=now_s,
            tracking=TargetTracking(
                target_value=TARGET_VALUE, stat=stat, scale_out_cooldown_s=0.0, scale_in_cooldown_s=COOLDOWN_S
            ),
        )
