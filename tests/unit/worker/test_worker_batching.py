"""Batching as a user meets it: real workers, real models, scripts with predict_batch_fn."""

from __future__ import annotations

import io
import json
import threading

import msgspec
import numpy as np
import pytest

from trimtab.resources.runtime import Flavor
from trimtab.wire.frames import Kind, RequestMeta, WorkerDescription, pack

JSON, CSV, NPY, LINES = "application/json", "text/csv", "application/x-npy", "application/jsonlines"
ON = {"TRIMTAB_BATCH_SIZE": "32"}

# `hold` keeps the first batch in the model until the file `go` is there, so that the next one forms.
DOUBLES = """
import json, os, time
CALLS = []
def model_fn(d): return d
def input_fn(body, content_type): return json.loads(body)
def predict_batch_fn(inputs, model):
    if inputs[0] == "hold":
        while not os.path.exists(os.path.join(model, "go")):
            time.sleep(0.001)
    CALLS.append(len(inputs))
    if any(one == "boom" for one in inputs):
        raise ValueError("boom among %d" % len(inputs))
    if any(one == "short" for one in inputs):
        return [1, 2, 3]
    return [one * 2 for one in inputs]
def output_fn(prediction, accept): return json.dumps(prediction), "application/json"
"""


def onnx_model(*, rows: int | str = "rows", output_rows: int | str = "rows", body=None) -> bytes:
    """y = x * 2 over 4 columns; or what `body` makes of it."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, weights = body() if body else ([helper.make_node("Mul", ["x", "two"], ["y"])], [])
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [output_rows, None])],
        [numpy_helper.from_array(np.array([2.0], np.float32), "two"), *weights],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def described(worker) -> WorkerDescription:
    client = worker.client()
    client.send(Kind.DESCRIBE)
    return msgspec.msgpack.decode(client.receive().payload, type=WorkerDescription)


def burst(client, bodies, content_type=JSON, **meta):
    """Send all at once; the frames by stream."""
    frames = []
    for stream, body in enumerate(bodies, 1):
        body, kind, extra = (*body, {})[:3] if isinstance(body, tuple) else (body, content_type, {})
        frames.append(pack(Kind.REQUEST, stream, msgspec.msgpack.encode(RequestMeta(kind, **{**meta, **extra})), body))
    sending = threading.Thread(target=client.sock.sendall, args=(b"".join(frames),))
    sending.start()
    answers = {}
    for _ in bodies:
        frame = client.receive()
        assert frame.stream not in answers
        answers[frame.stream] = frame
    sending.join()
    return [answers[stream] for stream in range(1, len(bodies) + 1)]


def npy(array) -> bytes:
    out = io.BytesIO()
    np.save(out, np.asarray(array))
    return out.getvalue()


def held_burst(worker, bodies, **meta):
    """As `burst`, with all bodies waiting at once behind one that holds the model."""
    holder, client = worker.client(), worker.client()
    holder.request(1, b'"hold"', JSON)
    control = worker.client()
    control.describe_until(lambda d: d.busy_since_monotonic_s)
    found = []
    asking = threading.Thread(target=lambda: found.extend(burst(client, bodies, **meta)))
    asking.start()
    control.describe_until(lambda d: d.in_flight == len(bodies) + 1)
    (worker.log_path.parent / "model" / "go").touch()
    asking.join(20)
    assert holder.receive().payload == b'"holdhold"'
    return found


# --- models without a script ---------------------------------------------------------------------------------------


def test_rows_of_many_requests_are_predicted_together_each_answered_in_its_own_form_and_type(start):
    worker = start({"model.onnx": onnx_model()}, environment=ON).ready()
    row = [1.0, 2.0, 3.0, 4.5]
    bodies = [
        (b"[[1,2,3,4.5]]", JSON),
        (b"[1,2,3,4.5]", JSON),
        (json.dumps({"instances": [row, row]}).encode(), JSON),
        (json.dumps({"inputs": [row]}).encode(), JSON),
        (b"1,2,3,4.5\n5,6,7,8", CSV, {"accept": CSV}),
        (npy(np.array([row], np.float64)), NPY, {"accept": NPY}),
        (b"[1,2,3,4.5]\n[0,0,0,0]", LINES, {"accept": LINES}),
        (b"[[1,2,3]]", JSON),
        (b"{nonsense", JSON),
        (b"[[1,2,3,4.5]]", JSON, {"accept": "image/png"}),
        (b"[[1,2,3,4.5]]", "text/libsvm"),
        (b"[[1,null,3,NaN]]", JSON),
        (b"[[1,2],[3]]", JSON),
        (b"[[true,2,3,1e400]]", JSON),
    ]
    alone = [burst(worker.client(), [body])[0] for body in bodies]
    for _ in range(20):
        for one, together in zip(alone, burst(worker.client(), bodies), strict=True):
            assert (together.kind, together.payload) == (one.kind, one.payload)
            if one.kind is Kind.ANSWER:
                assert together.answer.content_type == one.answer.content_type
    text = [frame.payload for frame in alone]
    assert text[0] == text[1] == b"[[2.0,4.0,6.0,9.0]]"
    assert json.loads(text[2]) == {"predictions": [[2.0, 4.0, 6.0, 9.0]] * 2}
    assert json.loads(text[3]) == {"outputs": [[2.0, 4.0, 6.0, 9.0]]}
    assert text[4] == b"2.0,4.0,6.0,9.0\n10.0,12.0,14.0,16.0\n"
    assert np.load(io.BytesIO(text[5])).tolist() == [[2.0, 4.0, 6.0, 9.0]]
    assert text[6] == b"[2.0,4.0,6.0,9.0]\n[0.0,0.0,0.0,0.0]\n"
    assert [frame.failure.status for frame in alone[7:11]] == [400, 400, 406, 415]
    assert text[11] == b"[[2.0, NaN, 6.0, NaN]]"
    assert alone[12].failure.status == 400


def test_batches_form_and_are_told_beside_the_answer(start):
    worker = start({"model.onnx": onnx_model()}, environment=ON).ready()
    assert described(worker).batch_size == 32
    assert described(worker).batching == "at most 32 rows, waiting at most 100 ms"
    assert "batched: at most 32 rows" in worker.log()

    answers = burst(worker.client(), [json.dumps([[n, 0, 0, 0]]).encode() for n in range(200)])
    assert [json.loads(frame.payload)[0][0] for frame in answers] == [2.0 * n for n in range(200)]
    sizes = [frame.answer.batch for frame in answers]
    assert 1 < max(sizes) <= 32
    assert all(frame.answer.compute_us >= 0 and frame.answer.wait_us >= 0 for frame in answers)


def test_a_request_of_many_rows_counts_with_its_rows_and_a_larger_one_goes_alone(start):
    worker = start({"model.onnx": onnx_model()}, environment=ON).ready()
    answers = burst(
        worker.client(),
        [json.dumps([[n] * 4] * 20).encode() for n in range(30)] + [b"[%s]" % b",".join([b"[1,1,1,1]"] * 100)],
    )
    assert {frame.answer.batch for frame in answers} == {1}
    assert [len(json.loads(frame.payload)) for frame in answers] == [20] * 30 + [100]


def test_without_the_variables_nothing_is_batched(start):
    worker = start({"model.onnx": onnx_model()}).ready()
    answers = burst(worker.client(), [b"[[1,2,3,4]]"] * 20)
    assert {frame.answer.batch for frame in answers} == {0}
    assert described(worker).batching == ""


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ({"rows": 1}, "its input 'x' takes exactly 1 row(s)"),
        ({"output_rows": 1}, "its output 'y' always has 1 row(s)"),
    ],
)
def test_a_model_with_a_fixed_number_of_rows_is_not_batched_and_says_so(start, model, why):
    worker = start({"model.onnx": onnx_model(**model)}, environment=ON).ready()
    assert why in described(worker).batching
    assert described(worker).batch_size == 0
    assert f"not batched: {why}" in worker.log()
    answers = burst(worker.client(), [b"[[1,2,3,4]]"] * 10)
    assert {frame.payload for frame in answers} == {b"[[2.0,4.0,6.0,8.0]]"}


def test_a_model_that_answers_other_rows_than_it_was_given_is_found_out_and_answered_rightly(start):
    def places_of_ones():  # two for each row
        from onnx import TensorProto, helper

        return [
            helper.make_node("NonZero", ["x"], ["found"]),
            helper.make_node("Transpose", ["found"], ["turned"], perm=[1, 0]),
            helper.make_node("Cast", ["turned"], ["y"], to=TensorProto.FLOAT),
        ], []

    worker = start({"model.onnx": onnx_model(body=places_of_ones, output_rows="n")}, environment=ON).ready()
    rows = [[1.0 if column in (n % 4, (n + 1 + n % 3) % 4) else 0.0 for column in range(4)] for n in range(40)]
    for _ in range(20):
        answers = burst(worker.client(), [json.dumps([row]).encode() for row in rows])
        assert [json.loads(frame.payload) for frame in answers] == [np.argwhere([row]).tolist() for row in rows]
    assert worker.log().count("not batched from now on: the model's output 'y' has ") == 1
    assert described(worker).batch_size == 0
    assert described(worker).batching.startswith("off: the model's output 'y'")


def test_a_model_that_mixes_its_rows_is_not_batched_and_says_so(start):
    def centred():
        from onnx import helper

        return [
            helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["y"]),
        ], []

    worker = start({"model.onnx": onnx_model(body=centred)}, environment=ON).ready()
    assert described(worker).batching == "off: output 1 of a row is not the same alone and beside other rows"
    answers = burst(worker.client(), [json.dumps([[n, 0, 0, 0]]).encode() for n in range(20)])
    assert {frame.payload for frame in answers} == {b"[[0.0,0.0,0.0,0.0]]"}


def test_a_row_that_the_model_cannot_take_fails_alone(start):
    def gather():
        from onnx import TensorProto, helper

        return [
            helper.make_node("Cast", ["x"], ["index"], to=TensorProto.INT64),
            helper.make_node("Gather", ["two", "index"], ["y"]),
        ], []

    worker = start({"model.onnx": onnx_model(body=gather)}, environment=ON).ready()
    bodies = [b"[[0,0,0,0]]"] * 64
    bodies[40] = b"[[0,7,0,0]]"
    for _ in range(5):
        answers = burst(worker.client(), bodies)
        assert [place for place, frame in enumerate(answers) if frame.kind is Kind.FAILURE] == [40]
        assert answers[40].failure.status == 400
        assert "does not take this input" in answers[40].payload.decode()
    assert worker.log().count("a batch failed") <= 1


def test_scikit_learn_and_xgboost_models_are_batched_too(start):
    joblib = pytest.importorskip("joblib")
    from sklearn.linear_model import LinearRegression

    xgboost = pytest.importorskip("xgboost")
    rows = np.random.default_rng(1).normal(size=(200, 3))
    linear, out = LinearRegression().fit(rows, rows[:, 0] * 3), io.BytesIO()
    joblib.dump(linear, out)
    booster = xgboost.train({"max_depth": 2}, xgboost.DMatrix(rows, rows[:, 1]), 3)
    cases = [
        ({"model.joblib": out.getvalue()}, Flavor.PLAIN, lambda row: [linear.predict([row])[0]]),
        (
            {"model.ubj": bytes(booster.save_raw("ubj"))},
            Flavor.PLAIN,
            lambda row: booster.inplace_predict(np.array([row], np.float32)).tolist(),
        ),
    ]
    for files, flavor, expected in cases:
        worker = start(files, flavor=flavor, environment=ON).ready()
        answers = burst(worker.client(), [json.dumps([row.tolist()]).encode() for row in rows])
        for row, frame in zip(rows, answers, strict=True):
            assert json.loads(frame.payload) == pytest.approx(expected(row.tolist()))
        assert max(frame.answer.batch for frame in answers) > 1
    worker = start({"xgboost-model": bytes(booster.save_raw("ubj"))}, flavor=Flavor.XGBOOST, environment=ON).ready()
    answers = burst(worker.client(), [",".join(map(str, row)).encode() for row in rows] + [b"", b"0:1 2:0.5"], CSV)
    for row, frame in zip(rows, answers, strict=False):
        assert float(frame.payload) == pytest.approx(booster.inplace_predict(np.array([row], np.float32))[0])
    assert answers[-2].payload == b""
    assert answers[-1].kind is Kind.FAILURE
    assert max(frame.answer.batch for frame in answers[:-2]) > 1


# --- scripts -------------------------------------------------------------------------------------------------------


def test_predict_batch_fn_gets_what_waits_and_each_answer_is_its_own(start):
    worker = start({"code/inference.py": DOUBLES}, environment=ON).ready()
    found = held_burst(worker, [b"%d" % n for n in range(40)])
    assert [frame.payload for frame in found] == [b"%d" % (2 * n) for n in range(40)]
    assert [frame.answer.batch for frame in found] == [32] * 32 + [8] * 8


def test_one_poisoned_input_fails_alone(start):
    worker = start({"code/inference.py": DOUBLES}, environment=ON).ready()
    found = held_burst(worker, [b'"boom"' if n == 17 else b"%d" % n for n in range(32)])
    failed = [place for place, frame in enumerate(found) if frame.kind is Kind.FAILURE]
    assert failed == [17]
    assert found[17].payload.startswith(b"boom among 1\n")
    assert worker.log().count("a batch failed (ValueError: boom among 32)") == 1


def test_an_input_that_cannot_be_decoded_has_no_part_in_the_batch(start):
    worker = start({"code/inference.py": DOUBLES}, environment=ON).ready()
    found = held_burst(worker, [b"{" if n == 3 else b"%d" % n for n in range(8)])
    assert [place for place, frame in enumerate(found) if frame.kind is Kind.FAILURE] == [3]
    assert b"JSONDecodeError" in found[3].payload
    assert "a batch failed" not in worker.log()


def test_a_wrong_number_of_predictions_is_told_to_every_request_of_the_batch(start):
    worker = start({"code/inference.py": DOUBLES}, environment=ON).ready()
    found = held_burst(worker, [b'"short"', *[b"%d" % n for n in range(7)]])
    for frame in found:
        assert frame.kind is Kind.FAILURE
        assert frame.payload.startswith(
            b"predict_batch_fn returned 3 predictions (a list) for 8 inputs. It must return"
        )


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ("None", "returned a NoneType, which is no list"),
        ("{'a': 1}", "returned a dict, which is no list"),
        ("'text'", "returned a str, which is no list"),
        ("(x for x in inputs)", "returned a generator, which is no list"),
        ("7", "returned a int, which is no list"),
        ("__import__('numpy').float64(7)", "that has no length"),
    ],
)
@pytest.mark.parametrize("environment", [ON, {}], ids=["on", "off"])
def test_what_is_no_list_of_predictions_is_named(start, returned, said, environment):
    text = f"def model_fn(d): return d\ndef predict_batch_fn(inputs, model): return {returned}\n"
    frame = start({"code/inference.py": text}, environment=environment).ready().client().ask(b"[1]", JSON)
    assert frame.kind is Kind.FAILURE
    assert said in frame.payload.decode()


def test_a_script_with_predict_batch_fn_alone_serves_without_batching(start):
    worker = start({"code/inference.py": DOUBLES}).ready()
    frame = worker.client().ask(b"21", JSON)
    assert (frame.payload, frame.answer.batch) == (b"42", 0)


def test_a_script_without_it_is_not_batched_and_says_so(start):
    text = "def model_fn(d): return d\ndef predict_fn(data, model): return data\n"
    worker = start({"code/inference.py": text}, environment=ON).ready()
    assert "define predict_batch_fn" in described(worker).batching
    assert worker.client().ask(b"[1.5]", JSON).payload == b"[1.5]"


def test_the_context_of_a_batch_knows_each_request(start):
    text = """
