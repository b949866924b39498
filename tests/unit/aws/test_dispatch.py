"""The edge as boto3 sees it: botocore's real clients, signed, answered in-process by the Dispatcher."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import botocore.session
import pytest
from botocore.awsrequest import AWSResponse, HeadersDict
from botocore.config import Config
from botocore.exceptions import ClientError

from trimtab.aws.auth import Authenticator
from trimtab.aws.dispatch import Dispatcher
from trimtab.aws.http import BytesBody, Headers, HttpRequest, HttpResponse
from trimtab.aws.registry import Answer, AwsError, Call
from trimtab.clock import SystemClock
from trimtab.errors import Broken, InUse, NotFound
from trimtab.resources.routing import AccessKey

ROOT = AccessKey(id="ROOT", secret="s3cret")
INVOKER = AccessKey(
    id="INVOKER", secret="x", actions=("sagemaker:Invoke*", "sagemaker:Describe*"), endpoints=("mine-*",)
)


LOADER = botocore.session.Session().get_component("data_loader")  # shared: it keeps what it has read


class Raw(io.BytesIO):
    """A response body as urllib3 gives it to botocore."""

    def stream(self, **_: Any) -> Any:
        while piece := self.read(8192):
            yield piece


class World:
    """Handlers under test, and clients of a Dispatcher that has them."""

    def __init__(self) -> None:
        self.handlers: dict[str, dict[str, Any]] = {"sagemaker": {}, "s3": {}, "sts": {}, "iam": {}}
        self.seen: list[tuple[Call, dict[str, Any]]] = []
        keys = {key.id: key for key in (ROOT, INVOKER)}
        self.authenticate = Authenticator(lambda: keys, region="us-east-1", clock=SystemClock(), required=True)

    def answers(self, service: str, operation: str, result: Any) -> None:
        """`result` is returned, raised, or called."""

        def handle(call: Call, params: dict[str, Any]) -> Any:
            self.seen.append((call, params))
            if isinstance(result, Exception):
                raise result
            return result(call, params) if callable(result) else result

        self.handlers.setdefault(service, {})[operation] = handle

    def edge(self) -> Dispatcher:
        return Dispatcher(self.handlers, self.authenticate, region="us-east-1", account="111122223333")

    def client(self, service: str, key: AccessKey = ROOT) -> Any:
        session = botocore.session.Session()
        session.register_component("data_loader", LOADER)
        session.set_credentials(key.id, key.secret)
        client = session.create_client(
            service,
            region_name="us-east-1",
            endpoint_url="http://127.0.0.1:7070",
            config=Config(retries={"total_max_attempts": 1}),
        )
        edge = self.edge()

        def send(request: Any, **_: Any) -> AWSResponse:
            url = urlsplit(request.url)
            body = request.body.read() if hasattr(request.body, "read") else request.body or b""
            headers = [
                (k.lower(), v.decode("latin-1") if isinstance(v, bytes) else v) for k, v in request.headers.items()
            ]
            received = HttpRequest(
                method=request.method,
                raw_path=url.path or "/",
                query=url.query,
                headers=Headers([*headers, ("host", url.netloc)]),
                body=BytesBody(body.encode() if isinstance(body, str) else bytes(body)),
            )
            response, data = asyncio.run(whole(edge, received))
            headers_out = HeadersDict()
            for name, value in response.headers:
                headers_out[name] = value
            return AWSResponse(request.url, response.status, headers_out, Raw(data))

        client.meta.events.register("before-send", send)
        return client


async def whole(edge: Dispatcher, request: HttpRequest) -> tuple[HttpResponse, bytes]:
    response = await edge(request)
    if isinstance(response.body, bytes):
        return response, response.body
    return response, b"".join([piece async for piece in response.body])


@pytest.fixture
def world() -> World:
    return World()


def code_of(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    response = error.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def test_a_json_call_reaches_its_handler_and_its_result_comes_back(world: World) -> None:
    created = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    arn = "arn:aws:sagemaker:us-east-1:111122223333:model/m"
    world.answers(
        "sagemaker",
        "DescribeModel",
        {"ModelName": "m", "ModelArn": arn, "CreationTime": created.timestamp(), "VpcConfig": None},
    )
    answer = world.client("sagemaker").describe_model(ModelName="m")
    assert answer["CreationTime"] == created
    assert "VpcConfig" not in answer, "what is unset is left out"
    [(call, params)] = world.seen
    assert params == {"ModelName": "m"}
    assert call.identity == ROOT
    assert (call.service, call.operation, call.account) == ("sagemaker", "DescribeModel", "111122223333")
    assert call.request_id == answer["ResponseMetadata"]["RequestId"]


def test_handlers_may_be_coroutines(world: World) -> None:
    async def later(call: Call, params: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"Account": "1", "Arn": "a", "UserId": "u"}

    world.handlers["sts"]["GetCallerIdentity"] = later
    answer = world.client("sts").get_caller_identity()
    assert answer["Account"] == "1"
    assert answer["ResponseMetadata"]["RequestId"]


def test_an_operation_without_output_answers_nothing(world: World) -> None:
    world.answers("sagemaker", "DeleteModel", {})
    answer = world.client("sagemaker").delete_model(ModelName="m")
    assert answer.keys() == {"ResponseMetadata"}


def test_objects_stream_in_and_out(world: World) -> None:
    stored = b"x" * 100_000

    async def put(call: Call, params: dict[str, Any]) -> dict[str, Any]:
        assert b"".join([piece async for piece in params["Body"].stream()]) == stored
        assert params["Metadata"] == {"a": "b"}
        return {"ETag": '"e"'}

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(stored), 1000):
            yield stored[at : at + 1000]

    def get(call: Call, params: dict[str, Any]) -> Answer:
        result = {"Body": pieces(), "ContentLength": len(stored), "Metadata": {"a": "b"}, "ContentType": "text/x"}
        return Answer(result=result, status=206, headers=(("x-extra", "1"),))

    world.handlers["s3"].update({"PutObject": put, "GetObject": get})
    client = world.client("s3")
    assert client.put_object(Bucket="b", Key="k/ü", Body=stored, Metadata={"a": "b"})["ETag"] == '"e"'
    answer = client.get_object(Bucket="b", Key="k/ü", Range="bytes=0-")
    assert answer["Body"].read() == stored
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-extra"] == "1"
    assert answer["ContentType"] == "text/x"


@pytest.mark.parametrize("region", [None, "eu-west-1"])
def test_the_location_of_a_bucket_has_no_wrapper(world: World, region: str | None) -> None:
    world.answers("s3", "GetBucketLocation", {"LocationConstraint": region})
    assert world.client("s3").get_bucket_location(Bucket="b")["LocationConstraint"] == region


def test_errors_reach_boto3_with_awss_codes(world: World) -> None:
    world.answers("sagemaker", "DescribeEndpoint", NotFound("endpoint", "e"))
    world.answers("sagemaker", "DeleteEndpoint", InUse("endpoint", "e"))
    world.answers("s3", "GetObject", NotFound("object", "k"))
    world.answers("s3", "HeadObject", NotFound("object", "k"))
    world.answers("s3", "PutObject", AwsError("PreconditionFailed", "no", 412))
    world.answers("iam", "GetRole", NotFound("role", "r"))
    sagemaker, s3, iam = world.client("sagemaker"), world.client("s3"), world.client("iam")
    with pytest.raises(ClientError, match="Could not find endpoint") as error:
        sagemaker.describe_endpoint(EndpointName="e")
    assert code_of(error) == ("ValidationException", 400)
    with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
        sagemaker.delete_endpoint(EndpointName="e")
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket="b", Key="k")
    with pytest.raises(ClientError) as error:
        s3.head_object(Bucket="b", Key="k")
    assert code_of(error) == ("404", 404)
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket="b", Key="k", Body=b"")
    assert code_of(error) == ("PreconditionFailed", 412)
    with pytest.raises(iam.exceptions.NoSuchEntityException, match="The role with name r cannot be found"):
        iam.get_role(RoleName="r")


def test_bad_input_is_told_before_the_handler_runs(world: World) -> None:
    world.answers("sagemaker", "DescribeModel", {})
    with pytest.raises(ClientError, match=r"1 validation error detected: Value 'a_b' at 'modelName'") as error:
        world.client("sagemaker").describe_model(ModelName="a_b")
    assert code_of(error) == ("ValidationException", 400)
    assert world.seen == []


@pytest.mark.parametrize(
    ("service", "method", "arguments", "code"),
    [
        ("sagemaker", "list_apps", {}, "UnsupportedOperationException"),
        ("logs", "describe_log_groups", {}, "UnsupportedOperationException"),
        ("cloudwatch", "list_metrics", {}, "UnsupportedOperation"),
        ("sqs", "list_queues", {}, "UnsupportedOperation"),
        ("sns", "list_topics", {}, "UnsupportedOperation"),
        ("application-autoscaling", "describe_scalable_targets", {"ServiceNamespace": "sagemaker"}, "UnsupportedOperationException"),
        ("iam", "list_users", {}, "UnsupportedOperation"),
        ("s3", "get_bucket_website", {"Bucket": "b"}, "NotImplemented"),
        ("dynamodb", "list_tables", {}, "UnsupportedOperationException"),
        ("ec2", "describe_instances", {}, "UnsupportedOperation"),
        ("lambda", "list_functions", {}, "UnsupportedOperationException"),
    ],
)  # fmt: skip
def test_what_is_not_supported_says_so_and_where_the_list_is(
    world: World, service: str, method: str, arguments: dict[str, Any], code: str
) -> None:
    with pytest.raises(ClientError, match=r"docs/operations\.md") as error:
        getattr(world.client(service), method)(**arguments)
    assert code_of(error)[0] == code
    assert code_of(error)[1] in (400, 501), "nothing that a client would retry"


@pytest.mark.parametrize(
    ("service", "operation", "member", "code"),
    [
        ("sagemaker", "ListModels", "Models", "InternalFailure"),
        ("sts", "GetCallerIdentity", "Arn", "InternalFailure"),
        ("s3", "ListBuckets", "Buckets", "InternalError"),
    ],
)
@pytest.mark.parametrize("defect", ["raises", "names our bug", "returns what the model does not know", "returns junk"])
def test_a_defect_is_a_500_logged_with_its_traceback_and_never_shown(
    world: World, caplog: pytest.LogCaptureFixture, service: str, operation: str, member: str, code: str, defect: str
) -> None:
    results = {
        "raises": ValueError("secret"),
        "names our bug": Broken("secret"),
        "returns what the model does not know": {"NoSuchMember": 1},
        "returns junk": {member: 5} if service != "sts" else 5,
    }
    world.answers(service, operation, results[defect])
    client = world.client(service)
    with caplog.at_level(logging.ERROR), pytest.raises(ClientError) as error:
        client._make_api_call(operation, {})
    assert code_of(error) == (code, 500)
    assert "secret" not in str(error.value.response)
    [record] = [r for r in caplog.records if r.name == "trimtab.aws.dispatch"]
    assert record.exc_info is not None
    assert error.value.response["ResponseMetadata"]["RequestId"] in record.getMessage()


def test_a_handler_for_what_aws_does_not_have_is_never_called(world: World) -> None:
    world.answers("sagemaker", "CreateModle", {})
    world.authenticate = Authenticator(dict, region="us-east-1", clock=SystemClock(), required=False)
    request = HttpRequest(
        method="POST", raw_path="/", headers=Headers([("x-amz-target", "SageMaker.CreateModle")]), body=BytesBody(b"{}")
    )
    response, body = asyncio.run(whole(world.edge(), request))
    assert response.status == 400
    assert b"UnknownOperationException" in body
    assert world.seen == []


def test_a_limited_key_is_held_to_its_actions_and_endpoints(world: World) -> None:
    world.answers("sagemaker", "DescribeEndpoint", NotFound("endpoint", "e"))
    world.answers("sagemaker", "DeleteModel", {})
    world.answers("sagemaker", "ListTags", {"Tags": []})
    client = world.client("sagemaker", INVOKER)
    with pytest.raises(ClientError, match="is not authorized to perform: sagemaker:DeleteModel") as error:
        client.delete_model(ModelName="m")
    assert code_of(error) == ("AccessDeniedException", 400)
    with pytest.raises(ClientError, match="endpoint/yours") as error:
        client.describe_endpoint(EndpointName="yours")
    assert code_of(error) == ("AccessDeniedException", 400)
    with pytest.raises(ClientError, match="Could not find endpoint"):
        client.describe_endpoint(EndpointName="mine-1")
    assert [call.operation for call, _ in world.seen] == ["DescribeEndpoint"]
    with pytest.raises(ClientError) as error:
        world.client("s3", INVOKER).list_buckets()
    assert code_of(error) == ("AccessDenied", 403)


def test_a_limit_to_endpoints_holds_for_arns_too(world: World) -> None:
    key = AccessKey(id="TAGGER", secret="x", endpoints=("mine-*",))
    world.authenticate = Authenticator(lambda: {key.id: key}, region="us-east-1", clock=SystemClock(), required=True)
    world.answers("sagemaker", "ListTags", {"Tags": []})
    client = world.client("sagemaker", key)
    arn = "arn:aws:sagemaker:us-east-1:111122223333:endpoint/"
    assert client.list_tags(ResourceArn=arn + "mine-1")["Tags"] == []
    with pytest.raises(ClientError, match="endpoint/yours"):
        client.list_tags(ResourceArn=arn + "yours")


def test_a_wrong_secret_is_told_in_each_services_words(world: World) -> None:
    wrong = AccessKey(id="ROOT", secret="wrong")
    for service, method, code in (
        ("sagemaker", "list_models", "InvalidSignatureException"),
        ("sts", "get_caller_identity", "SignatureDoesNotMatch"),
        ("s3", "list_buckets", "SignatureDoesNotMatch"),
        ("cloudwatch", "list_metrics", "SignatureDoesNotMatch"),
    ):
        with pytest.raises(ClientError, match="request signature we calculated does not match") as error:
            getattr(world.client(service, wrong), method)()
        assert code_of(error)[0] == code


def test_a_query_compatible_service_keeps_its_old_error_codes(world: World) -> None:
    world.answers("sqs", "GetQueueUrl", NotFound("queue", "q"))
    client = world.client("sqs")
    with pytest.raises(client.exceptions.QueueDoesNotExist) as error:
        client.get_queue_url(QueueName="q")
    assert code_of(error)[0] == "AWS.SimpleQueueService.NonExistentQueue"


def test_what_a_limit_refuses_is_a_clear_answer(world: World) -> None:
    world.answers("s3", "DeleteObjects", {})
    client = world.client("s3")
    with pytest.raises(ClientError) as error:
        client.delete_objects(Bucket="b", Delete={"Objects": [{"Key": "k" * 1000}] * 9000})
    assert code_of(error) == ("EntityTooLarge", 400)
