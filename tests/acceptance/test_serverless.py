"""Serverless endpoints with boto3: on demand from zero, throttled, limited, billed, and refused where AWS refuses."""

from __future__ import annotations

import datetime
import io
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError, HTTPClientError
from test_clients import client_env, run

from trimtab.testing.artifacts import ECHO, script
from trimtab.testing.server import Trimtab
from trimtab.testing.waiting import wait_until

Serve = Callable[..., Trimtab]

SLOW = """
import time

def transform_fn(model, body, content_type, accept):
    time.sleep(float(body))
    return body, "text/plain"

def model_fn(folder):
    return None
"""
GATED = """
import os, time

def model_fn(folder):
    return None

def transform_fn(model, body, content_type, accept):
    while not os.path.exists(body):
        time.sleep(0.01)
    return b"through", "text/plain"
"""
LARGE = """
def model_fn(folder):
    return None

def transform_fn(model, body, content_type, accept):
    return b"x" * int(body), "application/octet-stream"
"""


def on_demand(
    trimtab: Trimtab, name: str, archive: bytes, *, memory: int = 2048, most: int = 3, provisioned: int = 0, **more: str
) -> None:
    """Deploy a serverless endpoint of one name."""
    trimtab.create_model(name, archive, **more)
    create_config(trimtab, name, name, memory=memory, most=most, provisioned=provisioned)
    trimtab.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    trimtab.settled(name)


def create_config(
    trimtab: Trimtab, name: str, model: str, *, memory: int = 2048, most: int = 3, provisioned: int = 0
) -> None:
    """A config with one serverless variant, `blue`."""
    rules = {"MemorySizeInMB": memory, "MaxConcurrency": most}
    if provisioned:
        rules["ProvisionedConcurrency"] = provisioned
    variant = {"VariantName": "blue", "ModelName": model, "ServerlessConfig": rules}
    trimtab.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])


def environments(trimtab: Trimtab, name: str) -> int:
    """How many run."""
    return len(trimtab.processes(f"trimtab: worker {name}/"))


def answers(trimtab: Trimtab, name: str) -> bool:
    """Whether there is a control, and a gateway to it."""
    try:
        described = trimtab.sagemaker.describe_endpoint(EndpointName=name)
    except (ConnectionClosedError, EndpointConnectionError):
        return False
    except ClientError as error:
        if error.response["Error"]["Code"] != "ServiceUnavailable":
            raise
        return False
    return bool(described["EndpointStatus"] == "InService")


