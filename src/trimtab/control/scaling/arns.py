"""The ARNs of policies and scheduled actions: durable names that alarms act on, so control makes them."""

from __future__ import annotations

import uuid

from msgspec import Struct

from trimtab.resources.scaling import ScalableTarget


class Arns(Struct, frozen=True):
    """Makes ARNs as AWS does, of one region and account."""

    region: str
    account: str

    def policy(self, target: ScalableTarget, name: str) -> str:
        """A new policy's."""
        return self._of("scalingPolicy", target, f"policyName/{name}")

    def action(self, target: ScalableTarget, name: str) -> str:
        """A new scheduled action's."""
        return self._of("scheduledAction", target, f"scheduledActionName/{name}")

    def alarm(self, name: str) -> str:
        """A CloudWatch alarm's."""
        return f"arn:aws:cloudwatch:{self.region}:{self.account}:alarm:{name}"

    def _of(self, kind: str, target: ScalableTarget, name: str) -> str:
        where = f"resource/sagemaker/{target.resource_id}:{name}"
        return f"arn:aws:autoscaling:{self.region}:{self.account}:{kind}:{uuid.uuid4()}:{where}"
