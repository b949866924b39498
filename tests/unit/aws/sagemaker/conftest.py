"""SageMaker's handlers on a control plane in memory; every answer is checked against AWS's model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator
from sagemaker_shapes import variant

from trimtab.aws.faults import Where, fault_of
from trimtab.aws.http import BytesBody, HttpRequest
from trimtab.aws.paging import Pager
from trimtab.aws.registry import AwsError, Call
from trimtab.aws.sagemaker import sagemaker_handlers
from trimtab.clock import ManualClock
from trimtab.errors import TrimtabError
from trimtab.testing.fake_control import FakeControl
from trimtab.testing.fake_scaling import FakeScaling

Invoke = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture(scope="session")
def model():
    return botocore.session.get_session().get_service_model("sagemaker")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def control(clock: ManualClock) -> FakeControl:
    return FakeControl(clock)


@pytest.fixture
def scaling(clock: ManualClock) -> FakeScaling:
    return FakeScaling(clock, [("e", "alltraffic"), ("other", "alltraffic")])


@pytest.fixture
def sagemaker(control: FakeControl, scaling: FakeScaling, clock: ManualClock, model) -> Invoke:
    handlers = sagemaker_handlers(control, clock, Pager(b"secret"), scaling)["sagemaker"]

    async def invoke(operation: str, **params: Any) -> dict[str, Any]:
        call = Call(
            request=HttpRequest(method="POST", raw_path="/", body=BytesBody()),
            service="sagemaker",
            operation=operation,
            request_id="r",
            region="eu-west-1",
            account="123456789012",
        )
        where = Where(service="sagemaker", protocol="json", request_id="r", region=call.region, account=call.account)
        shape = model.operation_model(operation)
        assert not ParamValidator().validate(params, shape.input_shape).has_errors(), "the test itself is wrong"
        try:
            answer = await handlers[operation](call, params)
        except TrimtabError as error:  # as the edge would say it
            fault = fault_of(error, where)
            raise AwsError(fault.code, fault.message, fault.status) from error
        if shape.output_shape is not None:
            report = ParamValidator().validate(answer, shape.output_shape)
            assert not report.has_errors(), report.generate_report()
        _assert_says_something(answer)
        return answer

    return invoke


@pytest.fixture
def deployed(sagemaker: Invoke, control: FakeControl) -> Callable[[str], Awaitable[None]]:
    """An endpoint `name` in service, from config `name-config` and model `name-model`."""

    async def deploy(name: str) -> None:
        await sagemaker("CreateModel", ModelName=f"{name}-model", PrimaryContainer={"Image": "trimtab://python"})
        await sagemaker(
            "CreateEndpointConfig", EndpointConfigName=f"{name}-config", ProductionVariants=[variant(f"{name}-model")]
        )
        await sagemaker("CreateEndpoint", EndpointName=name, EndpointConfigName=f"{name}-config")
        control.settle(name)

    return deploy


def _assert_says_something(value: Any) -> None:
    """No null and no empty structure anywhere: SDK v3 raises on them. Lists may be empty: `Tags`, `Models`."""
    if isinstance(value, dict):
        for key, member in value.items():
            assert member is not None, key
            assert member != {}, key
            _assert_says_something(member)
    elif isinstance(value, list):
        for member in value:
            _assert_says_something(member)