def model_fn(d, context): return d
def input_fn(body, content_type, context): return body
def predict_batch_fn(inputs, model, context):
    for place, one in enumerate(inputs):
        if one == "odd":
            context.set_response_status(418, "odd", idx=place)
        context.set_response_header(place, "X-Amzn-SageMaker-Custom-Attributes", "seen " + context.get_request_id(place))
    return [one.upper() for one in inputs]
def output_fn(prediction, accept): return prediction
"""
    worker = start({"code/inference.py": text}, environment=ON).ready()
    for _ in range(10):
        frames = burst(
            worker.client(),
            [(b"odd" if n % 3 == 0 else b"even", JSON, {"inference_id": f"id{n}"}) for n in range(30)],
        )
        for n, frame in enumerate(frames):
            if n % 3 == 0:
                assert (frame.kind, frame.failure.status, frame.payload) == (Kind.FAILURE, 418, b"ODD")
            else:
                assert frame.answer.custom_attributes == f"seen id{n}"


def test_arrays_of_different_shapes_and_dtypes_are_never_in_one_list(start):
    text = """
import numpy as np
def model_fn(d): return d
def predict_batch_fn(inputs, model):
    stacked = np.stack(inputs)
    assert all(one.dtype == inputs[0].dtype for one in inputs)
    return list(stacked.sum(axis=tuple(range(1, stacked.ndim))))
