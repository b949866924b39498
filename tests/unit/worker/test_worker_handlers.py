"""SageMaker's handler functions: which are called with what, and what becomes of what they return or raise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from trimtab.resources.runtime import Flavor
from trimtab.wire.frames import RequestMeta
from trimtab.worker import codecs, script
from trimtab.worker.answers import Fault, Streamed
from trimtab.worker.failures import StartFailed
from trimtab.worker.flavors.huggingface import HuggingfaceDefaults, infer_task
from trimtab.worker.flavors.plain import PlainDefaults
from trimtab.worker.flavors.sklearn import SklearnDefaults
from trimtab.worker.flavors.stock import StockDefaults
from trimtab.worker.flavors.xgboost import XgboostDefaults
from trimtab.worker.handlers import HandledModel

JSON = "application/json"


class Module:
    def __init__(self, **functions: object) -> None:
        self.__dict__.update(functions)


def served(defaults=StockDefaults, environment=None, **functions) -> HandledModel:
    functions.setdefault("model_fn", lambda model_dir: "model")
    handlers = script.handlers_of(Module(**functions), "inference.py")
    model = HandledModel(handlers, defaults(environment or {}), Path("/m"), {"model_dir": "/m", "gpu_id": None})
    model.load()
    return model


def fault(model: HandledModel, body: bytes = b"[1]", meta: RequestMeta | None = None) -> Fault:
    with pytest.raises(Fault) as caught:
        model.answer(body, meta or RequestMeta(JSON))
    return caught.value


def test_the_three_functions_run_in_turn_with_what_the_toolkit_gives_them():
    calls = []
    model = served(
        input_fn=lambda data, content_type: calls.append((data, content_type)) or "data",
        predict_fn=lambda data, model: calls.append((data, model)) or "prediction",
        output_fn=lambda prediction, accept: calls.append((prediction, accept)) or ("body", "text/x"),
    )

    assert model.answer(b"abc", RequestMeta("text/csv", "text/plain")) == (b"body", "text/x", "")
    assert calls == [("abc", "text/csv"), ("data", "model"), ("prediction", "text/plain")]


def test_transform_fn_replaces_the_three():
    model = served(transform_fn=lambda model, data, content_type, accept: f"{model} {data!r} {content_type} {accept}")

    assert model.answer(b"\xff", RequestMeta("image/png", "x/y"))[:2] == (b"model b'\\xff' image/png x/y", "x/y")


@pytest.mark.parametrize("content_type", ["text/csv", "application/json", "application/json; charset=utf-8", ""])
def test_text_types_reach_the_script_as_str_and_others_as_bytes(content_type):
    model = served(transform_fn=lambda model, data, content_type, accept: type(data).__name__)

    assert model.answer("[1, \u00e9]".encode(), RequestMeta(content_type))[0] == b"str"
    assert model.answer(b"\xff", RequestMeta("application/x-npy"))[0] == b"bytes"
    assert fault(model, b"\xff", RequestMeta(content_type)).status == 400


@pytest.mark.parametrize(
    ("accept", "environment", "expected"),
    [
        ("", {}, JSON),
        ("*/*", {}, JSON),
        ("*/*", {"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/csv"}, "text/csv"),
        ("application/x-own", {}, "application/x-own"),
        ("text/csv, application/json", {}, "text/csv, application/json"),
    ],
)
def test_output_fn_gets_the_accept_header_or_the_default_one(accept, environment, expected):
    model = served(environment=environment, predict_fn=lambda d, m: d, output_fn=lambda p, accept: accept)

    assert model.answer(b"[1]", RequestMeta(JSON, accept))[0] == expected.encode()


def test_the_context_goes_to_those_that_declare_one_argument_more():
    def predict_fn(data, model, context):
        context.set_response_header(0, "X-Amzn-SageMaker-Custom-Attributes", f"seen={context.custom_attributes}")
        context.set_response_content_type(0, "text/x-own")
        return [
            context.get_request_header(0, "x-amzn-sagemaker-inference-id"),
            context.get_request_content_type(0),
            context.system_properties["model_dir"],
            context.request_id,
        ]

    loaded = []
    model = served(
        predict_fn=predict_fn,
        model_fn=lambda model_dir, context: loaded.append(context.system_properties["model_dir"]) or "model",
    )
    body, content_type, attributes = model.answer(
        b"[1]", RequestMeta(JSON, custom_attributes="trace=7", inference_id="id-1")
    )

    assert json.loads(body) == ["id-1", JSON, "/m", "id-1"]
    assert (content_type, attributes) == ("text/x-own", "seen=trace=7")
    assert loaded == ["/m"]


def test_an_extra_argument_with_a_default_is_the_scripts_own_unless_it_is_called_context():
    model = served(predict_fn=lambda data, model, threshold=0.5: threshold)
    assert model.answer(b"[1]", RequestMeta(JSON))[0] == b"0.5"

    model = served(predict_fn=lambda data, model, context=None: context is None)
    assert model.answer(b"[1]", RequestMeta(JSON))[0] == b"false"


def test_a_status_set_on_the_context_makes_the_answer_a_failure_with_that_status_and_body():
    def transform_fn(model, data, content_type, accept, context):
        context.set_response_status(code=422, phrase="Unprocessable")
        return "no amount", "text/plain"

    failed = fault(served(transform_fn=transform_fn))

    assert (failed.status, failed.body, failed.content_type) == (422, b"no amount", "text/plain")


def test_pre_model_fn_and_warmup_run_around_the_load():
    order = []
    model = served(
        pre_model_fn=lambda model_dir: order.append("pre"),
        model_fn=lambda model_dir: order.append("load") or "model",
        model_warmup_fn=lambda model_dir, model: order.append(f"warm {model}"),
    )
    model.warm()

    assert order == ["pre", "load", "warm model"]


@pytest.mark.parametrize(
    ("functions", "said"),
    [
        ({"transform_fn": lambda a, b, c, d: 0, "predict_fn": lambda a, b: 0}, "transform_fn together with predict_fn"),
        ({"predict_fn": lambda a: 0}, r"predict_fn must take 2 arguments \(data, model\)"),
        ({"input_fn": lambda a, b, c, d: 0}, "It takes a, b, c, d"),
        ({"predict_fn": 3}, "predict_fn is a int, not a function"),
    ],
)
def test_handlers_that_do_not_go_together_are_refused_at_load(functions, said):
    with pytest.raises(StartFailed, match=said):
        served(**functions)


def test_async_handlers_are_refused_at_load():
    async def predict_fn(data, model):
        return 1

    with pytest.raises(StartFailed, match="predict_fn is async"):
        served(predict_fn=predict_fn)


@pytest.mark.parametrize(
    ("result", "body"),
    [
        ("text", b"text"),
        (b"bytes", b"bytes"),
        (bytearray(b"array"), b"array"),
        (memoryview(b"view"), b"view"),
        (np.arange(3), b"[0,1,2]"),
        ([1.5, None, "a"], None),
        ({"a": np.float32(0.5), "b": np.array([[1], [2]])}, b'{"a":0.5,"b":[[1],[2]]}'),
        (7, b"7"),
    ],
)
def test_what_a_script_returns_becomes_a_body(result, body):
    answer = served(transform_fn=lambda m, d, c, a: result).answer(b"[1]", RequestMeta(JSON))

    assert answer[1] == JSON
    if body is None:
        assert json.loads(answer[0]) == result
    else:
        assert bytes(answer[0]) == body


@pytest.mark.parametrize("result", [None, object(), {"a": object()}, {1, 2, object()}, 2**70 + 0j])
def test_what_cannot_be_written_is_a_clear_failure(result):
    failed = fault(served(transform_fn=lambda m, d, c, a: result))

    assert failed.status == 500
    assert b"output_fn" in failed.body


def test_an_endless_structure_is_a_failure_and_not_the_workers_end():
    loop: list = []
    loop.append(loop)

    assert fault(served(transform_fn=lambda m, d, c, a: loop)).status == 500


def test_an_exception_is_500_with_message_and_traceback():
    def predict_fn(data, model):
        raise KeyError("amount")

    failed = fault(served(predict_fn=predict_fn))

    assert (failed.status, failed.content_type) == (500, "text/plain")
    text = bytes(failed.body).decode()
    assert text.startswith("'amount'\nTraceback")
    assert "in predict_fn" in text


def test_an_exception_that_cannot_be_printed_is_still_answered():
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    def predict_fn(data, model):
        raise Mute

    assert fault(served(predict_fn=predict_fn)).status == 500
    assert fault(served(HuggingfaceDefaults, predict_fn=predict_fn)).status == 400


def test_errors_of_the_toolkits_own_family_keep_their_status():
    class UnsupportedFormatError(Exception):
        status_code = 415
        message = "Content type x/y is not supported"

    def input_fn(data, content_type):
        raise UnsupportedFormatError

    assert fault(served(input_fn=input_fn)).status == 415


def test_hugging_face_answers_400_json_to_any_exception():
    def predict_fn(data, model):
        raise ValueError("no such label")

    failed = fault(served(HuggingfaceDefaults, predict_fn=predict_fn), b'{"inputs": "a"}')

    assert (failed.status, failed.content_type) == (400, JSON)
    assert json.loads(failed.body) == {
        "code": 400,
        "type": "InternalServerException",
        "message": "no such label",
    }


def test_hugging_face_unpacks_inputs_and_parameters():
    model = served(HuggingfaceDefaults, model_fn=lambda d: lambda inputs, **parameters: [inputs, parameters])

    body = b'{"inputs": "a", "parameters": {"top_k": 2}}'
    assert json.loads(model.answer(body, RequestMeta(JSON))[0]) == ["a", {"top_k": 2}]
    assert json.loads(model.answer(b'{"other": 1}', RequestMeta(JSON))[0]) == [{"other": 1}, {}]
    assert json.loads(model.answer(b"inputs\na\nb\n", RequestMeta("text/csv"))[0]) == [["a", "b"], {}]


def test_hugging_face_tells_the_task_from_the_architecture(tmp_path):
    (tmp_path / "config.json").write_text('{"architectures": ["DistilBertForSequenceClassification"]}')
    assert infer_task(tmp_path) == "text-classification"

    (tmp_path / "config.json").write_text('{"architectures": ["Own"]}')
    with pytest.raises(StartFailed, match="HF_TASK"):
        infer_task(tmp_path)


@pytest.mark.parametrize("defaults", [StockDefaults, SklearnDefaults, XgboostDefaults])
def test_containers_that_insist_on_model_fn_say_so(defaults):
    handlers = script.handlers_of(Module(predict_fn=lambda d, m: d), "inference.py")
    with pytest.raises(StartFailed, match="model_fn"):
        HandledModel(handlers, defaults({}), Path("/m"), {}).load()


def test_scikit_learn_makes_one_row_of_a_flat_body_and_float32_of_text():
    class Estimator:
        def predict(self, rows):
            return [rows.ndim, str(rows.dtype)]

    model = served(SklearnDefaults, model_fn=lambda d: Estimator())

    assert json.loads(model.answer(b"1,2", RequestMeta("text/csv"))[0]) == [2, "float32"]
    assert json.loads(model.answer(codecs.encode_npy(np.ones(3)), RequestMeta("application/x-npy"))[0]) == [
        2,
        "float64",
    ]


def test_default_decoders_say_what_is_wrong_with_a_body():
    model = served(SklearnDefaults, model_fn=lambda d: None)

    assert fault(model, b"{", RequestMeta(JSON)).status == 400
    assert fault(model, b"a,b", RequestMeta("text/csv")).status == 400
    assert fault(model, b"x", RequestMeta("text/html")).status == 415
    assert b"input_fn" in bytes(fault(model, b"x", RequestMeta("text/html")).body)


def test_default_encoders_negotiate_and_refuse_what_they_cannot_write():
    model = served(PlainDefaults, predict_fn=lambda d, m: d)

    assert model.answer(b"[[1,2]]", RequestMeta(JSON, "text/html, text/csv"))[:2] == (b"1.0,2.0\n", "text/csv")
    assert fault(model, b"[[1,2]]", RequestMeta(JSON, "text/html")).status == 406


def test_generators_stream_and_faults_in_them_keep_the_flavors_form():
    def predict_fn(data, model):
        yield "a"
        raise ValueError("lost")

    streamed = served(HuggingfaceDefaults, predict_fn=predict_fn).answer(b"{}", RequestMeta(JSON))

    assert isinstance(streamed, Streamed)
    assert next(streamed.chunks) == b"a"
    with pytest.raises(Fault) as caught:
        next(streamed.chunks)
    assert caught.value.status == 400


def test_a_script_is_found_in_code_or_at_the_root_and_a_named_one_must_be_there(tmp_path):
    assert script.find(tmp_path, {}) is None
    (tmp_path / "inference.py").write_text("")
    assert script.find(tmp_path, {}) == tmp_path / "inference.py"
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "inference.py").write_text("")
    assert script.find(tmp_path, {}) == tmp_path / "code" / "inference.py"
    with pytest.raises(StartFailed, match=r"serve\.py.*inference\.py"):
        script.find(tmp_path, {"SAGEMAKER_PROGRAM": "serve.py"})


def test_every_flavor_has_defaults():
    from trimtab.worker.loading import _defaults

    for flavor in Flavor:
        assert _defaults(flavor, {}).accept == JSON
