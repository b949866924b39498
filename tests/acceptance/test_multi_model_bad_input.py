"""What goes wrong with multi-model endpoints, as boto3 shows it: the code, the status, and a text that says what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from many_models import named, trained
from test_multi_model import Callers, ask

from trimtab.testing.artifacts import archive, script
from trimtab.testing.server import ROLE, Trimtab
from trimtab.testing.waiting import wait_until


@pytest.fixture(scope="module")
def many(trimtab: Trimtab) -> str:
    """A multi-model endpoint with one good model; what the other tests do must not disturb it."""
    name = "many-bad"
    trimtab.deploy_many(name)
    trimtab.put_model(name, "good.tar.gz", named("good"))
    assert ask(trimtab, name, "good.tar.gz") == "good"
    return name


@pytest.fixture(autouse=True)
def undisturbed(trimtab: Trimtab, many: str) -> Any:
    """Whatever a test does to one model, the others answer."""
    with Callers(trimtab, many, {"good.tar.gz": {"good"}}, threads=1) as callers:
        yield
        callers.go_on(3)


def refused(trimtab: Trimtab, name: str, code: str, status: int, **request: Any) -> str:
    """The message with which an invocation is refused, without a traceback in it."""
    with pytest.raises(ClientError) as caught:
        trimtab.runtime.invoke_endpoint(EndpointName=name, Body=b"[]", ContentType="application/json", **request)
    response = caught.value.response
    assert (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]) == (code, status), response
    message: str = response["Error"]["Message"]
    assert "Traceback" not in message
    return message.replace(response["ResponseMetadata"]["RequestId"], "REQUEST")


class TestTargetModels:
    def test_none_where_there_are_many(self, trimtab: Trimtab, many: str) -> None:
        message = refused(trimtab, many, "ValidationError", 400)
        assert message == "Request REQUEST is missing a target model header."

    def test_one_where_there_is_only_one(self, trimtab: Trimtab, name: str) -> None:
        trimtab.deploy(name, named("single"))
        message = refused(trimtab, name, "ValidationError", 400, TargetModel="m.tar.gz")
        assert message == f"Endpoint {name} is not a multi-model endpoint and does not support target model header."

    @pytest.mark.parametrize("model", ["absent.tar.gz", "no/such/folder/m.tar.gz"])
    def test_one_that_is_not_there(self, trimtab: Trimtab, many: str, model: str) -> None:
        message = refused(trimtab, many, "ValidationError", 400, TargetModel=model)
        assert message.startswith(f"Failed to download model data (bucket: models, key: {many}/{model}).")

    def test_one_that_is_not_there_is_served_once_it_is(self, trimtab: Trimtab, many: str) -> None:
        refused(trimtab, many, "ValidationError", 400, TargetModel="late.tar.gz")
        trimtab.put_model(many, "late.tar.gz", named("late"))
        wait_until(lambda: _answers(trimtab, many, "late.tar.gz") == "late")

    @pytest.mark.parametrize("model", ["../other/m.tar.gz", "a/../../m.tar.gz", "..", "a//b", "./m.tar.gz", "m/"])
    def test_paths_that_lead_elsewhere(self, trimtab: Trimtab, many: str, model: str) -> None:
        message = refused(trimtab, many, "ValidationError", 400, TargetModel=model)
        assert model in message

    def test_an_absurdly_long_one(self, trimtab: Trimtab, many: str) -> None:
        message = refused(trimtab, many, "ValidationError", 400, TargetModel="m" * 1000 + ".tar.gz")
        assert "key" in message.lower() or "length" in message.lower()

    def test_a_prefix_with_no_models_is_in_service_and_says_what_is_missing(self, trimtab: Trimtab, name: str) -> None:
        trimtab.deploy_many(name)
        message = refused(trimtab, name, "ValidationError", 400, TargetModel="m.tar.gz")
        assert message.startswith(f"Failed to download model data (bucket: models, key: {name}/m.tar.gz).")


def _answers(trimtab: Trimtab, name: str, model: str) -> str:
    try:
        return ask(trimtab, name, model)
    except trimtab.runtime.exceptions.ValidationError:
        return ""


class TestArtifacts:
    @pytest.mark.parametrize(
        ("data", "says"),
        [
            (b"this is no archive", "archive"),
            (named("x")[:40], "archive"),
            (b"", "is empty"),
            (archive(readme_txt="no model in here"), "no model"),
        ],
        ids=["no archive", "cut off", "empty", "no model"],
    )
    def test_archives_that_hold_no_model(self, trimtab: Trimtab, many: str, name: str, data: bytes, says: str) -> None:
        trimtab.put_model(many, f"{name}.tar.gz", data)
        with pytest.raises(ClientError) as caught:
            ask(trimtab, many, f"{name}.tar.gz")
        error = caught.value.response
        assert error["ResponseMetadata"]["HTTPStatusCode"] in (400, 424), error
        assert says in error["Error"]["Message"]

    def test_one_that_climbs_out_of_its_folder(self, trimtab: Trimtab, many: str, name: str) -> None:
        import io
        import tarfile

        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            member = tarfile.TarInfo("../../evil.txt")
            member.size = 4
            tar.addfile(member, io.BytesIO(b"evil"))
        trimtab.put_model(many, f"{name}.tar.gz", packed.getvalue())
        with pytest.raises(ClientError, match="evil"):
            ask(trimtab, many, f"{name}.tar.gz")

    def test_a_model_of_a_framework_that_the_runtime_does_not_have(self, trimtab: Trimtab, name: str) -> None:
        """An ONNX model on the XGBoost image, whose handlers load XGBoost's files alone."""
        image = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1"
        trimtab.deploy_many(name, image=image)
        trimtab.put_model(name, "wrong.tar.gz", trained()["onnx.tar.gz"][0])
        with pytest.raises(ClientError) as caught:
            ask(trimtab, name, "wrong.tar.gz")
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 424)
        message = caught.value.response["Error"]["Message"]
        assert "does not serve model.onnx; trimtab://python does" in message


