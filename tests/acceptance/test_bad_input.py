"""Whatever the caller or the model does wrong is told clearly, in the shape that AWS's clients expect."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from trimtab.testing.artifacts import ECHO, archive, script
from trimtab.testing.server import ROLE, Trimtab

Serve = Callable[..., Trimtab]


def refused(call: Callable[..., Any], **arguments: Any) -> dict[str, Any]:
    """The error that boto3 raises."""
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return dict(error.value.response)


def model_error(trimtab: Trimtab, name: str, body: bytes = b"{}", **more: Any) -> dict[str, Any]:
    """A 424 of the endpoint `name`."""
    found = refused(trimtab.runtime.invoke_endpoint, EndpointName=name, Body=body, **more)
    assert found["Error"]["Code"] == "ModelError", found
    assert found["ResponseMetadata"]["HTTPStatusCode"] == 424
    return found


class TestControlPlane:
    def test_an_unknown_endpoint_config_or_model(self, trimtab: Trimtab) -> None:
        sagemaker = trimtab.sagemaker
        for call, argument, noun, arn in (
            (sagemaker.describe_endpoint, "EndpointName", "endpoint", "endpoint"),
            (sagemaker.delete_endpoint, "EndpointName", "endpoint", "endpoint"),
            (sagemaker.describe_endpoint_config, "EndpointConfigName", "endpoint configuration", "endpoint-config"),
            (sagemaker.describe_model, "ModelName", "model", "model"),
            (sagemaker.delete_model, "ModelName", "model", "model"),
        ):
            error = refused(call, **{argument: "nobody"})["Error"]
            assert error["Code"] == "ValidationException"
            assert error["Message"] == f'Could not find {noun} "arn:aws:sagemaker:us-east-1:000000000000:{arn}/nobody".'

    def test_a_name_that_breaks_the_pattern(self, trimtab: Trimtab) -> None:
        error = refused(trimtab.sagemaker.describe_endpoint, EndpointName="under_score")["Error"]
        assert error["Code"] == "ValidationException"
        assert "'under_score' at 'endpointName' failed to satisfy constraint" in error["Message"]

    def test_an_instance_type_that_does_not_exist(self, trimtab: Trimtab, name: str) -> None:
        trimtab.create_model(name, script(ECHO))
        variant = {"VariantName": "a", "ModelName": name, "InstanceType": "ml.huge", "InitialInstanceCount": 1}
        error = refused(
            trimtab.sagemaker.create_endpoint_config, EndpointConfigName=name, ProductionVariants=[variant]
        )["Error"]
        assert "ml.huge" in error["Message"]

    def test_creating_what_exists(self, trimtab: Trimtab, name: str) -> None:
        trimtab.deploy(name, script(ECHO))
        container = {"Image": "trimtab://python", "ModelDataUrl": trimtab.upload(script(ECHO))}
        calls: list[tuple[Callable[..., Any], dict[str, Any]]] = [
            (
                trimtab.sagemaker.create_model,
                {"ModelName": name, "ExecutionRoleArn": ROLE, "PrimaryContainer": container},
            ),
            (trimtab.sagemaker.create_endpoint, {"EndpointName": name, "EndpointConfigName": name}),
        ]
        for call, arguments in calls:
            assert "Cannot create already existing" in refused(call, **arguments)["Error"]["Message"]

    def test_a_model_whose_artifact_is_not_there(self, trimtab: Trimtab, name: str) -> None:
        container = {"Image": "trimtab://python", "ModelDataUrl": "s3://models/no/such/model.tar.gz"}
        assert trimtab.s3
        error = refused(
            trimtab.sagemaker.create_model, ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container
        )["Error"]
        assert error["Message"].startswith("Could not find model data at s3://models/no/such/model.tar.gz")

    def test_updating_and_deleting_while_a_change_is_under_way(self, trimtab: Trimtab, name: str) -> None:
        trimtab.deploy(name, script(ECHO))
        trimtab.create_model(f"{name}-2", script("import time\ndef model_fn(d):\n    time.sleep(60)\n"))
        trimtab.create_config(f"{name}-2", f"{name}-2")
        trimtab.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=f"{name}-2")
        for call, more in (
            (trimtab.sagemaker.update_endpoint, {"EndpointConfigName": name}),
            (trimtab.sagemaker.delete_endpoint, {}),
        ):
            message = refused(call, EndpointName=name, **more)["Error"]["Message"]
            assert message.startswith("Cannot update in-progress endpoint")

    def test_what_is_not_supported_yet_names_the_member(self, trimtab: Trimtab, name: str) -> None:
        trimtab.create_model(name, script(ECHO))
        variant = {
            "VariantName": "a",
            "ModelName": name,
            "InstanceType": "ml.m5.large",
            "InitialInstanceCount": 1,
            "InstancePools": [{"InstanceType": "ml.m5.large", "Priority": 1}],
        }
        error = refused(
            trimtab.sagemaker.create_endpoint_config, EndpointConfigName=name, ProductionVariants=[variant]
        )["Error"]
        assert "InstancePools" in error["Message"]


class TestInvocations:
    def test_an_unknown_endpoint_or_variant(self, trimtab: Trimtab, name: str) -> None:
        trimtab.deploy(name, script(ECHO))
        error = refused(trimtab.runtime.invoke_endpoint, EndpointName="nobody", Body=b"")["Error"]
        assert (error["Code"], error["Message"]) == (
            "ValidationError",
            "Endpoint nobody of account 000000000000 not found.",
        )
        error = refused(trimtab.runtime.invoke_endpoint, EndpointName=name, Body=b"", TargetVariant="pink")["Error"]
        assert error["Code"] == "ValidationError"
        assert "pink" in error["Message"]

    def test_a_body_over_the_limit(self, trimtab: Trimtab, name: str) -> None:
        trimtab.deploy(name, script(ECHO))
        at_limit = b"x" * 26_214_400
        assert len(trimtab.invoke(name, at_limit, "application/octet-stream")) == len(at_limit)
        found = refused(trimtab.runtime.invoke_endpoint, EndpointName=name, Body=at_limit + b"x")
        assert found["ResponseMetadata"]["HTTPStatusCode"] == 413

    def test_a_content_type_that_the_model_does_not_take(self, trimtab: Trimtab, name: str, fraud: Any) -> None:
        trimtab.deploy(name, fraud[0])
        found = model_error(trimtab, name, b"<xml/>", ContentType="application/xml")
        assert found["OriginalStatusCode"] == 415
        assert "application/xml" in found["OriginalMessage"]

    @pytest.mark.parametrize("body", [b"{", b"[1, 2", b'{"instances": "no"}', b"[[1, 2]]", b"\xff\xfe", b"[[]]", b""])
    def test_a_body_that_the_model_cannot_read(self, trimtab: Trimtab, fraud_endpoint: str, body: bytes) -> None:
        found = model_error(trimtab, fraud_endpoint, body, ContentType="application/json")
        assert found["OriginalStatusCode"] == 400

    def test_a_model_that_raises(self, trimtab: Trimtab, name: str) -> None:
        trimtab.deploy(name, script("def model_fn(d): return 1\ndef predict_fn(x, m): raise KeyError('age')\n"))
        found = model_error(trimtab, name, b"[1]", ContentType="application/json")
        assert found["OriginalStatusCode"] == 500
        assert "KeyError: 'age'" in found["OriginalMessage"]
        assert 'Received server error (500) from primary with message "' in found["Error"]["Message"]

    def test_a_model_that_answers_what_cannot_be_serialised(self, trimtab: Trimtab, name: str) -> None:
        trimtab.deploy(name, script("def model_fn(d): return 1\ndef predict_fn(x, m): return object()\n"))
        found = model_error(trimtab, name, b"[1]", ContentType="application/json")
        assert "object" in found["OriginalMessage"]

    def test_a_model_that_exits_fails_only_what_it_had_in_hand_and_comes_back(
        self, trimtab: Trimtab, name: str
    ) -> None:
        trimtab.deploy(
            name,
            script("""
            import os
            def model_fn(d): return 1
            def transform_fn(m, body, content_type, accept):
                if body == b"die":
                    os._exit(3)
                return body, "text/plain"
            """),
        )
        found = refused(trimtab.runtime.invoke_endpoint, EndpointName=name, Body=b"die", ContentType="text/plain")
        assert found["ResponseMetadata"]["HTTPStatusCode"] == 503
        assert trimtab.invoke(name, b"well again", "text/plain") == b"well again"

    def test_a_model_that_prints_megabytes(self, trimtab: Trimtab, name: str) -> None:
        trimtab.deploy(
            name,
            script("""
            def model_fn(d): return 1
            def transform_fn(m, body, content_type, accept):
                print("x" * 50_000_000)
                return body, "text/plain"
            """),
        )
        assert trimtab.invoke(name, b"ok", "text/plain") == b"ok"
        logs = [p for p in (trimtab.data_dir / "logs" / name).rglob("*") if p.is_file()]
        assert sum(p.stat().st_size for p in logs) < 60_000_000

    def test_a_model_that_hangs_is_given_up_and_replaced(self, serve: Serve, name: str) -> None:
        trimtab = serve("--invocation-timeout", "1")
        trimtab.deploy(
            name,
            script("""
            import time
            def model_fn(d): return 1
            def transform_fn(m, body, content_type, accept):
                if body == b"hang":
                    time.sleep(600)
                return body, "text/plain"
            """),
        )
        began_s = time.monotonic()
        found = model_error(trimtab, name, b"hang", ContentType="text/plain")
        assert 0.9 <= time.monotonic() - began_s < 5
        assert found["OriginalStatusCode"] == 0
        assert "timed out while waiting for a response from container primary" in found["Error"]["Message"]
        deadline_s = time.monotonic() + 20
        while True:  # the hung worker is replaced; until then requests wait behind it and run out of time
            try:
                assert trimtab.invoke(name, b"fine", "text/plain") == b"fine"
                return
            except ClientError:
                assert time.monotonic() < deadline_s, "the hung worker was never replaced"


@pytest.fixture(scope="module")
def fraud_endpoint(trimtab: Trimtab, fraud: Any) -> str:
    trimtab.deploy("bad-input-fraud", fraud[0])
    return "bad-input-fraud"


def tar_with(member: tarfile.TarInfo, data: bytes = b"") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


def bomb() -> bytes:
    """10 GB of zeros in 10 MB: gzip members may follow one another, so the first gigabyte's is repeated."""
    head = entry("model.onnx")
    head.size = 10 * 2**30
    chunk = gzip.compress(bytes(2**28), 9)
    return gzip.compress(head.tobuf(tarfile.PAX_FORMAT), 1) + chunk * 40