"""
    worker = start({"code/inference.py": text}, environment=ON).ready()
    arrays = [np.full((n % 3 + 1, 2), n, [np.float32, np.int64][n % 2]) for n in range(60)]
    frames = burst(worker.client(), [npy(array) for array in arrays], NPY)
    assert [json.loads(frame.payload) for frame in frames] == [float(array.sum()) for array in arrays]
    assert "a batch failed" not in worker.log()


def test_predictions_may_stream_and_others_are_not_held_up(start):
    text = """
import json
def model_fn(d): return d
def input_fn(body, content_type): return json.loads(body)
def predict_batch_fn(inputs, model):
    return [iter([str(one), "!"]) if one % 2 else one for one in inputs]
"""
    client = start({"code/inference.py": text}, environment=ON).ready().client()
    for n in range(10):
        client.request(n, b"%d" % n, JSON)
    got, over = {}, set()
    while len(over) < 10:
        frame = client.receive()
        got[frame.stream] = got.get(frame.stream, b"") + frame.payload
        if frame.kind in (Kind.END, Kind.ANSWER):
            over.add(frame.stream)
    assert got == {n: b"%d!" % n if n % 2 else b"%d" % n for n in range(10)}


def test_transform_fn_with_predict_batch_fn_is_refused(start):
    text = DOUBLES + "\ndef transform_fn(model, data, content_type, accept): return data\n"
    text = text.replace("def input_fn", "def _i").replace("def output_fn", "def _o")
    description = start({"code/inference.py": text}).until("Failed")
    assert "transform_fn together with predict_batch_fn" in description.failure_message


@pytest.mark.parametrize("value", ["many", "0"])
def test_a_wrong_setting_fails_the_start_by_name(start, value):
    description = start({"model.onnx": onnx_model()}, environment={"SAGEMAKER_TS_BATCH_SIZE": value}).until("Failed")
    assert description.failure_reason == "Invalid"
    assert "SAGEMAKER_TS_BATCH_SIZE" in description.failure_message


# --- bad input -----------------------------------------------------------------------------------------------------


def test_a_body_of_100_mb_beside_small_ones(start):
    worker = start({"model.onnx": onnx_model()}, environment=ON).ready()
    large = b"[" + b",".join([b"[1.25,2.5,3.75,4.125]"] * (100_000_000 // 22)) + b"]"
    frames = burst(worker.client(), [b"[[1,2,3,4]]"] * 20 + [large] + [b"[[1,2,3,4]]"] * 20)
    assert {frame.payload for place, frame in enumerate(frames) if place != 20} == {b"[[2.0,4.0,6.0,8.0]]"}
    assert frames[20].payload.startswith(b"[[2.5,5.0,7.5,8.25],[2.5")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 50_000,
        b"",
        b"\xff\xfe",
        b"[[1,2,3,4]",
        b'[["a",1,2,3]]',
    ],
    ids=["open", "deep", "deep object", "empty", "no text", "cut", "text"],
)
def test_what_is_no_input_fails_alone_and_clearly(start, body):
    worker = start({"model.onnx": onnx_model()}, environment=ON).ready()
    frames = burst(worker.client(), [b"[[1,2,3,4]]", body] * 10)
    assert {frame.payload for frame in frames[::2]} == {b"[[2.0,4.0,6.0,8.0]]"}
    assert {frame.failure.status for frame in frames[1::2]} == {400}
    assert b"Traceback" not in frames[1].payload


def test_a_requests_own_functions_run_in_its_trace_and_the_batch_only_where_all_share_one(start):
    text = """