class TestLoads:
    def test_a_model_that_raises_while_it_loads(self, trimtab: Trimtab, many: str, name: str) -> None:
        text = "def model_fn(model_dir):\n    raise ValueError('the weights are for another net')\n"
        trimtab.put_model(many, f"{name}.tar.gz", script(text))
        message = refused(trimtab, many, "ModelError", 424, TargetModel=f"{name}.tar.gz")
        assert "the weights are for another net" in message

    @pytest.mark.parametrize("how", ["os._exit(3)", "os.kill(os.getpid(), 9)"])
    def test_a_model_that_kills_its_process_while_it_loads(
        self, trimtab: Trimtab, many: str, name: str, how: str
    ) -> None:
        trimtab.put_model(many, f"{name}.tar.gz", script(f"import os\ndef model_fn(model_dir):\n    {how}\n"))
        refused(trimtab, many, "ModelError", 424, TargetModel=f"{name}.tar.gz")

    def test_a_model_that_kills_its_process_while_it_answers(self, trimtab: Trimtab, many: str, name: str) -> None:
        text = """
        import os
        def model_fn(model_dir):
            return None
        def transform_fn(model, body, content_type, accept):
            if "die" in body:
                os._exit(3)
            return "alive"
        """
        trimtab.put_model(many, f"{name}.tar.gz", script(text))
        model = f"{name}.tar.gz"
        assert ask(trimtab, many, model) == "alive"
        with pytest.raises(ClientError) as caught:
            ask(trimtab, many, model, b"die")
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
        assert ask(trimtab, many, model) == "alive"

    def test_a_model_that_hangs_while_it_loads_is_not_ready_and_harms_no_other(
        self, serve: Callable[..., Trimtab], name: str
    ) -> None:
        trimtab = serve("--invocation-timeout", "2")
        trimtab.deploy_many(name)
        trimtab.put_model(name, "good.tar.gz", named("good"))
        trimtab.put_model(name, "hangs.tar.gz", script("import time\ndef model_fn(d):\n    time.sleep(1000)\n"))
        message = refused(trimtab, name, "ModelNotReadyException", 429, TargetModel="hangs.tar.gz")
        assert "hangs.tar.gz" in message
        assert ask(trimtab, name, "good.tar.gz") == "good"

    def test_what_a_model_has_forked_ends_with_it(self, trimtab: Trimtab, many: str, name: str) -> None:
        text = """
        import json, os, subprocess, sys

        def model_fn(model_dir):
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
            return child.pid

        def transform_fn(model, body, content_type, accept):
            return json.dumps([os.getpid(), model])
        """
        import psutil

        trimtab.put_model(many, f"{name}.tar.gz", script(text))
        _, child = json.loads(ask(trimtab, many, f"{name}.tar.gz"))
        assert psutil.pid_exists(child)
        trimtab.put_model(many, f"{name}.tar.gz", named("peaceful"))
        wait_until(lambda: ask(trimtab, many, f"{name}.tar.gz") == "peaceful")
        wait_until(lambda: not psutil.pid_exists(child))


