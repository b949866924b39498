"""The steps of a deployment: pack, upload, model, configuration, endpoint, wait. What was made in vain goes again."""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path
from typing import Any

from msgspec import Struct

from trimtab.aws.client import CallFailed, Client, Unreachable
from trimtab.cli.model_tree import ModelTree
from trimtab.cli.pack import Packed, pack, packed_file
from trimtab.cli.progress import Progress
from trimtab.cli.render import CliError, size

VARIANT = "AllTraffic"  # what the sagemaker SDK calls its only variant
_POLL_S = 0.25
_PATIENCE_S = 30.0  # control may be restarted meanwhile
_TAIL = 20
_MAX_NAME = 63


class Wanted(Struct, frozen=True, kw_only=True):
    """What the caller asked for."""

    name: str
    image: str
    instance_type: str
    count: int
    environment: dict[str, str]
    timeout_s: float
    wait: bool


class Deployed(Struct, frozen=True, kw_only=True):
    """What came of it. `failure` is empty where it worked."""

    endpoint: str
    status: str
    config: str
    model: str
    artifact: str
    artifact_bytes: int
    seconds: float
    failure: str = ""
    log_tail: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        known = {
            "endpoint": self.endpoint,
            "status": self.status,
            "config": self.config,
            "model": self.model,
            "artifact": self.artifact,
            "artifact_bytes": self.artifact_bytes,
            "seconds": round(self.seconds, 3),
        }
        if self.failure:
            known |= {"failure": self.failure, "log_tail": list(self.log_tail)}
        return known