def code_of(call: Callable[..., Any], **arguments: Any) -> tuple[str, int, str]:
    """Code, status and message of the error that boto3 raises."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Message"]


def test_an_endpoint_is_at_zero_when_idle_and_answers_all_the_same(
    trimtab: Trimtab, name: str, fraud: tuple[bytes, np.ndarray, np.ndarray]
) -> None:
    archive, payments, _ = fraud
    on_demand(trimtab, name, archive, TRIMTAB_KEEP_WARM="off")
    wait_until(lambda: environments(trimtab, name) == 0, "not at zero")
    body = io.StringIO()
    np.savetxt(body, payments[:1], delimiter=",")
    for _ in range(3):
        answer = trimtab.runtime.invoke_endpoint(
            EndpointName=name, Body=body.getvalue().encode(), ContentType="text/csv"
        )
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
        wait_until(lambda: environments(trimtab, name) == 0, "not at zero again")
    described = trimtab.sagemaker.describe_endpoint(EndpointName=name)
    (variant,) = described["ProductionVariants"]
    rules = {"MemorySizeInMB": 2048, "MaxConcurrency": 3}
    assert described["EndpointStatus"] == "InService"
    assert variant["CurrentServerlessConfig"] == variant["DesiredServerlessConfig"] == rules
    assert "CurrentInstanceCount" not in variant
    trimtab.sagemaker.delete_endpoint(EndpointName=name)


def test_requests_at_once_have_an_environment_each_and_are_throttled_beyond_max_concurrency(
    trimtab: Trimtab, name: str, tmp_path: Path
) -> None:
    on_demand(trimtab, name, script(GATED), most=3, TRIMTAB_KEEP_WARM="off")
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(3) as pool:
        taken = [pool.submit(trimtab.invoke, name, bytes(gate), "text/plain") for _ in range(3)]
        wait_until(lambda: environments(trimtab, name) == 3, "not one for each")
        code, status, message = code_of(trimtab.runtime.invoke_endpoint, EndpointName=name, Body=b"0")
        assert (code, status) == ("ThrottlingException", 400)
        assert "MaxConcurrency" in message
        gate.touch()
        assert [future.result() for future in taken] == [b"through"] * 3
    wait_until(lambda: environments(trimtab, name) == 0, "not at zero")
    trimtab.sagemaker.delete_endpoint(EndpointName=name)


def test_provisioned_environments_stay_and_settings_change_while_it_serves(trimtab: Trimtab, name: str) -> None:
    on_demand(trimtab, name, script(ECHO), provisioned=1, TRIMTAB_KEEP_WARM="off")
    assert trimtab.invoke(name, b"{}") == b"{}"
    assert environments(trimtab, name) == 1
    change = {"VariantName": "blue", "ServerlessUpdateConfig": {"MaxConcurrency": 5, "ProvisionedConcurrency": 2}}
    trimtab.sagemaker.update_endpoint_weights_and_capacities(EndpointName=name, DesiredWeightsAndCapacities=[change])
    (variant,) = trimtab.settled(name)["ProductionVariants"]
    assert variant["CurrentServerlessConfig"] == {
        "MemorySizeInMB": 2048,
        "MaxConcurrency": 5,
        "ProvisionedConcurrency": 2,
    }
    assert environments(trimtab, name) == 2
    change = {"VariantName": "blue", "DesiredInstanceCount": 2}
    code, _, message = code_of(
        trimtab.sagemaker.update_endpoint_weights_and_capacities,
        EndpointName=name,
        DesiredWeightsAndCapacities=[change],
    )
    assert (code, "is serverless" in message) == ("ValidationException", True)
    trimtab.sagemaker.delete_endpoint(EndpointName=name)


def test_payloads_of_4_mb_go_both_ways_and_no_larger_ones(trimtab: Trimtab, name: str) -> None:
    on_demand(trimtab, name, script(LARGE))
    most = 4 * 2**20
    assert len(trimtab.invoke(name, str(most).encode(), "text/plain")) == most
    assert trimtab.invoke(name, b"3".rjust(most, b" "), "text/plain") == b"xxx"
    _, status, _ = code_of(trimtab.runtime.invoke_endpoint, EndpointName=name, Body=b"3".rjust(most + 1, b" "))
    assert status == 413
    code, status, message = code_of(trimtab.runtime.invoke_endpoint, EndpointName=name, Body=str(most + 1).encode())
    assert (code, status) == ("ModelError", 424)
    assert "4194304 bytes" in message
    trimtab.sagemaker.delete_endpoint(EndpointName=name)


def test_each_request_is_billed_and_each_start_is_measured(trimtab: Trimtab, name: str) -> None:
    on_demand(trimtab, name, script(SLOW), memory=3072, most=4, TRIMTAB_KEEP_WARM="off")
    wait_until(lambda: environments(trimtab, name) == 0, "not at zero")
    for _ in range(2):
        trimtab.invoke(name, b"0.2", "text/plain")
        wait_until(lambda: environments(trimtab, name) == 0, "not at zero")
    cloudwatch = trimtab.client("cloudwatch")

    def total(namespace: str, metric: str, statistic: str = "Sum") -> float:
        now = datetime.datetime.now(datetime.UTC)
        found = cloudwatch.get_metric_statistics(
            Namespace=namespace,
            MetricName=metric,
            Dimensions=[{"Name": "EndpointName", "Value": name}, {"Name": "VariantName", "Value": "blue"}],
            StartTime=now - datetime.timedelta(minutes=5),
            EndTime=now + datetime.timedelta(minutes=1),
            Period=600,
            Statistics=[statistic],
        )
        return sum(point[statistic] for point in found["Datapoints"])

    wait_until(lambda: total("trimtab/Endpoints", "BilledDuration", "SampleCount") == 2, "not billed")
    billed_ms = total("trimtab/Endpoints", "BilledDuration")
    assert 400 <= billed_ms < 2000
    assert total("trimtab/Endpoints", "BilledGBSeconds") == pytest.approx(billed_ms / 1000 * 3)
    assert total("AWS/SageMaker", "ModelSetupTime", "SampleCount") == 2
    assert 0 < total("AWS/SageMaker", "ModelSetupTime") < 20e6
    assert total("AWS/SageMaker", "ServerlessConcurrentExecutionsUtilization", "Maximum") == 0.25
    trimtab.sagemaker.delete_endpoint(EndpointName=name)


def test_sdk_deploys_a_serverless_endpoint(trimtab: Trimtab, name: str, tmp_path: Path) -> None:
    (tmp_path / "model.tar.gz").write_bytes(script(ECHO))
    program = tmp_path / "program.py"
    program.write_text(f"""
