"""botocore's real Application Auto Scaling client, answered in-process; what is told is kept in memory."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import botocore.session
import pytest
from botocore.awsrequest import AWSResponse, HeadersDict
from botocore.config import Config
from botocore.exceptions import ClientError
from msgspec.structs import replace

from trimtab.aws.auth import Authenticator
from trimtab.aws.autoscaling import autoscaling_handlers
from trimtab.aws.dispatch import Dispatcher
from trimtab.aws.http import BytesBody, Headers, HttpRequest, HttpResponse
from trimtab.aws.paging import Pager
from trimtab.clock import ManualClock, SystemClock
from trimtab.errors import Invalid, LimitExceeded, NotFound
from trimtab.resources.names import key_of
from trimtab.resources.routing import AccessKey
from trimtab.resources.scaling import (
    PolicyAlarm,
    ScalableTarget,
    ScalingActivity,
    ScalingPolicy,
    ScheduledAction,
    Suspended,
)

ROOT = AccessKey(id="ROOT", secret="s3cret")
LIMITED = AccessKey(id="LIMITED", secret="s", actions=("*",), endpoints=("fraud",))
DIMENSION = "sagemaker:variant:DesiredInstanceCount"
PLACE = {"ServiceNamespace": "sagemaker", "ResourceId": "endpoint/fraud/variant/blue", "ScalableDimension": DIMENSION}
Key = tuple[str, str, str]


class FakeScaling:
    """A ScalingApi in memory: the variants are blue and green of the endpoint Fraud, and blue of Other."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.variants = {("fraud", "blue"), ("fraud", "green"), ("other", "blue")}
        self.known: dict[Key, ScalableTarget] = {}
        self.held_policies: dict[tuple[str, ...], ScalingPolicy] = {}
        self.held_actions: dict[tuple[str, ...], ScheduledAction] = {}
        self.held_activities: list[ScalingActivity] = []  # newest first
        self.most_policies = 50

    def register(
        self,
        endpoint: str,
        variant: str,
        dimension: str,
        *,
        min_capacity: int | None,
        max_capacity: int | None,
        role_arn: str,
        suspended: Suspended | None,
        tags: Mapping[str, str],
    ) -> ScalableTarget:
        key = _key(endpoint, variant, dimension)
        if endpoint.lower() not in {name for name, _ in self.variants}:
            raise NotFound("endpoint", endpoint)
        if key[:2] not in self.variants:
            raise NotFound("variant", variant)
        before = self.known.get(key)
        least = min_capacity if min_capacity is not None else before and before.min_capacity
        most = max_capacity if max_capacity is not None else before and before.max_capacity
        if least is None or most is None:
            raise Invalid("You must supply a minimum and a maximum capacity for a new scalable target.")
        if least > most:
            raise Invalid("Maximum capacity cannot be less than minimum capacity.")
        made = before or ScalableTarget(
            endpoint=endpoint, variant=variant, dimension=dimension, min_capacity=least, max_capacity=most,
            created_s=self.clock.now_s(), id=f"0a{len(self.known)}", tags=dict(tags),
        )  # fmt: skip
        made = replace(made, min_capacity=least, max_capacity=most, suspended=suspended or made.suspended)
        self.known[key] = made
        return made

    def deregister(self, endpoint: str, variant: str, dimension: str) -> None:
        self._target(endpoint, variant, dimension)
        del self.known[_key(endpoint, variant, dimension)]

    def targets(self) -> Sequence[ScalableTarget]:
        return list(self.known.values())

    def put_policy(self, policy: ScalingPolicy) -> ScalingPolicy:
        target = self._target(policy.endpoint, policy.variant, policy.dimension)
        if len(self.held_policies) >= self.most_policies:
            raise LimitExceeded("The target has too many scaling policies.")
        where = f"resource/sagemaker/{target.resource_id}:policyName/{policy.name}"
        alarms = tuple(
            PolicyAlarm(f"TargetTracking-{side}", f"arn:aws:cloudwatch:us-east-1:111122223333:alarm:{side}")
            for side in (("AlarmHigh", "AlarmLow") if policy.tracking is not None else ())
        )
        key = (*_key(policy.endpoint, policy.variant, policy.dimension), policy.name)
        before = self.held_policies.get(key)
        self.held_policies[key] = replace(
            policy,
            arn=f"arn:aws:autoscaling:us-east-1:111122223333:scalingPolicy:6d8972f3:{where}",
            created_s=before.created_s if before else self.clock.now_s(),
            alarms=alarms,
        )
        return self.held_policies[key]

    def delete_policy(self, endpoint: str, variant: str, dimension: str, name: str) -> None:
        if self.held_policies.pop((*_key(endpoint, variant, dimension), name), None) is None:
            raise NotFound("scaling-policy", name)

    def policies(self) -> Sequence[ScalingPolicy]:
        return list(self.held_policies.values())

    def put_action(self, action: ScheduledAction) -> None:
        target = self._target(action.endpoint, action.variant, action.dimension)
        where = f"resource/sagemaker/{target.resource_id}:scheduledActionName/{action.name}"
        arn = f"arn:aws:autoscaling:us-east-1:111122223333:scheduledAction:6d8972f3:{where}"
        key = (*_key(action.endpoint, action.variant, action.dimension), action.name)
        self.held_actions[key] = replace(action, arn=arn, created_s=self.clock.now_s())

    def delete_action(self, endpoint: str, variant: str, dimension: str, name: str) -> None:
        if self.held_actions.pop((*_key(endpoint, variant, dimension), name), None) is None:
            raise NotFound("scheduled-action", name)

    def actions(self) -> Sequence[ScheduledAction]:
        return list(self.held_actions.values())

    def activities(
        self, endpoint: str = "", variant: str = "", *, before: str = "", limit: int = 50
    ) -> Sequence[ScalingActivity]:
        found = [
            activity
            for activity in self.held_activities
            if key_of(endpoint) in ("", key_of(activity.endpoint)) and key_of(variant) in ("", key_of(activity.variant))
        ]
        ids = [activity.id for activity in self.held_activities]
        rest = ids[ids.index(before) + 1 :] if before else ids
        return [activity for activity in found if activity.id in rest][:limit]

    def set_tags(self, target_id: str, tags: Mapping[str, str]) -> None:
        [key] = [key for key, target in self.known.items() if target.id == target_id]
        self.known[key] = replace(self.known[key], tags=dict(tags))

    def _target(self, endpoint: str, variant: str, dimension: str) -> ScalableTarget:
        try:
            return self.known[_key(endpoint, variant, dimension)]
        except KeyError:
            raise NotFound("scalable-target", f"{endpoint}/{variant}") from None


