"""Multi-model endpoints while something is born, dies, moves or is missing: whoever asks is answered all the same."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from botocore.exceptions import ClientError
from many_models import named
from test_multi_model import Callers, ask

from trimtab.objects.unpack import remove
from trimtab.testing.artifacts import archive, script
from trimtab.testing.server import Trimtab
from trimtab.testing.waiting import wait_until

pytestmark = pytest.mark.slow

Serve = Callable[..., Trimtab]
MODELS = {f"{letter}.tar.gz": {letter} for letter in "abcdef"}

GATED = """
import os, pathlib, time

def model_fn(model_dir):
    pathlib.Path(os.environ["LOADING"]).touch()
    while not os.path.exists(os.environ["GATE"]):
        time.sleep(0.01)

def transform_fn(*a):
    return "slow"
"""


def deploy(trimtab: Trimtab, name: str, **environment: str) -> None:
    trimtab.deploy_many(name, **environment)
    for model, (answer,) in MODELS.items():
        trimtab.put_model(name, model, named(answer))


def hosts(trimtab: Trimtab, name: str) -> list[psutil.Process]:
    return trimtab.processes(f"trimtab: models {name}/blue")


def workers(trimtab: Trimtab, name: str) -> list[psutil.Process]:
    return trimtab.processes(f"trimtab: worker {name}/blue")


def test_scaling_out_and_in_costs_no_request(serve: Serve, name: str) -> None:
    trimtab = serve("--gateways", "2")
    deploy(trimtab, name)
    with Callers(trimtab, name, MODELS, threads=4) as callers:
        for count in (3, 1, 2):
            trimtab.sagemaker.update_endpoint_weights_and_capacities(
                EndpointName=name, DesiredWeightsAndCapacities=[{"VariantName": "blue", "DesiredInstanceCount": count}]
            )
            [variant] = trimtab.settled(name)["ProductionVariants"]
            assert variant["CurrentInstanceCount"] == count
            callers.go_on(50)
            wait_until(lambda n=count: len(hosts(trimtab, name)) == n)
    wait_until(lambda: len(workers(trimtab, name)) <= 2 * len(MODELS))


def test_an_endpoint_at_zero_is_woken_by_a_request_for_a_model(serve: Serve, name: str) -> None:
    trimtab = serve()
    deploy(trimtab, name)
    assert ask(trimtab, name, "a.tar.gz") == "a"
    trimtab.client("application-autoscaling").register_scalable_target(
        ServiceNamespace="sagemaker",
        ResourceId=f"endpoint/{name}/variant/blue",
        ScalableDimension="sagemaker:variant:DesiredInstanceCount",
        MinCapacity=0,
        MaxCapacity=2,
    )
    trimtab.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=name, DesiredWeightsAndCapacities=[{"VariantName": "blue", "DesiredInstanceCount": 0}]
    )
    trimtab.settled(name)
    wait_until(lambda: not hosts(trimtab, name) and not workers(trimtab, name))
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda model: ask(trimtab, name, model), MODELS))
    assert answers == list("abcdef")


def test_variants_of_which_one_holds_many_models_are_told_apart_by_their_names(serve: Serve, name: str) -> None:
    trimtab = serve()
    trimtab.create_many(f"{name}-many")
    trimtab.put_model(f"{name}-many", "m.tar.gz", named("many"))
    trimtab.create_model(f"{name}-one", named("one"))
    variants = [
        {"VariantName": kind, "ModelName": f"{name}-{kind}", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
        for kind in ("one", "many")
    ]
    trimtab.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants)
    trimtab.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    trimtab.settled(name)
    assert trimtab.invoke(name, b"", TargetVariant="one") == b"one"
    assert trimtab.invoke(name, b"", TargetVariant="many", TargetModel="m.tar.gz") == b"many"
    with pytest.raises(ClientError, match="missing a target model header"):
        trimtab.invoke(name, b"", TargetVariant="many")
    with pytest.raises(ClientError, match="Variant one of endpoint .* is not a multi-model endpoint"):
        trimtab.invoke(name, b"", TargetVariant="one", TargetModel="m.tar.gz")


def test_many_more_models_than_fit_are_served_to_many_at_once(serve: Serve, name: str) -> None:
    trimtab = serve()
    trimtab.deploy_many(name, TRIMTAB_MODEL_MEMORY_MIB="150")
    text = "def model_fn(d):\n    return bytearray(b'x') * 30 * 2**20\ndef transform_fn(*a):\n    return {!r}\n"
    models = {f"{number}": {f"{number}"} for number in range(10)}
    for model in models:
        trimtab.put_model(name, model, script(text.format(model)))
    with Callers(trimtab, name, models, threads=6) as callers:
        callers.go_on(100)
    listed = json.loads(trimtab.cli("models", name, "--json"))
    assert listed


class TestDeaths:
    def test_a_models_process_that_is_killed_while_idle_is_born_again(self, serve: Serve, name: str) -> None:
        trimtab = serve()
        deploy(trimtab, name)
        assert ask(trimtab, name, "a.tar.gz") == "a"
        (worker,) = workers(trimtab, name)
        with Callers(trimtab, name, {"b.tar.gz": {"b"}}) as callers:
            worker.kill()
            wait_until(lambda: not psutil.pid_exists(worker.pid))
            assert ask(trimtab, name, "a.tar.gz") == "a"
            callers.go_on()

    @pytest.mark.parametrize("victim", ["control", "worker"])
    def test_control_or_the_models_process_is_killed_while_it_loads(
        self, serve: Serve, name: str, tmp_path: Path, victim: str
    ) -> None:
        trimtab = serve()
        trimtab.deploy_many(name, GATE=str(tmp_path / "gate"), LOADING=str(tmp_path / "loading"))
        trimtab.put_model(name, "slow", script(GATED))
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(ask, trimtab, name, "slow")
            wait_until((tmp_path / "loading").exists)
            (process,) = trimtab.processes(f"trimtab: {victim}")
            process.kill()
            (tmp_path / "gate").touch()
            assert asked.result() == "slow"

    def test_the_host_is_killed_while_a_model_loads(self, serve: Serve, name: str, tmp_path: Path) -> None:
        trimtab = serve()
        trimtab.deploy_many(name, LOADING=str(tmp_path / "loading"))
        trimtab.put_model(
            name,
            "slow",
            script("""
        import os, pathlib, time

        def model_fn(model_dir):
            pathlib.Path(os.environ["LOADING"]).touch()
            time.sleep(0.5)

        def transform_fn(*a):
            return "slow"
        """),
        )
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(ask, trimtab, name, "slow")
            wait_until((tmp_path / "loading").exists)
            (host,) = hosts(trimtab, name)
            host.kill()
            assert asked.result() == "slow"
        wait_until(lambda: len(workers(trimtab, name)) == 1)

    def test_the_nursery_is_killed(self, serve: Serve, name: str) -> None:
        trimtab = serve()
        deploy(trimtab, name)
        with Callers(trimtab, name, {"a.tar.gz": {"a"}}) as callers:
            trimtab.processes("trimtab: nursery")[0].kill()
            assert ask(trimtab, name, "b.tar.gz") == "b"
            callers.go_on()

    def test_nothing_is_left_when_the_endpoint_is_deleted(self, serve: Serve, name: str) -> None:
        trimtab = serve()
        deploy(trimtab, name)
        for model in MODELS:
            ask(trimtab, name, model)
        trimtab.sagemaker.delete_endpoint(EndpointName=name)
        wait_until(lambda: not hosts(trimtab, name) and not workers(trimtab, name))

    def test_nothing_is_left_when_the_server_is_killed(self, serve: Serve, name: str) -> None:
        trimtab = serve()
        deploy(trimtab, name)
        for model in MODELS:
            ask(trimtab, name, model)
        mine = trimtab.processes("trimtab: ")
        os.kill(trimtab.process.pid, 9)
        _, alive = psutil.wait_procs(mine, timeout=20)
        assert not alive


class TestStore:
    def test_what_is_loaded_serves_while_the_object_store_is_away(self, serve: Serve, name: str) -> None:
        trimtab = serve()
        trimtab.deploy_many(name)
        for letter in "ab":  # larger than what the store keeps in its index
            text = f"def model_fn(d):\n    return None\ndef transform_fn(*a):\n    return {letter!r}\n"
            trimtab.put_model(name, f"{letter}.tar.gz", archive(code__inference_py=text, weights_bin=os.urandom(2**20)))
        assert ask(trimtab, name, "a.tar.gz") == "a"
        blobs = trimtab.data_dir / "objects" / "blobs"
        blobs.rename(blobs.with_name("away"))
        with Callers(trimtab, name, {"a.tar.gz": {"a"}}) as callers:
            with pytest.raises(ClientError) as caught:
                ask(trimtab, name, "b.tar.gz")
            error = caught.value.response
            assert error["ResponseMetadata"]["HTTPStatusCode"] in (400, 429, 503), error
            assert "b.tar.gz" in error["Error"]["Message"]
            callers.go_on()
            blobs.with_name("away").rename(blobs)
            assert ask(trimtab, name, "b.tar.gz") == "b"

    def test_artifacts_that_somebody_else_removed_from_the_cache_are_brought_anew(
        self, serve: Serve, name: str
    ) -> None:
        trimtab = serve()
        trimtab.deploy_many(name)
        trimtab.put_model(name, "a.tar.gz", named("a"))
        assert ask(trimtab, name, "a.tar.gz") == "a"
        trimtab.cli("models", "set", name, "a.tar.gz", "--ttl", "1s")
        wait_until(lambda: not workers(trimtab, name))
        remove(trimtab.data_dir / "cache" / "artifacts")
        assert ask(trimtab, name, "a.tar.gz") == "a"
