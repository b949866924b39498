"""Batching through boto3: answers belong to their requests under mixed load with failures."""

from __future__ import annotations

import io
import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec
import numpy as np
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from trimtab.config import Config
from trimtab.resources.routing import RouteTable
from trimtab.testing.artifacts import archive, script
from trimtab.testing.server import Trimtab

SCRIPT = """
import json

def model_fn(model_dir):
    return 3

def input_fn(body, content_type):
    return json.loads(body)

def predict_batch_fn(inputs, model):
    if any(one["mood"] == "poison" for one in inputs):
        raise ValueError("poison among %d" % len(inputs))
    return [one["number"] * model for one in inputs]

def output_fn(prediction, accept):
    return json.dumps({"tripled": prediction}), "application/json"
"""
THREADS = 32


def together(ask, count: int) -> list:
    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(ask, range(count)))


@pytest.mark.parametrize("processes", ["1", "2"])
def test_answers_of_a_script_belong_to_their_requests_and_only_culprits_fail(
    trimtab: Trimtab, name: str, processes: str
) -> None:
    batching = {"SAGEMAKER_TS_BATCH_SIZE": "16", "SAGEMAKER_TS_MAX_BATCH_DELAY": "20"}
    trimtab.deploy(name, script(SCRIPT), MODEL_SERVER_WORKERS=processes, **batching)

    def ask(number: int) -> None:
        mood = "poison" if number % 17 == 5 else "broken" if number % 23 == 7 else "fine"
        body = b"{" if mood == "broken" else json.dumps({"mood": mood, "number": number}).encode()
        if mood == "fine":
            assert json.loads(trimtab.invoke(name, body)) == {"tripled": 3 * number}
            return
        with pytest.raises(ClientError) as refused:
            trimtab.invoke(name, body)
        assert refused.value.response["Error"]["Code"] == "ModelError"
        assert ("poison among 1" if mood == "poison" else "JSONDecodeError") in str(refused.value)

    together(ask, 600)

    table = msgspec.msgpack.decode(Config(data_dir=trimtab.data_dir).paths.routes.read_bytes(), type=RouteTable)
    [endpoint] = [endpoint for endpoint in table.endpoints if endpoint.name == name]
    sizes = [lane.batch_size for lane in endpoint.variants[0].lanes]
    assert sizes == [16] * int(processes)  # so that gateways send enough


def test_rows_of_a_model_belong_to_their_requests_whatever_their_form(trimtab: Trimtab, name: str) -> None:
    import joblib
    from sklearn.linear_model import LinearRegression

    rows = np.random.default_rng(7).normal(size=(400, 3))
    model, packed = LinearRegression().fit(rows, rows @ [1, 10, 100]), io.BytesIO()
    joblib.dump(model, packed)
    trimtab.deploy(name, archive(model_joblib=packed.getvalue()), TRIMTAB_BATCH_LATENCY_MS="20")

    def ask(number: int) -> None:
        chance = random.Random(number)
        mine = rows[number : number + chance.randint(1, 4)]
        form = chance.choice(["rows", "instances", "csv", "npy", "wrong"])
        if form == "wrong":
            with pytest.raises(ClientError, match=r"expects rows of 3 numbers") as refused:
                trimtab.invoke(name, b"[[1, 2]]")
            assert refused.value.response["OriginalStatusCode"] == 400
            return
        expected = model.predict(mine)
        if form == "csv":
            text = "\n".join(",".join(map(repr, row.tolist())) for row in mine)
            got = [float(line) for line in trimtab.invoke(name, text.encode(), "text/csv", Accept="text/csv").split()]
        elif form == "npy":
            body = io.BytesIO()
            np.save(body, mine)
            answer = trimtab.invoke(name, body.getvalue(), "application/x-npy", Accept="application/x-npy")
            got = np.load(io.BytesIO(answer)).tolist()
        elif form == "instances":
            got = json.loads(trimtab.invoke(name, json.dumps({"instances": mine.tolist()}).encode()))["predictions"]
        else:
            got = json.loads(trimtab.invoke(name, json.dumps(mine.tolist()).encode()))
        assert got == pytest.approx(expected.tolist())

    together(ask, 390)


def test_callers_that_leave_take_nobody_elses_answer_along(trimtab: Trimtab, name: str) -> None:
    text = SCRIPT.replace("    return [one", "    import time; time.sleep(0.02)\n    return [one")
    trimtab.deploy(name, script(text), TRIMTAB_BATCH_SIZE="8")
    hasty = trimtab.client("sagemaker-runtime", read_timeout=0.05)
    left = threading.Semaphore(0)

    def ask(number: int) -> None:
        body = json.dumps({"mood": "fine", "number": number}).encode()
        if number % 3:
            assert json.loads(trimtab.invoke(name, body)) == {"tripled": 3 * number}
            return
        try:
            answer = hasty.invoke_endpoint(EndpointName=name, ContentType="application/json", Body=body)
            assert json.loads(answer["Body"].read()) == {"tripled": 3 * number}
        except ReadTimeoutError:
            left.release()

    together(ask, 300)
    assert left.acquire(blocking=False)  # some have left


def test_a_wrong_number_of_predictions_is_explained(trimtab: Trimtab, name: str) -> None:
    text = SCRIPT.replace("return [one", "return [] and [one")
    trimtab.deploy(name, script(text), TRIMTAB_BATCH_SIZE="8")
    with pytest.raises(ClientError, match=r"predict_batch_fn returned 0 predictions \(a list\) for 1 inputs"):
        trimtab.invoke(name, b'{"mood": "fine", "number": 1}')