class TestArtifacts:
    @pytest.mark.parametrize(
        ("archive_bytes", "says"),
        [
            (tar_with(entry("../evil.py"), b"x"), r"\.\./evil\.py"),
            (tar_with(entry("/etc/evil"), b"x"), "/etc/evil"),
            (tar_with(entry("out", tarfile.SYMTYPE, "../../outside")), "out"),
            (tar_with(entry("out", tarfile.LNKTYPE, "/etc/passwd")), "out"),
            (tar_with(entry("tty", tarfile.CHRTYPE)), "tty"),
            (script(ECHO)[:-20], "(?i)cut off"),
            (b"this is no archive", "(?i)not a .*(gzip|tar)"),
            (archive(readme_txt="nothing here"), "(?i)no model"),
            (archive(code__inference_py="def model_fn(:"), "SyntaxError"),
            (script("def predict_fn(x, m): return x"), "model_fn"),
        ],
        ids=[
            "dotdot",
            "absolute",
            "symlink",
            "hardlink",
            "device",
            "truncated",
            "no-tar",
            "no-model",
            "syntax",
            "no-model-fn",
        ],
    )
    def test_an_artifact_that_cannot_be_served(
        self, trimtab: Trimtab, name: str, archive_bytes: bytes, says: str
    ) -> None:
        trimtab.create_model(name, archive_bytes, image="trimtab://python")
        trimtab.create_config(name, name)
        trimtab.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        reason = trimtab.settled(name, "Failed")["FailureReason"]
        import re

        assert re.search(says, reason), reason
        trimtab.sagemaker.delete_endpoint(EndpointName=name)

    def test_a_bomb_is_stopped_at_the_limit_and_leaves_nothing(self, serve: Serve, name: str) -> None:
        trimtab = serve("--max-artifact-mib", "100")
        trimtab.create_model(name, bomb())
        trimtab.create_config(name, name)
        trimtab.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        reason = trimtab.settled(name, "Failed")["FailureReason"]
        assert "more than 100 MiB" in reason
        left = sum(p.stat().st_size for p in (trimtab.data_dir / "cache").rglob("*") if p.is_file())
        assert left < 1_000_000


