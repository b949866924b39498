"""Multi-model endpoints, as programs for AWS use them: boto3, and the sagemaker SDK's MultiDataModel."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from many_models import first, named, rows_and_labels, trained
from test_clients import client_env, run

from trimtab.testing.artifacts import archive, script
from trimtab.testing.server import Trimtab
from trimtab.testing.waiting import wait_until


def ask(trimtab: Trimtab, name: str, model: str, body: bytes = b"[]") -> str:
    return trimtab.invoke(name, body, TargetModel=model).decode()


class Callers:
    """Threads that ask models all the time; every answer must be one of those expected."""

    def __init__(self, trimtab: Trimtab, name: str, expected: dict[str, set[str]], threads: int = 2) -> None:
        self._trimtab, self._name, self._expected = trimtab, name, expected
        self._stop = threading.Event()
        self.answers: list[tuple[str, str]] = []
        self._pool = ThreadPoolExecutor(threads)
        self._asking = [self._pool.submit(self._ask) for _ in range(threads)]

    def _ask(self) -> None:
        while not self._stop.is_set():
            for model, expected in self._expected.items():
                answer = ask(self._trimtab, self._name, model)
                assert answer in expected, (model, answer)
                self.answers.append((model, answer))

    def __enter__(self) -> Callers:
        wait_until(lambda: len(self.answers) >= 4)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown()
        for asking in self._asking:
            asking.result()  # raises what a caller was refused

    def go_on(self, count: int = 20) -> None:
        """Wait for so many more answers."""
        until = len(self.answers) + count
        wait_until(lambda: len(self.answers) >= until or any(asking.done() for asking in self._asking))


def test_models_of_several_frameworks_are_served_side_by_side_from_one_prefix(trimtab: Trimtab, name: str) -> None:
    trimtab.deploy_many(name)
    body = json.dumps(rows_and_labels()[0][:3].tolist()).encode()
    models = trained()
    for model, (artifact, _) in models.items():  # the endpoint is in service: models are added by uploading them
        trimtab.put_model(name, model, artifact)
    for model, (_, expected) in models.items():
        answer = json.loads(ask(trimtab, name, model, body))
        np.testing.assert_allclose(first(answer), expected, rtol=1e-4, err_msg=model)
    described = trimtab.sagemaker.describe_model(ModelName=name)["PrimaryContainer"]
    assert described["Mode"] == "MultiModel"
    assert described["MultiModelConfig"] == {"ModelCacheSetting": "Enabled"}
    assert described["ModelDataUrl"] == f"s3://models/{name}/"


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # such models exist
def test_torch_models_are_served_beside_others(trimtab: Trimtab, name: str) -> None:
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed here: `make torch-env`")
    import io

    net = torch.nn.Linear(4, 2)
    saved = io.BytesIO()
    torch.jit.save(torch.jit.trace(net, torch.zeros(1, 4)), saved)
    rows = rows_and_labels()[0][:3]
    trimtab.deploy_many(name)
    trimtab.put_model(name, "torch.tar.gz", archive(model_pt=saved.getvalue()))
    trimtab.put_model(name, "plain.tar.gz", named("plain"))
    answer = json.loads(ask(trimtab, name, "torch.tar.gz", json.dumps(rows.tolist()).encode()))
    with torch.no_grad():
        np.testing.assert_allclose(answer, net(torch.tensor(rows)).numpy(), rtol=1e-4)
    assert ask(trimtab, name, "plain.tar.gz") == "plain"


def test_the_fraud_model_answers_as_it_does_alone(trimtab: Trimtab, name: str, fraud: Any) -> None:
    model, payments, _ = fraud
    trimtab.deploy(f"{name}-1", model)
    trimtab.deploy_many(name)
    trimtab.put_model(name, "fraud/v1.tar.gz", model)
    body = json.dumps(payments[:20].tolist()).encode()
    assert ask(trimtab, name, "fraud/v1.tar.gz", body) == trimtab.invoke(f"{name}-1", body).decode()


def test_modules_of_different_models_do_not_see_each_other(trimtab: Trimtab, name: str) -> None:
    text = """
    import json, os, helper, builtins
    builtins.leaked = getattr(builtins, "leaked", []) + [helper.NAME]
    os.environ["LEAKED"] = os.environ.get("LEAKED", "") + helper.NAME

    def model_fn(model_dir):
        return helper.NAME

    def transform_fn(model, body, content_type, accept):
        return json.dumps([model, builtins.leaked, os.environ["LEAKED"], os.getpid()])
    """
    trimtab.deploy_many(name)
    for model in ("a", "b"):
        trimtab.put_model(name, model, archive(code__inference_py=text, code__helper_py=f"NAME = {model!r}"))
    answers = {model: json.loads(ask(trimtab, name, model)) for model in ("a", "b")}
    assert [answer[:3] for answer in answers.values()] == [["a", ["a"], "a"], ["b", ["b"], "b"]]
    assert answers["a"][3] != answers["b"][3]


def test_one_load_however_many_wait(trimtab: Trimtab, name: str, tmp_path: Path) -> None:
    births = tmp_path / "births"
    trimtab.deploy_many(name, BIRTHS=str(births))
    slow = script("""
    import os, time

    def model_fn(model_dir):
        with open(os.environ["BIRTHS"], "a") as file:
            file.write("born\\n")
        time.sleep(0.5)

    def transform_fn(model, body, content_type, accept):
        return "slow"
    """)
    trimtab.put_model(name, "slow.tar.gz", slow)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: ask(trimtab, name, "slow.tar.gz"), range(16)))
    assert answers == ["slow"] * 16
    assert births.read_text() == "born\n"


def test_a_model_that_is_overwritten_while_it_serves_is_replaced_without_a_failed_request(
    trimtab: Trimtab, name: str
) -> None:
    trimtab.deploy_many(name)
    trimtab.put_model(name, "m.tar.gz", named("one"))
    with Callers(trimtab, name, {"m.tar.gz": {"one", "two"}}) as callers:
        trimtab.put_model(name, "m.tar.gz", named("two"))
        wait_until(lambda: callers.answers[-1][1] == "two")
        callers.go_on()
    answers = [answer for _, answer in callers.answers]
    assert "one" not in answers[answers.index("two") + 2 :], (
        "nothing is sent to the old version once the new one serves"
    )


def test_of_two_uploads_that_race_the_one_that_s3_keeps_is_served(trimtab: Trimtab, name: str) -> None:
    trimtab.deploy_many(name)
    trimtab.put_model(name, "m.tar.gz", named("0"))
    assert ask(trimtab, name, "m.tar.gz") == "0"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: trimtab.put_model(name, "m.tar.gz", named(str(n))), range(1, 9)))
    kept = trimtab.s3.get_object(Bucket="models", Key=f"{name}/m.tar.gz")["Body"].read()
    (winner,) = [str(n) for n in range(9) if named(str(n)) == kept]
    wait_until(lambda: ask(trimtab, name, "m.tar.gz") == winner)


def test_a_model_that_is_deleted_serves_until_it_is_unloaded(trimtab: Trimtab, name: str) -> None:
    trimtab.deploy_many(name)
    trimtab.put_model(name, "m.tar.gz", named("still here"))
    assert ask(trimtab, name, "m.tar.gz") == "still here"
    trimtab.s3.delete_object(Bucket="models", Key=f"{name}/m.tar.gz")
    assert ask(trimtab, name, "m.tar.gz") == "still here"


def test_without_a_cache_a_model_is_loaded_for_each_request(trimtab: Trimtab, name: str) -> None:
    trimtab.deploy_many(name, cache=False)
    trimtab.put_model(
        name,
        "m.tar.gz",
        script("""
    import os

    def model_fn(model_dir):
        return os.getpid()

    def transform_fn(model, body, content_type, accept):
        return str(model)
    """),
    )
    pids = set()
    for _ in range(3):
        pids.add(ask(trimtab, name, "m.tar.gz"))
        wait_until(lambda: not _alive(pids))
    assert len(pids) == 3


def _alive(pids: set[str]) -> bool:
    return any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_models_that_are_pinned_in_the_environment_are_loaded_before_anybody_asks(
    trimtab: Trimtab, name: str, tmp_path: Path
) -> None:
    born = tmp_path / "born"
    trimtab.put_model(
        name,
        "hot.tar.gz",
        script("""
    import os, pathlib

    def model_fn(model_dir):
        pathlib.Path(os.environ["BORN"]).touch()

    def transform_fn(model, body, content_type, accept):
        return "hot"
    """),
    )
    trimtab.deploy_many(name, BORN=str(born), TRIMTAB_PINNED_MODELS="hot.tar.gz")
    wait_until(born.exists)


def test_an_endpoint_becomes_multi_model_and_single_again_under_load(trimtab: Trimtab, name: str) -> None:
    trimtab.deploy(name, named("single"))
    trimtab.create_many(f"{name}-many")
    trimtab.create_config(f"{name}-many", f"{name}-many")
    trimtab.put_model(f"{name}-many", "m.tar.gz", named("many"))
    assert trimtab.invoke(name, b"") == b"single"
    trimtab.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=f"{name}-many")
    trimtab.settled(name)
    with Callers(trimtab, name, {"m.tar.gz": {"many"}}):
        pass
    trimtab.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=name)
    trimtab.settled(name)
    assert trimtab.invoke(name, b"") == b"single"


def test_an_update_from_one_prefix_to_another_drops_no_request(trimtab: Trimtab, name: str) -> None:
    trimtab.deploy_many(name)
    trimtab.put_model(name, "m.tar.gz", named("old"))
    trimtab.create_many(f"{name}-new")
    trimtab.create_config(f"{name}-new", f"{name}-new")
    trimtab.put_model(f"{name}-new", "m.tar.gz", named("new"))
    with Callers(trimtab, name, {"m.tar.gz": {"old", "new"}}) as callers:
        trimtab.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=f"{name}-new")
        trimtab.settled(name)
        callers.go_on()
        assert callers.answers[-1][1] == "new"


def test_streams_name_their_model_too(trimtab: Trimtab, name: str) -> None:
    """botocore has no TargetModel for streams: AWS does not take one there. The header works here all the same."""
    trimtab.deploy_many(name)
    trimtab.put_model(
        name,
        "words.tar.gz",
        script("""
    def model_fn(model_dir):
        return None

    def transform_fn(model, body, content_type, accept):
        return (word.encode() for word in body.split()), "text/plain"
    """),
    )
    client = trimtab.client("sagemaker-runtime")
    client.meta.events.register(
        "before-call.sagemaker-runtime.InvokeEndpointWithResponseStream",
        lambda params, **_: params["headers"].update({"X-Amzn-SageMaker-Target-Model": "words.tar.gz"}),
    )
    answer = client.invoke_endpoint_with_response_stream(EndpointName=name, Body=b"a b c")
    assert [event["PayloadPart"]["Bytes"] for event in answer["Body"]] == [b"a", b"b", b"c"]


class TestKills:
    """Each process may be killed at any moment."""

    @pytest.fixture
    def deployed(self, serve: Callable[..., Trimtab], name: str) -> Iterator[Trimtab]:
        trimtab = serve()
        trimtab.deploy_many(name)
        for model in ("a", "b"):
            trimtab.put_model(name, model, named(model))
            assert ask(trimtab, name, model) == model
        yield trimtab

    def test_loaded_models_serve_while_control_is_dead_and_new_ones_load_when_it_is_back(
        self, deployed: Trimtab, name: str
    ) -> None:
        deployed.put_model(name, "c", named("c"))
        with Callers(deployed, name, {"a": {"a"}, "b": {"b"}}) as callers:
            (control,) = deployed.processes("trimtab: control")
            control.kill()
            callers.go_on()
            assert ask(deployed, name, "c") == "c"
            callers.go_on()

    def test_a_host_that_is_killed_is_replaced_and_no_waiting_request_fails(self, deployed: Trimtab, name: str) -> None:
        (host,) = deployed.processes("trimtab: models")
        with Callers(deployed, name, {"a": {"a"}, "b": {"b"}}) as callers:
            host.kill()
            wait_until(lambda: [p.pid for p in deployed.processes("trimtab: models")] not in ([], [host.pid]))
            callers.go_on()


@pytest.mark.sdk
@pytest.mark.slow
def test_sdk_v2s_multi_data_model_deploys_adds_lists_and_predicts(trimtab: Trimtab, name: str, tmp_path: Path) -> None:
    models = trained()
    (tmp_path / "local.tar.gz").write_bytes(models["sklearn.tar.gz"][0])
    copied = trimtab.upload(models["sklearn.tar.gz"][0])
    rows = rows_and_labels()[0][:3].tolist()
    program = tmp_path / "program.py"
    program.write_text(f"""