class World:
    """The edge, and clients of it."""

    def __init__(self) -> None:
        self.clock = ManualClock(1_700_000_000.0)
        self.scaling = FakeScaling(self.clock)
        keys = {key.id: key for key in (ROOT, LIMITED)}
        authenticate = Authenticator(lambda: keys, region="us-east-1", clock=SystemClock(), required=True)
        handlers = autoscaling_handlers(self.scaling, self.clock, Pager(b"secret"))
        self._edge = Dispatcher(handlers, authenticate, region="us-east-1", account="111122223333")

    def client(self, key: AccessKey = ROOT, *, checks: bool = True) -> Any:
        """botocore's; with `checks` False it sends what it knows to be wrong, too."""
        session = botocore.session.Session()
        session.set_credentials(key.id, key.secret)
        client = session.create_client(
            "application-autoscaling",
            region_name="us-east-1",
            endpoint_url="http://127.0.0.1:7070/",
            config=Config(retries={"total_max_attempts": 1}, parameter_validation=checks),
        )
        client.meta.events.register("before-send", self._answer)
        return client

    def _answer(self, request: Any, **_: Any) -> AWSResponse:
        url = urlsplit(request.url)
        pairs = [(k.lower(), v.decode() if isinstance(v, bytes) else str(v)) for k, v in request.headers.items()]
        asked = HttpRequest(
            method=request.method,
            raw_path=url.path,
            query=url.query,
            headers=Headers([*pairs, ("host", url.netloc)]),
            body=BytesBody(request.body or b""),
        )
        response: HttpResponse = asyncio.run(self._edge(asked))
        headers = HeadersDict()
        for name, value in response.headers:
            headers[name] = value
        assert isinstance(response.body, bytes)
        return AWSResponse(request.url, response.status, headers, _Raw(response.body))


class _Raw(io.BytesIO):
    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


def _key(endpoint: str, variant: str, dimension: str) -> Key:
    return key_of(endpoint), key_of(variant), dimension


def refusal(call: Any, **params: Any) -> tuple[str, str]:
    """Code and message."""
    with pytest.raises(ClientError) as caught:
        call(**params)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]