class Deployment:
    """One run from files to an endpoint."""

    def __init__(self, client: Client, wanted: Wanted, progress: Progress) -> None:
        self._client = client
        self._wanted = wanted
        self._progress = progress
        self._started_s = time.monotonic()

    def run(self, tree: ModelTree) -> Deployed:
        """Do all of it. Raises CliError and CallFailed until the endpoint is ordered; later failures are told."""
        exists = self._look()
        with tempfile.TemporaryDirectory(prefix="trimtab-deploy-") as scratch:
            packed = self._packed(tree, Path(scratch))
            artifact = self._uploaded(packed)
        version = _version(self._wanted.name, packed)
        self._order(version, artifact, update=exists)
        done = Deployed(
            endpoint=self._wanted.name,
            status="Updating" if exists else "Creating",
            config=version,
            model=version,
            artifact=artifact,
            artifact_bytes=packed.size_bytes,
            seconds=time.monotonic() - self._started_s,
        )
        return self._waited(done) if self._wanted.wait else done

    def _look(self) -> bool:
        """Whether the endpoint is there and can be updated. A failed one is removed: nothing can be saved of it."""
        name = self._wanted.name
        try:
            found = self._client.call("sagemaker", "describe_endpoint", EndpointName=name)
        except CallFailed as error:
            if "Could not find" in str(error):
                return False
            raise
        status = found["EndpointStatus"]
        if status == "Failed":
            self._progress.done(f"{name} had failed: making it anew")
            self._client.call("sagemaker", "delete_endpoint", EndpointName=name)
            self._until_gone(name)
            return False
        if status not in ("InService", "UpdateRollbackFailed"):
            raise CliError(
                f"The endpoint {name} is {status}: it cannot be changed now.",
                f"Wait until it is InService (`trimtab describe {name}`), or choose another --name.",
            )
        return True

    def _until_gone(self, name: str) -> None:
        deadline_s = time.monotonic() + self._wanted.timeout_s
        while time.monotonic() < deadline_s:
            try:
                self._client.call("sagemaker", "describe_endpoint", EndpointName=name)
            except CallFailed as error:
                if "Could not find" in str(error):
                    return
                raise
            time.sleep(_POLL_S)
        raise CliError(f"The failed endpoint {name} did not go away.", f"trimtab describe {name}")

    def _packed(self, tree: ModelTree, scratch: Path) -> Packed:
        if tree.is_archive:
            return packed_file(tree.source)
        total = sum(tree.files.values())
        count = len(tree.files)
        self._progress.step(f"packing {count} file{'' if count == 1 else 's'}, {size(total)}")
        return pack(
            tree.origin,
            scratch / "model.tar.gz",
            lambda done: self._progress.update(f"packing {size(done)} of {size(total)}"),
        )

    def _uploaded(self, packed: Packed) -> str:
        """Put the archive where its content says; what is there already is not sent again."""
        bucket = self._bucket()
        key = f"trimtab/{self._wanted.name}/{packed.sha256[:16]}/model.tar.gz"
        uri = f"s3://{bucket}/{key}"
        try:
            there: int = self._client.call("s3", "head_object", Bucket=bucket, Key=key)["ContentLength"]
        except CallFailed as error:
            if error.status != 404:
                raise
            there = -1
        if there == packed.size_bytes:
            self._progress.done(f"the same files are at {uri} already")
            return uri
        self._progress.step(f"uploading {size(packed.size_bytes)} to {uri}")
        self._client.upload(packed.path, bucket, key)
        return uri

    def _bucket(self) -> str:
        """The default bucket, as the sagemaker SDK names it; made when it is not there."""
        account = self._client.call("sts", "get_caller_identity")["Account"]
        bucket = f"sagemaker-{self._client.region}-{account}"
        try:
            self._client.call("s3", "head_bucket", Bucket=bucket)
        except CallFailed as error:
            if error.status != 404:
                raise
            elsewhere = (
                {"CreateBucketConfiguration": {"LocationConstraint": self._client.region}}
                if self._client.region != "us-east-1"
                else {}
            )
            self._client.call("s3", "create_bucket", Bucket=bucket, **elsewhere)
        return bucket

    def _order(self, version: str, artifact: str, *, update: bool) -> None:
        wanted, call = self._wanted, self._client.call
        self._progress.step(f"{'updating' if update else 'creating'} {wanted.name}")
        container = {"Image": wanted.image, "ModelDataUrl": artifact, "Environment": wanted.environment}
        variant = {
            "VariantName": VARIANT,
            "ModelName": version,
            "InitialInstanceCount": wanted.count,
            "InstanceType": wanted.instance_type,
        }
        with contextlib.ExitStack() as undo:
            call("sagemaker", "create_model", ModelName=version, PrimaryContainer=container)
            undo.callback(self._forget, "delete_model", ModelName=version)
            call("sagemaker", "create_endpoint_config", EndpointConfigName=version, ProductionVariants=[variant])
            undo.callback(self._forget, "delete_endpoint_config", EndpointConfigName=version)
            operation = "update_endpoint" if update else "create_endpoint"
            call("sagemaker", operation, EndpointName=wanted.name, EndpointConfigName=version)
            undo.pop_all()  # the endpoint has them now

    def _forget(self, operation: str, **params: str) -> None:
        with contextlib.suppress(CallFailed, Unreachable):  # what went wrong first is what is told
            self._client.call("sagemaker", operation, **params)

    def _waited(self, ordered: Deployed) -> Deployed:
        name = self._wanted.name
        try:
            document = self._settled(ordered.config)
        except KeyboardInterrupt:
            raise CliError(
                f"Stopped waiting. The deployment of {name} goes on.", f"trimtab describe {name}", exit_code=130
            ) from None
        seconds = time.monotonic() - self._started_s
        status, reason = document["status"], document.get("failure_reason", "")
        changes = {**{key: getattr(ordered, key) for key in ordered.__struct_fields__}, "status": status}
        if status == "InService" and document["config_name"] == ordered.config:
            return Deployed(**{**changes, "seconds": seconds})
        if status == "InService":
            said = f"The update of {name} failed, and {document['config_name']} still serves: {reason or 'no reason'}"
        else:
            said = f"The endpoint {name} is {status}: {reason or 'no reason was given'}"
        return Deployed(**{**changes, "seconds": seconds, "failure": said, "log_tail": self._log_tail(document)})

    def _settled(self, config: str) -> dict[str, Any]:
        """Wait until no change is under way any more. A server that is being restarted is waited for."""
        name = self._wanted.name
        deadline_s = time.monotonic() + self._wanted.timeout_s
        heard_s = time.monotonic()
        while True:
            try:
                document = self._client.get(f"endpoints/{name}")
                heard_s = time.monotonic()
                if document["status"] not in ("Creating", "Updating", "SystemUpdating", "RollingBack"):
                    return document
                self._progress.step(_state(document, config))
            except Unreachable:
                if time.monotonic() - heard_s > _PATIENCE_S:
                    raise
            except CallFailed as error:
                if error.code != "NotFound":
                    raise
                raise CliError(f"The endpoint {name} was deleted while it was being made.") from error
            if time.monotonic() > deadline_s:
                raise CliError(
                    f"The endpoint {name} is not in service after {self._wanted.timeout_s:.0f} s; it goes on trying.",
                    f"trimtab describe {name}, or wait longer with --timeout.",
                )
            time.sleep(_POLL_S)

    def _log_tail(self, document: dict[str, Any]) -> tuple[str, ...]:
        """The last lines of the replica that failed, unless the reason shows them: its own account, else its log."""
        if "\n" in document.get("failure_reason", ""):
            return ()
        for replica in reversed(document["replicas"]):
            if tail := replica.get("failure", {}).get("tail"):
                return tuple(tail.splitlines()[-_TAIL:])
        with contextlib.suppress(CallFailed, Unreachable):  # the failure itself has been told already
            entries = list(self._client.lines(f"endpoints/{self._wanted.name}/logs", tail=str(_TAIL)))
            return tuple(entry["line"] for entry in entries if entry["replica"] == entries[-1]["replica"])
        return ()


def _version(name: str, packed: Packed) -> str:
    """A name for model and configuration: when, and from what. Cut to AWS's 63 characters."""
    now_s = time.time()
    stamp = f"{time.strftime('%y%m%d-%H%M%S', time.gmtime(now_s))}{int(now_s * 1000) % 1000:03d}-{packed.sha256[:6]}"
    return f"{name[: _MAX_NAME - len(stamp) - 1].rstrip('-')}-{stamp}"


def _state(document: dict[str, Any], config: str) -> str:
    mine = [replica for replica in document["replicas"] if replica["version"] == config]
    ready = sum(replica["state"] == "Ready" for replica in mine)
    text = f"{document['name']} is {document['status']}: {ready} of {len(mine)} new replicas ready"
    failed = [replica["failure"] for replica in mine if replica.get("failure")]
    return f"{text}; {failed[-1]['reason']}: {failed[-1]['message']}" if failed else text