import sagemaker
from sagemaker.deserializers import JSONDeserializer
from sagemaker.multidatamodel import MultiDataModel
from sagemaker.predictor import Predictor
from sagemaker.serializers import JSONSerializer

session = sagemaker.Session()
prefix = f"s3://{{session.default_bucket()}}/{name}/"
image = sagemaker.image_uris.retrieve("sklearn", "us-east-1", version="1.2-1", instance_type="ml.m5.large")
many = MultiDataModel(name="{name}", model_data_prefix=prefix, image_uri=image, role=sagemaker.get_execution_role(),
                      sagemaker_session=session, predictor_cls=Predictor)
predictor = many.deploy(1, "ml.m5.large", endpoint_name="{name}", serializer=JSONSerializer(),
                        deserializer=JSONDeserializer())
print(many.add_model("local.tar.gz"))
print(many.add_model("{copied}", "copies/sklearn.tar.gz"))
print(sorted(many.list_models()))
print([predictor.predict({rows!r}, target_model=model) for model in ("local.tar.gz", "copies/sklearn.tar.gz")])
predictor.delete_endpoint()
""")
    out = run(trimtab, client_env("sagemaker2") / "python", "-W", "ignore", program, folder=tmp_path)
    assert "['copies/sklearn.tar.gz', 'local.tar.gz']" in out
    answers = json.loads(out.splitlines()[-1])
    for answer in answers:
        np.testing.assert_allclose(first(answer), models["sklearn.tar.gz"][1])


def test_keys_for_one_multi_model_endpoint_invoke_no_other(trimtab: Trimtab, name: str) -> None:
    from botocore.exceptions import ClientError

    trimtab.deploy_many(name)
    trimtab.put_model(name, "m.tar.gz", named("mine"))
    made = json.loads(trimtab.cli("keys", "create", "--endpoint", name, "--json"))
    client = trimtab.client("sagemaker-runtime", key=(made["id"], made["secret"]))

    def body() -> bytes:
        try:
            answer = client.invoke_endpoint(EndpointName=name, TargetModel="m.tar.gz", Body=b"")
        except ClientError:
            return b""
        return bytes(answer["Body"].read())

    wait_until(lambda: body() == b"mine")  # the running server notices the new key by itself
    with pytest.raises(ClientError) as caught:
        client.invoke_endpoint(EndpointName=f"{name}-2", TargetModel="m.tar.gz", Body=b"")
    assert caught.value.response["Error"]["Code"] == "AccessDeniedException"


@pytest.mark.slow
def test_the_example_finds_the_frauds_of_every_customer(trimtab: Trimtab, tmp_path: Path) -> None:
    demo = Path(__file__).parents[2] / "examples" / "multi_model" / "demo.py"
    lines = run(trimtab, sys.executable, "-W", "ignore", demo, folder=tmp_path).splitlines()
    assert len(lines) == 8
    assert all(int(line.split()[-4].rstrip("%")) > 60 for line in lines), lines