from opentelemetry import trace
def now(): return "%032x" % trace.get_current_span().get_span_context().trace_id
def model_fn(d): return d
def input_fn(body, content_type): return [now()]
def predict_batch_fn(inputs, model): return [one + [now(), str(len(inputs))] for one in inputs]
def output_fn(prediction, accept):
    if accept == "text/event-stream":
        return (now() for _ in range(2))
    return " ".join(prediction + [now()])
"""
    worker = start({"code/inference.py": text}, environment=ON).ready()
    one, other, none = "1" * 32, "2" * 32, "0" * 32
    for traces in ([one] * 20, [one, other] * 10, [none] * 20):
        bodies = [(b"", JSON, {"trace": f"00-{t}-{'3' * 16}-01" if t != none else ""}) for t in traces]
        for trace, frame in zip(traces, burst(worker.client(), bodies), strict=True):
            asked, predicted, count, answered = frame.payload.decode().split()
            assert (asked, answered) == (trace, trace)
            assert predicted == (trace if len(set(traces)) == 1 or count == "1" else none)
    client = worker.client()
    client.request(1, b"", JSON, accept="text/event-stream", trace=f"00-{one}-{'3' * 16}-01")
    frames = [client.receive() for _ in range(4)]
    assert b"".join(frame.payload for frame in frames) == (one * 2).encode()


@pytest.mark.parametrize("columns", ["'a'", "*inputs"])
def test_a_data_frame_is_no_list_of_predictions(start, columns):
    text = f"""
