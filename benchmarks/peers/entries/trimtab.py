"""trimtab as its users run it: `trimtab serve`, and an endpoint that boto3 deploys. One gateway, one worker."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.peers.models import BATCHED, MAX_BATCH, MAX_DELAY_MS, Model
from benchmarks.peers.peer import FEATURES, HOST, Job, NotReady, Peer, Service
from trimtab.testing.artifacts import archive, script

PROGRAM = Path(sys.executable).with_name("trimtab")
ROLE = "arn:aws:iam::000000000000:role/trimtab"
REGION = "us-east-1"
# JSON to rows and back by trimtab's own codecs, as the other models have it.
ECHO = """
import json

def model_fn(model_dir):
    return None

def input_fn(body, content_type):
    return json.loads(body)

def predict_fn(rows, model):
    return rows

def output_fn(rows, accept):
    return json.dumps(rows), "application/json"
"""


def artifact(model: Model) -> bytes:
    """model.tar.gz: the ONNX file without any script, or for echo a script."""
    return script(ECHO) if model.kind == "echo" else archive(model_onnx=model.path.read_bytes())


def _service(auth: str, *, batching: bool = True) -> Callable[[Job], Service]:
    def service(job: Job) -> Service:
        data_dir = job.folder / "data"
        argv = [str(PROGRAM), "serve", "--port", str(job.port), "--data-dir", str(data_dir), "--auth", auth]
        key: dict[str, str] = {}
        environment = {}
        if job.model.batched and batching:
            environment = {
                "SAGEMAKER_TS_BATCH_SIZE": str(MAX_BATCH),
                "SAGEMAKER_TS_MAX_BATCH_DELAY": str(MAX_DELAY_MS),
            }

        def set_up() -> None:
            key.update(_key(data_dir) if auth == "sigv4" else {"id": "any", "secret": "any"})
            deploy(f"http://{HOST}:{job.port}", key, artifact(job.model), environment)

        def sign(body: bytes) -> Mapping[str, str]:
            return signature(f"http://{HOST}:{job.port}{PATH}", key, body) if auth == "sigv4" else {}

        return Service([*argv, "--log-level", "WARNING"], PATH, set_up=set_up, sign=sign)

    return service


PATH = "/endpoints/model/invocations"


def _key(data_dir: Path) -> dict[str, str]:
    done = subprocess.run([PROGRAM, "env", "--json", "--data-dir", data_dir], capture_output=True, text=True)
    if done.returncode:
        raise NotReady
    found = json.loads(done.stdout)
    return {"id": found["AWS_ACCESS_KEY_ID"], "secret": found["AWS_SECRET_ACCESS_KEY"]}


def _client(service: str, url: str, key: Mapping[str, str]) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=key["id"],
        aws_secret_access_key=key["secret"],
        config=Config(retries={"total_max_attempts": 1}, read_timeout=60),
    )


def deploy(url: str, key: Mapping[str, str], packed: bytes, environment: Mapping[str, str]) -> None:
    """Bucket, model, config and endpoint by boto3; returns once it is in service. Raises NotReady before trimtab listens."""
    from botocore.exceptions import BotoCoreError, ClientError

    s3, sagemaker = _client("s3", url, key), _client("sagemaker", url, key)
    try:
        s3.create_bucket(Bucket="models")
    except BotoCoreError as error:
        raise NotReady from error
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 503:
            raise NotReady from error
        raise
    s3.put_object(Bucket="models", Key="model.tar.gz", Body=packed)
    container = {
        "Image": "trimtab://python",
        "ModelDataUrl": "s3://models/model.tar.gz",
        "Environment": dict(environment),
    }
    sagemaker.create_model(ModelName="model", ExecutionRoleArn=ROLE, PrimaryContainer=container)
    variant = {"VariantName": "blue", "ModelName": "model", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(EndpointConfigName="model", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="model", EndpointConfigName="model")
    waiter = sagemaker.get_waiter("endpoint_in_service")
    waiter.wait(EndpointName="model", WaiterConfig={"Delay": 0.01, "MaxAttempts": 6000})
    s3.close()
    sagemaker.close()


def signature(url: str, key: Mapping[str, str], body: bytes) -> dict[str, str]:
    """Headers of a SigV4 signature made now: good for 5 minutes, which is longer than any load here."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    request = AWSRequest("POST", url, headers={"Content-Type": "application/json"}, data=body)
    SigV4Auth(Credentials(key["id"], key["secret"]), "sagemaker", REGION).add_auth(request)
    return {name: value for name, value in request.headers.items() if name in ("X-Amz-Date", "Authorization")}


DOES = dict.fromkeys(FEATURES, "yes")
TRIMTAB = Peer(
    name="trimtab",
    package="trimtab",
    configured="`trimtab serve --auth none`, 1 gateway, 1 worker, ONNX without a script; batching: 32, 3 ms",
    does=DOES,
    service=_service("none"),
    ours=True,
)
SIGNED = Peer(
    name="trimtab+sigv4",
    package="trimtab",
    configured="`trimtab serve`: every request carries a signature and its signature is checked",
    does=DOES,
    service=_service("sigv4"),
    models=("echo", "fraud"),
    ours=True,
)
UNBATCHED = Peer(
    name="trimtab-unbatched",
    package="trimtab",
    configured="as trimtab, batching off: what an idle model should not lose by it",
    does=DOES,
    service=_service("none", batching=False),
    models=(BATCHED,),
    ours=True,
)