import sagemaker
from sagemaker.model import Model
from sagemaker.predictor import Predictor
from sagemaker.serverless import ServerlessInferenceConfig

session = sagemaker.Session()
data = session.upload_data("model.tar.gz", key_prefix="{name}")
model = Model(image_uri="trimtab://python", model_data=data, role=sagemaker.get_execution_role(), name="{name}",
              sagemaker_session=session, predictor_cls=Predictor)
predictor = model.deploy(serverless_inference_config=ServerlessInferenceConfig(), endpoint_name="{name}")
print(predictor.predict(b"said").decode())
predictor.delete_endpoint()
""")
    out = run(trimtab, client_env("sagemaker2") / "python", "-W", "ignore", program, folder=tmp_path)
    assert "said" in out


def test_a_killed_control_goes_on_with_the_environments_that_there_are(serve: Serve, name: str, tmp_path: Path) -> None:
    trimtab = serve()
    on_demand(trimtab, name, script(GATED), most=2, TRIMTAB_KEEP_WARM="off")
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(2) as pool:
        taken = [pool.submit(trimtab.invoke, name, bytes(gate), "text/plain") for _ in range(2)]
        wait_until(lambda: environments(trimtab, name) == 2, "not one for each")
        workers = trimtab.processes(f"trimtab: worker {name}/")
        (control,) = trimtab.processes("trimtab: control")
        control.kill()
        try:
            wait_until(lambda: answers(trimtab, name), "no control")
            assert trimtab.processes(f"trimtab: worker {name}/") == workers
        finally:
            gate.touch()
        assert [future.result() for future in taken] == [b"through"] * 2
    assert trimtab.invoke(name, bytes(gate), "text/plain") == b"through"
    wait_until(lambda: environments(trimtab, name) == 0, "not at zero")


def test_max_concurrency_is_one_bound_for_all_gateways_also_when_one_is_killed(
    serve: Serve, name: str, tmp_path: Path
) -> None:
    trimtab = serve("--gateways", "3")
    on_demand(trimtab, name, script(GATED), most=3, TRIMTAB_KEEP_WARM="off")

    def ask(gate: Path) -> bytes | str:
        """Over a connection of its own, so that the kernel chooses a gateway; the answer, or the error's code."""
        runtime = trimtab.client("sagemaker-runtime", retries={"max_attempts": 0})
        try:
            answer = runtime.invoke_endpoint(EndpointName=name, Body=bytes(gate), ContentType="text/plain")
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        except (HTTPClientError, ConnectionError) as error:  # its gateway was killed
            return type(error).__name__
        return bytes(answer["Body"].read())

    def fill(pool: ThreadPoolExecutor, gate: Path) -> list[Future[bytes | str]]:
        """Ask until three are in hand: gateways that ask at the same moment may all be refused."""
        held: list[Future[bytes | str]] = []
        deadline_s = time.monotonic() + 30
        while len(held) < 3:
            assert time.monotonic() < deadline_s, "never three at once"
            asked = [pool.submit(ask, gate) for _ in range(8)]
            refused = 8 - (3 - len(held))  # at least
            wait_until(lambda: sum(map(Future.done, asked)) >= refused, "none refused")  # noqa: B023 called at once
            assert {future.result() for future in asked if future.done()} <= {"ThrottlingException"}
            held += [future for future in asked if not future.done()]
        return held

    with ThreadPoolExecutor(12) as pool:
        first, second = tmp_path / "first", tmp_path / "second"
        held = fill(pool, first)
        assert len(held) == 3
        for gateway in trimtab.processes("trimtab: gateway"):
            gateway.kill()
        wait_until(lambda: all(future.done() for future in held), "connections of a killed gateway stay")
        first.touch()
        wait_until(lambda: answers(trimtab, name), "no gateway")
        held = fill(pool, second)
        second.touch()
        assert [future.result() for future in held] == [b"through"] * 3


