"""What the data plane does for ordinary endpoints, it does for multi-model ones: batches, traces, scaling by events."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError
from many_models import named
from otlp_receiver import Receiver
from test_autoscaling import DIMENSION, SIGNALS
from test_multi_model import Callers
from test_tracing import INVOKE, caller, sending

from trimtab.testing.artifacts import script
from trimtab.testing.server import Trimtab
from trimtab.testing.waiting import wait_until

TRIPLED = """
import json

def model_fn(model_dir):
    return {factor}

def input_fn(body, content_type):
    return json.loads(body)

def predict_batch_fn(inputs, model):
    if any(number < 0 for number in inputs):
        raise ValueError("poison")
    return [(number * model, len(inputs)) for number in inputs]

def output_fn(prediction, accept):
    return json.dumps(prediction), "application/json"
"""
SLOW = """
import time

def model_fn(model_dir):
    return None

def transform_fn(model, body, content_type, accept):
    time.sleep(0.05)
    return "slow", "text/plain"
"""


def test_requests_for_one_model_are_batched_and_never_with_those_for_another(trimtab: Trimtab, name: str) -> None:
    trimtab.deploy_many(name, SAGEMAKER_TS_BATCH_SIZE="8", SAGEMAKER_TS_MAX_BATCH_DELAY="20")
    factors = {f"by-{factor}.tar.gz": factor for factor in (3, 5)}
    for model, factor in factors.items():
        trimtab.put_model(name, model, script(TRIPLED.format(factor=factor)))

    def ask(number: int) -> int:
        model, factor = random.Random(number).choice(sorted(factors.items()))
        if number % 29 == 7:
            with pytest.raises(ClientError, match="poison"):
                trimtab.invoke(name, json.dumps(-number).encode(), TargetModel=model)
            return 0
        answer, batch = json.loads(trimtab.invoke(name, json.dumps(number).encode(), TargetModel=model))
        assert answer == factor * number
        return int(batch)

    with ThreadPoolExecutor(24) as threads:
        batches = list(threads.map(ask, range(400)))
    assert 1 < max(batches) <= 8


@pytest.fixture
def collector() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def traced(tmp_path_factory: pytest.TempPathFactory, collector: Receiver) -> Iterator[Trimtab]:
    """A trimtab that exports to `collector`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        server = Trimtab(tmp_path_factory.mktemp("traced") / "data")
    yield server
    assert server.stop() == 0


def test_a_trace_names_the_model_and_tells_whether_it_was_loaded(traced: Trimtab, collector: Receiver) -> None:
    traced.deploy_many("many")
    traced.put_model(
        "many",
        "a.tar.gz",
        script("""
        def model_fn(model_dir):
            return None

        def transform_fn(model, body, content_type, accept, context):
            return context.get_request_header(0, "traceparent"), "text/plain"
        """),
    )
    queued_ns = {}
    for expected in ("miss", "hit"):
        trace_id, span_id, traceparent = caller()
        client = sending(traced, {"traceparent": traceparent})
        answer = client.invoke_endpoint(EndpointName="many", Body=b"x", TargetModel="a.tar.gz")
        spans = collector.trace(trace_id, 4)
        server, queue, model = (spans[span] for span in (INVOKE, "queue", "model"))
        assert server.parent == span_id
        assert spans["compute"].parent == model.id
        assert answer["Body"].read().decode() == f"00-{trace_id}-{model.id}-01", "the model sees its own span"
        for span in (server, queue, model):
            assert span.attributes["trimtab.model"] == "a.tar.gz"
            assert span.attributes["trimtab.model_cache"] == expected
        assert model.attributes["trimtab.replica"] in traced.cli("describe", "many", "--json")
        queued_ns[expected] = queue.end_ns - queue.start_ns
    assert queued_ns["miss"] > queued_ns["hit"], "the load is in the queue's time"


def scaled_by_events(trimtab: Trimtab, endpoint: str, most: int) -> Any:
    """Register the variant for 1 to `most` replicas, at one request in hand each."""
    client = trimtab.client("application-autoscaling")
    names = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{endpoint}/variant/blue",
        "ScalableDimension": DIMENSION,
    }
    dimensions = {"EndpointName": endpoint, "VariantName": "blue", "StableWindowSeconds": "3"}
    client.register_scalable_target(**names, MinCapacity=1, MaxCapacity=most)
    client.put_scaling_policy(
        **names,
        PolicyName="track",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": 1.0,
            "CustomizedMetricSpecification": {
                "Namespace": SIGNALS,
                "MetricName": "ConcurrencyPerReplicaEvent",
                "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
                "Statistic": "Average",
            },
            "ScaleOutCooldown": 0,
            "ScaleInCooldown": 1,
        },
    )


@pytest.mark.slow
def test_a_variant_grows_by_what_all_its_models_have_in_hand_and_shrinks_without_a_failure(
    trimtab: Trimtab, name: str
) -> None:
    trimtab.deploy_many(name)
    models = {f"{letter}.tar.gz": {"slow"} for letter in "abcdef"}
    for model in models:
        trimtab.put_model(name, model, script(SLOW))
    trimtab.put_model(name, "quick.tar.gz", named("quick"))
    scaled_by_events(trimtab, name, 3)

    def count() -> int:
        [variant] = trimtab.sagemaker.describe_endpoint(EndpointName=name)["ProductionVariants"]
        return int(variant["CurrentInstanceCount"])

    with Callers(trimtab, name, models, threads=6) as callers:
        wait_until(lambda: count() == 3)
        callers.go_on(60)
    with Callers(trimtab, name, {"quick.tar.gz": {"quick"}}, threads=1):
        wait_until(lambda: count() == 1)


def test_variants_with_one_model_and_with_many_share_an_endpoint_without_being_named(
    trimtab: Trimtab, name: str
) -> None:
    trimtab.create_many(f"{name}-many")
    trimtab.put_model(f"{name}-many", "m.tar.gz", script(SLOW.replace('"slow"', '"many"')))
    trimtab.create_model(f"{name}-one", script(SLOW.replace('"slow"', '"one"')))
    variants = [
        {"VariantName": kind, "ModelName": f"{name}-{kind}", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
        for kind in ("one", "many")
    ]
    trimtab.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants)
    trimtab.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    trimtab.settled(name)
    for _ in range(4):
        assert trimtab.invoke(name, b"") == b"one"
        assert trimtab.invoke(name, b"", TargetModel="m.tar.gz") == b"many"
