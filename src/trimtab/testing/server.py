"""A real `trimtab serve` in a process of its own: for tests and benchmarks, trimtab's and other programs'.

    with serving() as trimtab:
        trimtab.deploy("echo", script("..."))
        trimtab.client("sagemaker-runtime").invoke_endpoint(...)

Needs boto3.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil

PROGRAM = Path(sys.executable).with_name("trimtab")
ROLE = "arn:aws:iam::000000000000:role/trimtab"


class Trimtab:
    """One running trimtab and everything a test needs to talk to it."""

    def __init__(self, data_dir: Path, *options: str, program: Sequence[str] = (str(PROGRAM),)) -> None:
        """`program`: what runs a verb; without: this environment's `trimtab`."""
        self.data_dir = data_dir
        self._program = program
        self._clients: list[Any] = []
        self.log_path = data_dir.parent / f"{data_dir.name}.log"
        self._log = self.log_path.open("ab")
        command = [*program, "serve", "--port", "0", "--data-dir", str(data_dir), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("trimtab ready at http://"), self.log_path.read_text()
        self.url = line.split()[-1]

    @cached_property
    def env(self) -> dict[str, str]:
        """This process's environment plus what `trimtab env` exports; credentials of anybody else are left out."""
        base = {k: v for k, v in os.environ.items() if not k.startswith("AWS_") and not k.lower().endswith("_proxy")}
        exports: dict[str, str] = json.loads(self.cli("env", "--json", env=base))
        return base | dict(exports) | {"TRIMTAB_DATA_DIR": str(self.data_dir)}

    def cli(self, *arguments: str, env: dict[str, str] | None = None, check: bool = True) -> str:
        """Run a `trimtab` verb against this server and return its stdout."""
        argv = [*self._program, *arguments, "--data-dir", str(self.data_dir)]
        done = subprocess.run(argv, env=env or self.env, capture_output=True, text=True, timeout=250)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def client(self, service: str, *, key: tuple[str, str] | None = None, **config: Any) -> Any:
        """A plain boto3 client: only endpoint and credentials differ from AWS. Errors are not retried.

        `key` is another access key and its secret. `stop` closes the client.
        """
        settings: dict[str, Any] = {
            "retries": {"total_max_attempts": 1},
            "max_pool_connections": 64,
            "read_timeout": 70,
        } | config
        import boto3
        from botocore.config import Config

        key_id, secret = key or (self.env["AWS_ACCESS_KEY_ID"], self.env["AWS_SECRET_ACCESS_KEY"])
        client = boto3.client(
            service,
            endpoint_url=self.url,
            region_name=self.env["AWS_DEFAULT_REGION"],
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
            config=Config(**settings),
        )
        self._clients.append(client)
        return client

    @cached_property
    def sagemaker(self) -> Any:
        """boto3's `sagemaker`."""
        return self.client("sagemaker")

    @cached_property
    def runtime(self) -> Any:
        """boto3's `sagemaker-runtime`."""
        return self.client("sagemaker-runtime")

    @cached_property
    def s3(self) -> Any:
        """boto3's `s3`, with the bucket `models` made."""
        s3 = self.client("s3")
        s3.create_bucket(Bucket="models")
        return s3

    @property
    def bucket(self) -> str:
        """The bucket `models`, made."""
        assert self.s3 is not None
        return "models"

    def upload(self, archive: bytes, key: str = "") -> str:
        """Store `archive` and return its `s3://` URL."""
        key = key or f"{uuid.uuid4().hex}/model.tar.gz"
        self.s3.put_object(Bucket="models", Key=key, Body=archive)
        return f"s3://models/{key}"

    def create_model(self, name: str, archive: bytes, image: str = "trimtab://python", **environment: str) -> None:
        """A model from an archive."""
        container = {"Image": image, "ModelDataUrl": self.upload(archive), "Environment": environment}
        self.sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)

    def create_config(self, name: str, model: str, count: int = 1, **more: Any) -> None:
        """A config with one variant, `blue`."""
        variant = {
            "VariantName": "blue",
            "ModelName": model,
            "InstanceType": "ml.m5.large",
            "InitialInstanceCount": count,
        }
        self.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant | more])

    def deploy(
        self, name: str, archive: bytes, count: int = 1, image: str = "trimtab://python", **environment: str
    ) -> None:
        """Model, config and endpoint under one name; returns once it is in service."""
        self.create_model(name, archive, image, **environment)
        self.create_config(name, name, count)
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        self.settled(name)

    def settled(self, name: str, status: str = "InService") -> dict[str, Any]:
        """Wait until the endpoint is neither Creating nor Updating, and check what became of it."""
        from botocore.exceptions import WaiterError

        waiter = self.sagemaker.get_waiter("endpoint_in_service")
        try:
            waiter.wait(EndpointName=name, WaiterConfig={"Delay": 0.05, "MaxAttempts": 1200})
        except WaiterError:
            pass  # Failed: the assertion below shows why
        found: dict[str, Any] = self.sagemaker.describe_endpoint(EndpointName=name)
        assert found["EndpointStatus"] == status, found
        return found

    def deploy_many(
        self, name: str, count: int = 1, image: str = "trimtab://python", *, cache: bool = True, **environment: str
    ) -> None:
        """A multi-model endpoint in service, with no model yet: they go to `s3://models/NAME/`, by `put_model`."""
        self.create_many(name, image, cache=cache, **environment)
        self.create_config(name, name, count)
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        self.settled(name)

    def create_many(
        self, name: str, image: str = "trimtab://python", *, cache: bool = True, **environment: str
    ) -> None:
        """A multi-model model, of the archives below `s3://models/NAME/`."""
        container = {
            "Image": image,
            "Mode": "MultiModel",
            "ModelDataUrl": f"s3://{self.bucket}/{name}/",
            "MultiModelConfig": {"ModelCacheSetting": "Enabled" if cache else "Disabled"},
            "Environment": environment,
        }
        self.sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)

    def put_model(self, name: str, model: str, archive: bytes) -> None:
        """Put (or replace) a model of the multi-model endpoint `name`."""
        self.upload(archive, f"{name}/{model}")

    def invoke(self, name: str, body: bytes, content_type: str = "application/json", **more: Any) -> bytes:
        """One invocation's body."""
        answer = self.runtime.invoke_endpoint(EndpointName=name, Body=body, ContentType=content_type, **more)
        return bytes(answer["Body"].read())

    def processes(self, title: str) -> list[psutil.Process]:
        """Processes of this server whose title starts with `title` (`trimtab: control`)."""
        supervisor = psutil.Process(self.process.pid)
        return [p for p in supervisor.children(recursive=True) if _title(p).startswith(title)]

    def stop(self) -> int:
        """SIGTERM, and the exit status. Once it has ended, by whatever cause, only lets go of its output."""
        self.process.terminate()
        status = self.process.wait(timeout=90)
        for client in self._clients:
            client.close()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._log.close()
        return status


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it has just ended
        return ""


@contextmanager
def serving(*options: str, program: Sequence[str] = (str(PROGRAM),)) -> Iterator[Trimtab]:
    """A trimtab with a temporary data directory; stopped, its traces removed, at the end. `program`: see Trimtab."""
    with tempfile.TemporaryDirectory(prefix="trimtab-") as folder:
        server = Trimtab(Path(folder) / "data", *options, program=program)
        try:
            yield server
        finally:
            server.stop()