class TestRefusals:
    def test_instances_do_not_become_serverless_and_the_other_way_works(self, trimtab: Trimtab, name: str) -> None:
        on_demand(trimtab, name, script(ECHO))
        trimtab.create_config(f"{name}-i", name)
        trimtab.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=f"{name}-i")
        (variant,) = trimtab.settled(name)["ProductionVariants"]
        assert variant["CurrentInstanceCount"] == 1
        assert trimtab.invoke(name, b"{}") == b"{}"
        code, _, message = code_of(trimtab.sagemaker.update_endpoint, EndpointName=name, EndpointConfigName=name)
        assert code == "ValidationException"
        assert "cannot be updated to the serverless endpoint configuration" in message
        trimtab.sagemaker.delete_endpoint(EndpointName=name)

    @pytest.mark.parametrize(
        ("rules", "says"),
        [
            ({"memory": 1500}, "MemorySizeInMB"),
            ({"most": 2, "provisioned": 3}, "ProvisionedConcurrency"),
            ({"most": 201}, "axConcurrency"),
        ],
    )
    def test_settings_out_of_range(self, trimtab: Trimtab, name: str, rules: dict[str, int], says: str) -> None:
        trimtab.create_model(name, script(ECHO))
        with pytest.raises(ClientError) as caught:
            create_config(trimtab, name, name, **rules)
        assert caught.value.response["Error"]["Code"] == "ValidationException"
        assert says in caught.value.response["Error"]["Message"]

    def test_a_keep_warm_that_means_nothing(self, trimtab: Trimtab, name: str) -> None:
        with pytest.raises(ClientError, match="TRIMTAB_KEEP_WARM"):
            trimtab.create_model(name, script(ECHO), TRIMTAB_KEEP_WARM="forever")

    def test_a_serverless_variant_has_no_instances_to_scale(self, trimtab: Trimtab, name: str) -> None:
        on_demand(trimtab, name, script(ECHO))
        code, _, message = code_of(
            trimtab.client("application-autoscaling").register_scalable_target,
            ServiceNamespace="sagemaker",
            ResourceId=f"endpoint/{name}/variant/blue",
            ScalableDimension="sagemaker:variant:DesiredInstanceCount",
            MinCapacity=1,
            MaxCapacity=2,
        )
        assert (code, "is serverless" in message) == ("ValidationException", True)
        trimtab.sagemaker.delete_endpoint(EndpointName=name)

    def test_a_model_that_fails_to_load_fails_the_endpoint(self, trimtab: Trimtab, name: str) -> None:
        trimtab.create_model(name, script("def model_fn(folder):\n    raise ValueError('no weights')\n"))
        create_config(trimtab, name, name)
        trimtab.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        assert "no weights" in trimtab.settled(name, "Failed")["FailureReason"]
