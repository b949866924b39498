"""What endpoints cost, in a real `trimtab serve`: charged once, whatever is killed, and told everywhere alike."""

from __future__ import annotations

import json
import os
import signal
import time
from fractions import Fraction
from typing import Any

import pytest
from test_metering import scrape, value

from trimtab.resources.cost import micro_usd
from trimtab.testing.artifacts import ECHO, script
from trimtab.testing.server import Trimtab
from trimtab.testing.waiting import wait_until

RATE = Fraction("0.115")  # of an ml.m5.large, by the list that comes with trimtab
TELLS_TOKENS = """
def model_fn(model_dir):
    return None

def transform_fn(model, body, content_type, accept, context):
    context.set_response_header(0, "X-Amzn-SageMaker-Custom-Attributes", "input_tokens=12, output_tokens=30")
    return body, "application/json"
"""


def costs(server: Trimtab, *arguments: str) -> dict[str, Any]:
    """What `trimtab cost --json` tells."""
    told: dict[str, Any] = json.loads(server.cli("cost", *arguments, "--json"))
    return told


def metric(server: Trimtab, name: str, **more: str) -> int:
    """Micro-dollars in CloudWatch."""
    dimensions = {"EndpointName": name, "VariantName": "blue", **more}
    found = server.client("cloudwatch").get_metric_statistics(
        Namespace="trimtab/Endpoints",
        MetricName="Cost",
        Dimensions=[{"Name": key, "Value": of} for key, of in dimensions.items()],
        StartTime=time.time() - 3600,
        EndTime=time.time() + 60,
        Period=60,
        Statistics=["Sum"],
    )
    return round(sum(point["Sum"] for point in found["Datapoints"]) * 1e6)


def kill_control(server: Trimtab) -> None:
    (control,) = server.processes("trimtab: control")
    os.kill(control.pid, signal.SIGKILL)
    wait_until(lambda: server.processes("trimtab: control") not in ([], [control]))


@pytest.mark.slow
def test_each_second_is_charged_once_although_control_is_killed_again_and_again(serve: Any, name: str) -> None:
    server = serve()
    server.deploy(name, script(ECHO))
    described = json.loads(server.cli("describe", name, "--json"))
    born_s = described["replicas"][0]["started_s"]
    for _ in range(3):
        for _ in range(20):
            server.invoke(name, b"{}")
        kill_control(server)
        for _ in range(5):
            server.invoke(name, b"{}")
        wait_until(lambda: "replicas" in json.loads(server.cli("describe", name, "--json")))
    wait_until(lambda: costs(server, name)["rows"])
    deleted_s = time.time()
    server.sagemaker.delete_endpoint(EndpointName=name)
    wait_until(lambda: not server.processes("trimtab: worker " + name))
    ended_s = time.time()
    told = wait_until(lambda: (found := costs(server, name))["charged_s"] > ended_s + 1 and found)
    spent = told["total"]["micro_usd"]
    assert micro_usd(RATE, Fraction(deleted_s - born_s)) - 1 <= spent
    assert spent <= micro_usd(RATE, Fraction(ended_s + 2 - born_s))
    assert sum(told["total"]["parts"].values()) == spent
    assert sum(row["micro_usd"] for row in costs(server, name, "--by", "version,hour")["rows"]) == spent
    assert told["total"]["requests"] == 75
    assert metric(server, name) == spent
    assert metric(server, name, ModelVersion=name) == spent
    parts = {part: metric(server, name, Part=part) for part in told["total"]["parts"]}
    assert parts == told["total"]["parts"]


def test_costs_are_told_by_token_where_the_model_tells_tokens(trimtab: Trimtab, name: str) -> None:
    trimtab.deploy(name, script(TELLS_TOKENS))
    for _ in range(4):
        answer = trimtab.runtime.invoke_endpoint(EndpointName=name, Body=b"{}")
        assert answer["CustomAttributes"] == "input_tokens=12, output_tokens=30"  # as SageMaker passes it on
        answer["Body"].read()

    def told() -> Any:
        total = costs(trimtab, name)["total"]
        return total if total["micro_usd"] and total["requests"] == 4 else None

    total = wait_until(told)
    assert (total["input_tokens"], total["output_tokens"]) == (48, 120)
    assert total["usd_per_million_tokens"] == total["micro_usd"] / 168
    assert "$/1M TOK" in trimtab.cli("cost", name)
    trimtab.sagemaker.delete_endpoint(EndpointName=name)


def test_costs_are_live_in_top_and_for_prometheus(trimtab: Trimtab, name: str) -> None:
    trimtab.deploy(name, script(ECHO))
    trimtab.invoke(name, b"{}")
    top = json.loads(trimtab.cli("top", name, "--json"))["endpoints"][0]
    assert top["figures"]["usd_per_hour"] == float(RATE)
    assert top["variants"][0]["figures"]["usd_per_hour"] == float(RATE)
    assert "$/H" in trimtab.cli("top", name, "--once")
    wait_until(lambda: costs(trimtab, name)["rows"])
    wait_until(
        lambda: value(scrape(trimtab), "trimtab_cost_usd_total", endpoint=name)
    )  # above 0, once it is rendered anew
    trimtab.sagemaker.delete_endpoint(EndpointName=name)


def test_bad_questions_are_answered_clearly_and_nothing_spent_is_said(trimtab: Trimtab) -> None:
    with pytest.raises(
        AssertionError, match="There is no endpoint 'nobody', and nothing was spent on one of that name"
    ):
        trimtab.cli("cost", "nobody")  # a misspelt name is no endpoint that cost nothing
    assert "Nothing was spent" in trimtab.cli("cost", "--until", "2020-01-01", "--since", "2019-01-01")
    refused = trimtab.cli("cost", "--by", "colour", check=False)
    assert refused == ""
    assert trimtab.cli("cost", "--since", "yesterday", check=False) == ""