class DataFrame:  # as those of pandas and Polars: its length is that of its rows, and it iterates over its columns
    def __init__(self, columns, rows): self.columns, self.rows = columns, rows
    def __len__(self): return self.rows
    def __getitem__(self, name): raise KeyError(name)
    def __iter__(self): return iter(self.columns)
def model_fn(d): return d
def predict_batch_fn(inputs, model): return DataFrame([{columns}], len(inputs))
"""
    worker = start({"code/inference.py": text}, environment=ON).ready()
    for frame in burst(worker.client(), [b"[1]"] * 20):
        assert frame.kind is Kind.FAILURE
        assert b"returned a DataFrame, which iterates over its columns" in frame.payload


def test_headers_that_are_no_text_travel_as_text(start):
    text = """
def model_fn(d, context): return d
def predict_batch_fn(inputs, model, context):
    for place, one in enumerate(inputs):
        context.set_response_header(place, "X-Amzn-SageMaker-Custom-Attributes", 7)
    return inputs
def output_fn(prediction, accept): return "fine"
"""
    for environment in (ON, {}):
        worker = start({"code/inference.py": text}, environment=environment).ready()
        for frame in burst(worker.client(), [b"[1]"] * 9):
            assert (frame.payload, frame.answer.custom_attributes) == (b"fine", "7")


def test_a_model_that_exits_in_a_batch_fails_the_request_that_makes_it_exit(start):
    text = DOUBLES.replace("    CALLS.append", '    if inputs[0] == "exit": raise SystemExit(3)\n    CALLS.append')
    worker = start({"code/inference.py": text}, environment=ON).ready()
    found = held_burst(worker, [b'"exit"', *[b"%d" % n for n in range(7)]])
    assert [place for place, frame in enumerate(found) if frame.kind is Kind.FAILURE] == [0]
    assert b"sys.exit(3)" in found[0].payload


def test_memory_that_runs_out_in_a_large_batch_fails_only_what_is_too_large_by_itself(start):
    text = DOUBLES.replace("    CALLS.append", "    if len(inputs) > 4: raise MemoryError\n    CALLS.append")
    worker = start({"code/inference.py": text}, environment=ON).ready()
    found = held_burst(worker, [b"%d" % n for n in range(20)])
    assert [frame.payload for frame in found] == [b"%d" % (2 * n) for n in range(20)]
