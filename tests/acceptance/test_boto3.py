"""Plain boto3 programs, as they are written for AWS."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import ClientError, EventStreamError

from trimtab.testing.artifacts import ECHO, script
from trimtab.testing.server import Trimtab

STREAMER = """
def model_fn(model_dir):
    return None

def transform_fn(model, body, content_type, accept):
    def parts():
        for word in body.decode().split():
            if word == "fail":
                raise RuntimeError("the model broke half-way")
            yield word.encode()
    return parts(), "text/plain"
"""


def code(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def test_a_real_model_is_deployed_and_finds_the_frauds(trimtab: Trimtab, name: str, fraud: Any) -> None:
    model, payments, is_fraud = fraud
    trimtab.deploy(name, model)
    body = json.dumps(payments.tolist()).encode()
    predictions = np.array(json.loads(trimtab.invoke(name, body)))
    flagged = predictions[:, 1] >= 0.5
    assert predictions.shape == (len(payments), 2)
    assert (flagged & (is_fraud == 1)).sum() / is_fraud.sum() > 0.85
    assert (flagged & (is_fraud == 1)).sum() / flagged.sum() > 0.9


def test_csv_and_npy_and_json_lines_give_the_same_answer(trimtab: Trimtab, name: str, fraud: Any) -> None:
    import io

    model, payments, _ = fraud
    trimtab.deploy(name, model)
    rows = payments[:7]
    npy = io.BytesIO()
    np.save(npy, rows)
    bodies = {
        "application/json": json.dumps(rows.tolist()).encode(),
        "text/csv": "\n".join(",".join(map(repr, row.tolist())) for row in rows).encode(),
        "application/x-npy": npy.getvalue(),
        "application/jsonlines": "\n".join(json.dumps(row.tolist()) for row in rows).encode(),
    }
    answers = {
        kind: np.load(io.BytesIO(trimtab.invoke(name, body, kind, Accept="application/x-npy")))
        for kind, body in bodies.items()
    }
    for kind, answer in answers.items():
        np.testing.assert_allclose(answer, answers["application/json"], atol=1e-6, err_msg=kind)


def test_every_header_of_an_invocation_arrives_and_comes_back(trimtab: Trimtab, name: str) -> None:
    trimtab.deploy(
        name,
        script("""
        import json
        def model_fn(model_dir):
            return None
        def transform_fn(model, body, content_type, accept, context):
            context.set_response_header(0, "X-Amzn-SageMaker-Custom-Attributes", "from-the-model")
            return json.dumps([body.decode(), content_type, accept]), "application/vnd.test+json"
        """),
    )
    answer = trimtab.runtime.invoke_endpoint(
        EndpointName=name,
        Body=b"hello",
        ContentType="text/x-a",
        Accept="text/x-b",
        CustomAttributes="c000b4f9",
        InferenceId="id-1",
        TargetVariant="blue",
    )
    assert json.loads(answer["Body"].read()) == ["hello", "text/x-a", "text/x-b"]
    assert answer["ContentType"] == "application/vnd.test+json"
    assert answer["InvokedProductionVariant"] == "blue"
    assert answer["CustomAttributes"] == "from-the-model"
    assert answer["ResponseMetadata"]["RequestId"]


def test_a_streamed_answer_arrives_in_parts(trimtab: Trimtab, name: str) -> None:
    trimtab.deploy(name, script(STREAMER))
    answer = trimtab.runtime.invoke_endpoint_with_response_stream(
        EndpointName=name, Body=b"one two three", ContentType="text/plain"
    )
    parts = [event["PayloadPart"]["Bytes"] for event in answer["Body"]]
    answer["Body"].close()
    assert b"".join(parts) == b"onetwothree"
    assert answer["ContentType"] == "text/plain"


def test_a_failure_in_mid_stream_is_an_event_in_the_stream(trimtab: Trimtab, name: str) -> None:
    trimtab.deploy(name, script(STREAMER))
    answer = trimtab.runtime.invoke_endpoint_with_response_stream(
        EndpointName=name, Body=b"one fail", ContentType="text/plain"
    )
    with pytest.raises(EventStreamError, match="ModelStreamError"):
        list(answer["Body"])
    answer["Body"].close()


def test_describe_says_what_was_declared_and_what_runs(trimtab: Trimtab, name: str) -> None:
    trimtab.deploy(name, script(ECHO), count=2)
    endpoint = trimtab.sagemaker.describe_endpoint(EndpointName=name)
    [variant] = endpoint["ProductionVariants"]
    assert endpoint["EndpointArn"] == f"arn:aws:sagemaker:us-east-1:000000000000:endpoint/{name}"
    assert (variant["CurrentInstanceCount"], variant["DesiredInstanceCount"], variant["CurrentWeight"]) == (2, 2, 1.0)
    assert "FailureReason" not in endpoint
    config = trimtab.sagemaker.describe_endpoint_config(EndpointConfigName=name)
    assert config["ProductionVariants"][0]["InstanceType"] == "ml.m5.large"
    model = trimtab.sagemaker.describe_model(ModelName=name)
    assert model["PrimaryContainer"]["Image"] == "trimtab://python"


def test_weights_share_the_traffic_and_a_target_overrides_them(trimtab: Trimtab, name: str) -> None:
    for variant in ("a", "b"):
        trimtab.create_model(
            f"{name}-{variant}",
            script(f"""
            def model_fn(model_dir): return None
            def transform_fn(model, body, content_type, accept): return "{variant}", "text/plain"
            """),
        )
    trimtab.sagemaker.create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[
            {
                "VariantName": v,
                "ModelName": f"{name}-{v}",
                "InstanceType": "ml.m5.large",
                "InitialInstanceCount": 1,
                "InitialVariantWeight": weight,
            }
            for v, weight in (("a", 3.0), ("b", 1.0))
        ],
    )
    trimtab.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    trimtab.settled(name)
    answers = [trimtab.invoke(name, b"{}") for _ in range(400)]
    assert 0.65 <= answers.count(b"a") / 400 <= 0.85
    assert trimtab.invoke(name, b"{}", TargetVariant="b") == b"b"
    trimtab.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=name,
        DesiredWeightsAndCapacities=[
            {"VariantName": "a", "DesiredWeight": 0},
            {"VariantName": "b", "DesiredWeight": 1, "DesiredInstanceCount": 2},
        ],
    )
    trimtab.settled(name)
    assert {trimtab.invoke(name, b"{}") for _ in range(50)} == {b"b"}
    assert trimtab.invoke(name, b"{}", TargetVariant="a") == b"a"


def test_an_update_replaces_the_model_behind_the_same_name(trimtab: Trimtab, name: str) -> None:
    trimtab.deploy(name, script(ECHO))
    trimtab.create_model(
        f"{name}-2",
        script("""
        def model_fn(model_dir): return None
        def transform_fn(model, body, content_type, accept): return "new", "text/plain"
        """),
    )
    trimtab.create_config(f"{name}-2", f"{name}-2")
    trimtab.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=f"{name}-2")
    found = trimtab.settled(name)
    assert found["EndpointConfigName"] == f"{name}-2"
    assert trimtab.invoke(name, b"old") == b"new"


def test_a_failed_update_leaves_the_old_version_serving_and_says_so(trimtab: Trimtab, name: str) -> None:
    trimtab.deploy(name, script(ECHO))
    trimtab.create_model(f"{name}-2", script("def model_fn(model_dir):\n    raise ValueError('no weights for you')\n"))
    trimtab.create_config(f"{name}-2", f"{name}-2")
    trimtab.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=f"{name}-2")
    found = trimtab.settled(name)
    assert found["EndpointConfigName"] == name
    assert "no weights for you" in found["FailureReason"]
    assert trimtab.invoke(name, b"still here") == b"still here"


def test_delete_leaves_nothing_of_the_endpoint_and_keeps_model_and_config(trimtab: Trimtab, name: str) -> None:
    trimtab.deploy(name, script(ECHO))
    assert trimtab.processes(f"trimtab: worker {name}/blue")
    trimtab.sagemaker.delete_endpoint(EndpointName=name)
    trimtab.sagemaker.get_waiter("endpoint_deleted").wait(
        EndpointName=name, WaiterConfig={"Delay": 0.05, "MaxAttempts": 600}
    )
    assert not trimtab.processes(f"trimtab: worker {name}/blue")
    trimtab.sagemaker.describe_endpoint_config(EndpointConfigName=name)
    trimtab.sagemaker.delete_endpoint_config(EndpointConfigName=name)
    trimtab.sagemaker.delete_model(ModelName=name)
    with pytest.raises(ClientError, match="Could not find model") as error:
        trimtab.sagemaker.describe_model(ModelName=name)
    assert code(error) == "ValidationException"


def test_lists_filter_sort_and_page(trimtab: Trimtab, name: str) -> None:
    for i in range(5):
        trimtab.create_model(f"{name}-{i}", script(ECHO))
    pages = trimtab.sagemaker.get_paginator("list_models").paginate(
        NameContains=name, SortBy="Name", SortOrder="Descending", PaginationConfig={"PageSize": 2}
    )
    found = [[model["ModelName"] for model in page["Models"]] for page in pages]
    assert found == [[f"{name}-4", f"{name}-3"], [f"{name}-2", f"{name}-1"], [f"{name}-0"]]


def test_tags_are_kept_listed_and_removed(trimtab: Trimtab, name: str) -> None:
    trimtab.create_model(name, script(ECHO))
    arn = trimtab.sagemaker.describe_model(ModelName=name)["ModelArn"]
    assert trimtab.sagemaker.list_tags(ResourceArn=arn)["Tags"] == []
    trimtab.sagemaker.add_tags(
        ResourceArn=arn, Tags=[{"Key": "team", "Value": "risk"}, {"Key": "stage", "Value": "dev"}]
    )
    trimtab.sagemaker.delete_tags(ResourceArn=arn, TagKeys=["stage"])
    assert trimtab.sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "risk"}]


def test_who_am_i_and_my_role(trimtab: Trimtab) -> None:
    identity = trimtab.client("sts").get_caller_identity()
    assert identity["Account"] == "000000000000"
    role = identity["Arn"].split("/")[1]
    assert trimtab.client("iam").get_role(RoleName=role)["Role"]["Arn"].startswith("arn:aws:iam::000000000000:role/")


def test_an_operation_that_is_not_there_says_so(trimtab: Trimtab) -> None:
    with pytest.raises(ClientError, match=r"trimtab does not support .*CreateTrainingJob.* docs/operations.md"):
        trimtab.sagemaker.create_training_job(
            TrainingJobName="j",
            RoleArn="arn:aws:iam::000000000000:role/trimtab",
            AlgorithmSpecification={"TrainingImage": "i", "TrainingInputMode": "File"},
            OutputDataConfig={"S3OutputPath": "s3://models/"},
            StoppingCondition={"MaxRuntimeInSeconds": 60},
            ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        )


def test_every_step_of_a_start_is_shown_with_its_time(trimtab: Trimtab, name: str, fraud: Any) -> None:
    model, payments, _ = fraud
    trimtab.deploy(name, model)
    trimtab.invoke(name, json.dumps(payments[:1].tolist()).encode())
    [replica] = json.loads(trimtab.cli("describe", name, "--json"))["replicas"]
    steps = ("detect", "decide", "place", "fetch", "fork", "import", "load", "warm", "first_answer")
    budget = {step: replica["budget"][f"{step}_s"] for step in steps}
    assert all(0 <= seconds < 10 for seconds in budget.values())