class TestMemory:
    def test_a_model_that_can_never_fit_is_refused_with_the_numbers_once_it_is_known(
        self, trimtab: Trimtab, name: str
    ) -> None:
        trimtab.deploy_many(name, TRIMTAB_MODEL_MEMORY_MIB="64")
        trimtab.put_model(name, "small.tar.gz", named("small"))
        assert ask(trimtab, name, "small.tar.gz") == "small"
        big = script(
            "def model_fn(model_dir):\n    return b'x' * 200 * 2**20\ndef transform_fn(*a):\n    return 'big'\n"
        )
        trimtab.put_model(name, "big.tar.gz", big)

        def is_refused() -> bool:
            """Its first load shows what it takes; who waited for that is answered."""
            try:
                return ask(trimtab, name, "big.tar.gz") != "big"
            except ClientError as error:
                return "MiB" in error.response["Error"]["Message"]

        wait_until(is_refused)
        message = refused(trimtab, name, "ModelError", 424, TargetModel="big.tar.gz")
        assert "(507)" in message
        assert "MiB, and a replica" in message
        assert ask(trimtab, name, "small.tar.gz") == "small"

    def test_more_models_than_fit_are_all_served(self, trimtab: Trimtab, name: str) -> None:
        trimtab.deploy_many(name, TRIMTAB_MODEL_MEMORY_MIB="160")
        for number in range(6):
            text = f"def model_fn(d):\n    return bytearray(b'x') * 40 * 2**20\ndef transform_fn(*a):\n    return '{number}'\n"
            trimtab.put_model(name, f"{number}.tar.gz", script(text))
        for number in [*range(6), *range(6)]:
            assert ask(trimtab, name, f"{number}.tar.gz") == str(number)


class TestDeclarations:
    @pytest.mark.parametrize(
        ("container", "says"),
        [
            ({"ModelDataUrl": "s3://models/p"}, "ending in a slash"),
            ({"ModelDataUrl": "s3://models/m.tar.gz"}, "ending in a slash"),
            ({}, "needs ModelDataUrl"),
            ({"ModelDataUrl": "s3://no-such-bucket/p/"}, "Could not find model data at s3://no-such-bucket/p/."),
            (
                {"ModelDataUrl": "s3://models/p/", "Environment": {"TRIMTAB_MODEL_TTL_S": "soon"}},
                "TRIMTAB_MODEL_TTL_S is 'soon'",
            ),
        ],
    )
    def test_models_that_cannot_be(self, trimtab: Trimtab, name: str, container: dict[str, Any], says: str) -> None:
        with pytest.raises(ClientError) as caught:
            trimtab.sagemaker.create_model(
                ModelName=name,
                ExecutionRoleArn=ROLE,
                PrimaryContainer={"Image": "trimtab://python", "Mode": "MultiModel", **container},
            )
        assert caught.value.response["Error"]["Code"] == "ValidationException"
        assert says in caught.value.response["Error"]["Message"]
