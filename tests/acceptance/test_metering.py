"""From a request to a metric that can be read, in a real `trimtab serve`."""

from __future__ import annotations

import base64
import gzip
import os
import signal
import time
import urllib.error
import urllib.request
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as families

from trimtab.testing.artifacts import ECHO, script
from trimtab.testing.server import Trimtab
from trimtab.testing.waiting import wait_until

ROOT = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"


def scrape(server: Trimtab, *, key: tuple[str, str] | None = None, accept: str = "text/plain") -> str:
    name, secret = key or (server.env[ROOT[0]], server.env[ROOT[1]])
    basic = base64.b64encode(f"{name}:{secret}".encode()).decode()
    headers = {"Authorization": f"Basic {basic}", "Accept": accept}
    with urllib.request.urlopen(urllib.request.Request(f"{server.url}/metrics", headers=headers)) as answer:
        return str(answer.read().decode())


def value(text: str, sample: str, **labels: str) -> float | None:
    """The sum of the samples called so with these labels; None without any."""
    metrics: list[Metric] = list(families(text))
    found = [s.value for m in metrics for s in m.samples if s.name == sample and labels.items() <= s.labels.items()]
    return sum(found) if found else None


def test_requests_are_counted_once_even_when_control_and_gateway_live_apart(serve: Any, name: str) -> None:
    server = serve()
    server.deploy(name, script(ECHO))

    def counted() -> float | None:
        try:
            return value(scrape(server), "trimtab_invocations_total", endpoint=name)
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            return None  # control is away for longer than a call is held

    for _ in range(5):
        server.invoke(name, b"{}")
    wait_until(lambda: counted() == 5)
    (control,) = server.processes("trimtab: control")
    os.kill(control.pid, signal.SIGKILL)
    for _ in range(7):
        server.invoke(name, b"{}")  # while control is away
    wait_until(lambda: server.processes("trimtab: control") not in ([], [control]))
    wait_until(lambda: counted() == 12)
    (control,) = server.processes("trimtab: control")
    os.kill(control.pid, signal.SIGKILL)  # what was counted is kept
    server.invoke(name, b"{}")
    wait_until(lambda: counted() == 13)
    text = scrape(server)
    assert value(text, "trimtab_invocation_duration_seconds_count", endpoint=name) == 13
    assert value(text, "trimtab_replicas_ready", endpoint=name) == 1
    server.sagemaker.delete_endpoint(EndpointName=name)
    wait_until(lambda: value(scrape(server), "trimtab_replicas_ready", endpoint=name) is None)
    assert name not in scrape(server)


def test_a_request_can_be_seen_within_one_and_a_half_seconds(trimtab: Trimtab, name: str) -> None:
    trimtab.deploy(name, script(ECHO))
    trimtab.invoke(name, b"{}")
    began_s = time.monotonic()
    wait_until(lambda: value(scrape(trimtab), "trimtab_invocations_total", endpoint=name))
    assert time.monotonic() - began_s < 3.0  # 1.5 s promised; a busy machine is slower


def test_both_formats_are_read_by_prometheus_own_parsers(trimtab: Trimtab, name: str) -> None:
    trimtab.deploy(name, script(ECHO))
    trimtab.invoke(name, b"{}")
    wait_until(lambda: value(scrape(trimtab), "trimtab_invocations_total", endpoint=name))
    plain = {metric.name for metric in families(scrape(trimtab))}
    text = scrape(trimtab, accept="application/openmetrics-text; version=1.0.0")
    assert plain == {metric.name for metric in open_metrics(text)}
    assert {"trimtab_invocations", "trimtab_invocation_duration_seconds", "trimtab_replicas_ready"} <= plain


def test_a_scrape_is_compressed_for_those_who_take_it(trimtab: Trimtab, name: str) -> None:
    trimtab.deploy(name, script(ECHO))
    wait_until(lambda: name in scrape(trimtab))
    basic = base64.b64encode(f"{trimtab.env[ROOT[0]]}:{trimtab.env[ROOT[1]]}".encode()).decode()
    headers = {"Authorization": f"Basic {basic}", "Accept-Encoding": "gzip"}
    with urllib.request.urlopen(urllib.request.Request(f"{trimtab.url}/metrics", headers=headers)) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert name in gzip.decompress(answer.read()).decode()


def test_a_scrape_needs_a_key_that_may_read_metrics(trimtab: Trimtab, name: str) -> None:
    for key in (("AKIANOBODY", "x"), (trimtab.env[ROOT[0]], "wrong")):
        with pytest.raises(urllib.error.HTTPError, match="401") as refused:
            scrape(trimtab, key=key)
        assert refused.value.headers["WWW-Authenticate"].startswith("Basic ")
        refused.value.close()
    with pytest.raises(urllib.error.HTTPError, match="401") as refused:
        urllib.request.urlopen(f"{trimtab.url}/metrics")
    refused.value.close()
    signed = AWSRequest("GET", f"{trimtab.url}/metrics")
    credentials = Credentials(trimtab.env[ROOT[0]], trimtab.env[ROOT[1]])
    SigV4Auth(credentials, "monitoring", trimtab.env["AWS_DEFAULT_REGION"]).add_auth(signed)
    request = urllib.request.Request(signed.url, headers=dict(signed.headers.items()))
    with urllib.request.urlopen(request) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")


def test_a_bucket_may_be_called_metrics(trimtab: Trimtab) -> None:
    trimtab.s3.create_bucket(Bucket="metrics")
    trimtab.s3.put_object(Bucket="metrics", Key="a", Body=b"x")
    assert trimtab.s3.list_objects_v2(Bucket="metrics")["KeyCount"] == 1
    assert len(trimtab.s3.list_objects(Bucket="metrics")["Contents"]) == 1
    trimtab.s3.delete_object(Bucket="metrics", Key="a")
    trimtab.s3.delete_bucket(Bucket="metrics")
