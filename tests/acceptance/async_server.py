"""An asynchronous endpoint on a real `trimtab serve`: what the acceptance tests of asynchronous inference share."""

from __future__ import annotations

import json
import time
from typing import Any

from botocore.exceptions import ClientError

from trimtab.testing.artifacts import archive
from trimtab.testing.server import Trimtab
from trimtab.testing.waiting import LIMIT_S, wait_until

BUCKET = "work"

MODEL = """
import json, os, time

def model_fn(model_dir):
    return os.environ.get("GENERATION", "one")

def input_fn(body, content_type):
    return (body.encode() if isinstance(body, str) else bytes(body)), content_type

def predict_fn(data, model):
    body, content_type = data
    if body == b"poison":
        raise ValueError("no such document")
    if body == b"die":
        os._exit(3)
    if body.startswith(b"slow:"):
        time.sleep(float(body[5:]))
    if body.startswith(b"until:"):
        while not os.path.exists(body[6:].decode()):
            time.sleep(0.01)
    if body.startswith(b"large:"):
        return b"x" * int(body[6:])
    return json.dumps({"size": len(body), "head": bytes(body[:20]).decode("latin-1"), "by": model,
                       "type": content_type}).encode()

def output_fn(prediction, accept):
    return prediction, "application/json"
"""


class AsyncEndpoint:
    """One asynchronous endpoint with its bucket."""

    def __init__(self, trimtab: Trimtab, name: str, **settings: Any) -> None:
        self.trimtab, self.name = trimtab, name
        self.s3 = trimtab.client("s3", retries={"total_max_attempts": 5})  # gateways may be killed under it
        if BUCKET not in {bucket["Name"] for bucket in trimtab.s3.list_buckets()["Buckets"]}:
            trimtab.s3.create_bucket(Bucket=BUCKET)
        trimtab.create_model(name, archive(code__inference_py=MODEL))
        self.config(name, **settings)
        trimtab.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        trimtab.settled(name)

    def config(self, config: str, *, model: str = "", count: int = 1, output: Any = None, **client: Any) -> None:
        """An endpoint configuration with results below out/NAME and failures below failed/NAME."""
        variant = {
            "VariantName": "blue",
            "ModelName": model or self.name,
            "InstanceType": "ml.m5.large",
            "InitialInstanceCount": count,
        }
        paths = {
            "S3OutputPath": f"s3://{BUCKET}/out/{self.name}/",
            "S3FailurePath": f"s3://{BUCKET}/failed/{self.name}",
        }
        self.trimtab.sagemaker.create_endpoint_config(
            EndpointConfigName=config,
            ProductionVariants=[variant],
            AsyncInferenceConfig={"OutputConfig": paths | (output or {}), "ClientConfig": client},
        )

    def put(self, body: bytes, key: str = "") -> str:
        key = key or f"in/{self.name}/{time.monotonic_ns()}"
        self.trimtab.s3.put_object(Bucket=BUCKET, Key=key, Body=body)
        return f"s3://{BUCKET}/{key}"

    def ask(self, **params: Any) -> dict[str, Any]:
        params = {"ContentType": "application/octet-stream"} | params
        answer: dict[str, Any] = self.trimtab.runtime.invoke_endpoint_async(EndpointName=self.name, **params)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 202
        return answer

    def found(self, url: str) -> dict[str, Any] | None:
        """The object, if it is there."""
        bucket, _, key = url.removeprefix("s3://").partition("/")
        try:
            answer: dict[str, Any] = self.s3.get_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchKey":
                raise
            return None
        return answer | {"Bytes": answer["Body"].read()}

    def result(self, answer: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = wait_until(lambda: self.found(answer["OutputLocation"]))
        return found

    def failure(self, answer: dict[str, Any], limit_s: float = LIMIT_S) -> str:
        """What stands in the failure object; and nothing is where the result would be."""
        found = wait_until(lambda: self.found(answer["FailureLocation"]), limit_s=limit_s)
        assert self.found(answer["OutputLocation"]) is None
        return str(found["Bytes"].decode())

    def results(self) -> list[str]:
        """Keys of all results and failures."""
        prefixes = (f"out/{self.name}/", f"failed/{self.name}/")
        pages = (self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix) for prefix in prefixes)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]


def said(found: dict[str, Any]) -> dict[str, Any]:
    """The model's answer."""
    return dict(json.loads(found["Bytes"]))