class TestSignatures:
    def test_a_wrong_secret(self, trimtab: Trimtab) -> None:
        for service, code in (("sagemaker", "InvalidSignatureException"), ("s3", "SignatureDoesNotMatch")):
            client = trimtab.client(service, key=(trimtab.env["AWS_ACCESS_KEY_ID"], "wrong"))
            call = client.list_models if service == "sagemaker" else client.list_buckets
            assert refused(call)["Error"]["Code"] == code

    def test_an_unknown_key(self, trimtab: Trimtab, name: str) -> None:
        for service, code in (("sagemaker-runtime", "UnrecognizedClientException"), ("sts", "InvalidClientTokenId")):
            client = trimtab.client(service, key=("AKIANOBODY0000000000", "x"))
            arguments = {"EndpointName": name, "Body": b""} if service == "sagemaker-runtime" else {}
            call = client.invoke_endpoint if service == "sagemaker-runtime" else client.get_caller_identity
            assert refused(call, **arguments)["Error"]["Code"] == code

    def test_a_key_limited_to_one_endpoint_cannot_touch_another(self, trimtab: Trimtab, name: str) -> None:
        trimtab.deploy(name, script(ECHO))
        trimtab.deploy(f"{name}-other", script(ECHO))
        key = json.loads(
            trimtab.cli("keys", "create", "--action", "sagemaker:InvokeEndpoint", "--endpoint", name, "--json")
        )
        limited = trimtab.client("sagemaker-runtime", key=(key["id"], key["secret"]))
        deadline_s = time.monotonic() + 5
        while True:  # the running server notices the new key by itself
            try:
                assert limited.invoke_endpoint(EndpointName=name, Body=b"hi")["Body"].read() == b"hi"
                break
            except ClientError:
                assert time.monotonic() < deadline_s
        found = refused(limited.invoke_endpoint, EndpointName=f"{name}-other", Body=b"hi")
        assert found["Error"]["Code"] == "AccessDeniedException"
