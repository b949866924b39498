"""Artifacts without a script: real models of each kind, found, loaded and asked in every type."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path

import joblib
import lightgbm
import numpy as np
import pytest
import skops.io
import xgboost
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from trimtab.resources.runtime import Flavor
from trimtab.wire.frames import Kind, RequestMeta
from trimtab.worker import artifact, codecs, media
from trimtab.worker.answers import Fault
from trimtab.worker.environment import default_accept
from trimtab.worker.failures import StartFailed, require
from trimtab.worker.flavors.xgboost import BuiltInAlgorithm, decode_libsvm
from trimtab.worker.models.boosters import XgboostModel
from trimtab.worker.plain import PlainModel

WIDTH = 4
ROWS = np.random.default_rng(7).normal(size=(60, WIDTH)).astype(np.float32)
LABELS = (ROWS[:, 0] + ROWS[:, 1] > 0).astype(int)
JSON, CSV, NPY, LINES = media.JSON, media.CSV, media.NPY, media.JSON_LINES


@pytest.fixture(scope="module")
def estimator():
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(ROWS, LABELS)


@pytest.fixture(scope="module")
def classifier_onnx(estimator) -> bytes:
    return to_onnx(estimator, ROWS[:1], options={"zipmap": False}).SerializeToString()


@pytest.fixture(scope="module")
def boosters():
    matrix = xgboost.DMatrix(ROWS, LABELS)
    ours = xgboost.train({"objective": "binary:logistic", "max_depth": 2, "nthread": 1}, matrix, 3)
    data = lightgbm.Dataset(ROWS, LABELS)
    theirs = lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1, "min_data_in_leaf": 5}, data, 3)
    return ours, theirs


def onnx_of(nodes, inputs, outputs) -> bytes:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs],
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in outputs],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def plain(folder: Path, files: dict[str, bytes], environment: dict[str, str] | None = None) -> PlainModel:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    model = PlainModel(artifact.load(*artifact.detect(folder), environment or {}), default_accept(environment or {}))
    model.warm()
    return model


def ask(model, body: bytes, content_type: str = JSON, accept: str = "") -> bytes:
    return bytes(model.answer(body, RequestMeta(content_type, accept))[0])


def refusal(model, body: bytes, content_type: str = JSON, accept: str = "") -> Fault:
    with pytest.raises(Fault) as caught:
        model.answer(body, RequestMeta(content_type, accept))
    return caught.value


# ONNX


def test_an_onnx_classifier_answers_label_and_probabilities_in_every_type(tmp_path, classifier_onnx, estimator):
    model = plain(tmp_path, {"model.onnx": classifier_onnx})
    rows, chances = ROWS[:3].tolist(), estimator.predict_proba(ROWS[:3])
    labels = estimator.predict(ROWS[:3]).tolist()

    for body, kind in (
        (json.dumps(rows).encode(), JSON),
        (codecs.encode_csv(rows), CSV),
        (codecs.encode_json_lines(rows), LINES),
        (codecs.encode_npy(ROWS[:3]), NPY),
        (json.dumps(rows).encode(), ""),
        (json.dumps(rows).encode(), "application/json; charset=utf-8"),
    ):
        answer = json.loads(ask(model, body, kind))
        assert answer["label"] == labels
        assert np.allclose(answer["probabilities"], chances, atol=1e-5)

    body = json.dumps({"instances": rows}).encode()
    assert [item["label"] for item in json.loads(ask(model, body))["predictions"]] == labels
    assert json.loads(ask(model, json.dumps({"inputs": rows}).encode()))["outputs"]["label"] == labels
    lines = ask(model, body, accept=LINES).splitlines()
    assert [json.loads(line)["label"] for line in lines] == labels
    columns = np.array([line.split(b",") for line in ask(model, body, accept=CSV).splitlines()], float)
    assert np.allclose(columns, np.column_stack([labels, chances]), atol=1e-5)
    assert refusal(model, body, accept=NPY).status == 406


def test_one_output_can_be_chosen_and_then_stands_alone(tmp_path, classifier_onnx, estimator):
    model = plain(tmp_path, {"m.onnx": classifier_onnx}, {"TRIMTAB_OUTPUTS": "probabilities"})
    row = ROWS[:1].tolist()

    answer = json.loads(ask(model, json.dumps(row).encode()))
    assert np.allclose(answer, estimator.predict_proba(ROWS[:1]), atol=1e-5)
    flat = json.loads(ask(model, json.dumps(row[0]).encode()))
    assert flat == answer
    npy = codecs.decode_npy(ask(model, json.dumps(row).encode(), accept=NPY))
    assert np.allclose(npy, answer)


def test_zipmaps_of_classifiers_are_objects(tmp_path, estimator):
    model = plain(tmp_path, {"model.onnx": to_onnx(estimator, ROWS[:1]).SerializeToString()})

    answer = json.loads(ask(model, json.dumps(ROWS[:2].tolist()).encode()))
    assert set(answer["output_probability"][0]) == {"0", "1"}


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (b"[[1, 2, 3]]", JSON, "float32 of shape (any, 4)"),
        (b"1,2,3", CSV, "shape (1, 3)"),
        (b"[[1, 2, 3, 4], [1]]", JSON, "rows of one length"),
        (b'[["a", "b", "c", "d"]]', JSON, "numbers"),
        (b"[]", JSON, "expects"),
        (b"3", JSON, "array or an object"),
        (b"{", JSON, "not JSON"),
        (b'{"inputs": {"nonsense": [1]}}', JSON, "nonsense"),
        (b'{"instances": 4}', JSON, "array of rows"),
        (b"", JSON, "not JSON"),
        (b"a,b,c,d\n1,2,3,4", CSV, "header"),
    ],
)
def test_input_that_does_not_fit_is_the_callers_fault_and_says_what_was_expected(
    tmp_path, classifier_onnx, body, kind, said
):
    failed = refusal(plain(tmp_path, {"model.onnx": classifier_onnx}), body, kind)

    assert failed.status == 400
    assert said in str(failed)


def test_unknown_types_are_415_and_406_with_what_is_possible(tmp_path, classifier_onnx):
    model = plain(tmp_path, {"model.onnx": classifier_onnx})

    assert refusal(model, b"x", "image/png").status == 415
    assert "application/jsonlines" in str(refusal(model, b"x", "image/png"))
    assert refusal(model, b"[[1,2,3,4]]", JSON, "text/html").status == 406


def test_several_inputs_are_taken_by_name_by_row_and_by_column(tmp_path):
    add = helper.make_node("Add", ["a", "b"], ["sum"])
    shape = ["n", 1]
    content = onnx_of(
        [add], [("a", TensorProto.FLOAT, shape), ("b", TensorProto.FLOAT, shape)], [("sum", TensorProto.FLOAT, shape)]
    )
    model = plain(tmp_path, {"model.onnx": content})

    for body, kind in (
        (b'{"a": [[1], [2]], "b": [[10], [20]]}', JSON),
        (b'{"inputs": {"a": [1, 2], "b": [10, 20]}}', JSON),
        (b'[{"a": 1, "b": 10}, {"a": 2, "b": 20}]', JSON),
        (b'{"a": 1, "b": 10}\n{"a": 2, "b": 20}\n', LINES),
        (b"1,10\n2,20", CSV),
        (b"[[1, 10], [2, 20]]", JSON),
    ):
        answer = json.loads(ask(model, body, kind))
        assert (answer["outputs"] if isinstance(answer, dict) else answer) == [[11], [22]]
    out = io.BytesIO()
    np.savez(out, a=np.ones((2, 1)), b=np.ones((2, 1)))
    assert json.loads(ask(model, out.getvalue(), media.NPZ)) == [[2], [2]]
    assert "Missing or unknown inputs: b" in str(refusal(model, b'{"a": [1]}'))


@pytest.mark.parametrize(
    ("kind", "body", "answer"),
    [
        (TensorProto.INT64, b"[[1, 2]]", [[1, 2]]),
        (TensorProto.INT64, b"[[1.0, 2.0]]", [[1, 2]]),
        (TensorProto.DOUBLE, b"[[0.1, 2]]", [[0.1, 2]]),
        (TensorProto.BOOL, b"[[true, false]]", [[True, False]]),
        (TensorProto.STRING, b'[["a", "b"]]', [["a", "b"]]),
    ],
)
def test_numbers_become_the_declared_type_and_only_without_loss(tmp_path, kind, body, answer):
    content = onnx_of([helper.make_node("Identity", ["x"], ["y"])], [("x", kind, ["n", 2])], [("y", kind, ["n", 2])])
    model = plain(tmp_path, {"model.onnx": content})

    assert json.loads(ask(model, body)) == answer
    if kind == TensorProto.INT64:
        assert "whole numbers" in str(refusal(model, b"[[1.5, 2]]"))
    if kind == TensorProto.STRING:
        assert ask(model, b"x,y\n", CSV, CSV) == b"x,y\n"


def test_an_image_sized_input_of_fixed_shape_gets_its_batch_axis(tmp_path):
    content = onnx_of(
        [helper.make_node("Identity", ["x"], ["y"])],
        [("x", TensorProto.FLOAT, [1, 3, 2, 2])],
        [("y", TensorProto.FLOAT, [1, 3, 2, 2])],
    )
    model = plain(tmp_path, {"model.onnx": content})

    assert codecs.decode_npy(ask(model, codecs.encode_npy(np.ones((3, 2, 2))), NPY, NPY)).shape == (1, 3, 2, 2)
    assert "(1, 3, 2, 2)" in str(refusal(model, codecs.encode_npy(np.ones((2, 2))), NPY))


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"TRIMTAB_OUTPUTS": "nope"}, "the model's outputs are label, probabilities"),
        ({"TRIMTAB_ONNX_PROVIDERS": "WarpProvider"}, "CPUExecutionProvider"),
        ({"TRIMTAB_ONNX_CONFIG": "nonsense"}, "key=value"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_load(tmp_path, classifier_onnx, environment, said):
    with pytest.raises(StartFailed, match=said):
        plain(tmp_path, {"model.onnx": classifier_onnx}, environment)


# scikit-learn


@pytest.mark.parametrize("name", ["model.joblib", "model.pkl", "model.skops"])
def test_estimators_are_served_from_joblib_pickle_and_skops(tmp_path, estimator, name):
    if name.endswith(".skops"):
        skops.io.dump(estimator, tmp_path / name)
    elif name.endswith(".joblib"):
        joblib.dump(estimator, tmp_path / name)
    else:
        (tmp_path / name).write_bytes(pickle.dumps(estimator))
    model = plain(tmp_path, {})

    assert json.loads(ask(model, json.dumps(ROWS[:5].tolist()).encode())) == estimator.predict(ROWS[:5]).tolist()
    assert "rows of 4 numbers" in str(refusal(model, b"[[1, 2]]"))
    assert "NaN" in str(refusal(model, b"1,,3,4", CSV))


def test_another_method_can_be_chosen(tmp_path, estimator):
    joblib.dump(estimator, tmp_path / "model.joblib")
    model = plain(tmp_path, {}, {"TRIMTAB_PREDICT_METHOD": "predict_proba"})

    assert np.allclose(
        json.loads(ask(model, json.dumps(ROWS[:2].tolist()).encode())), estimator.predict_proba(ROWS[:2])
    )
    with pytest.raises(StartFailed, match="TRIMTAB_PREDICT_METHOD"):
        plain(tmp_path, {}, {"TRIMTAB_PREDICT_METHOD": "transform"})


def test_a_skops_file_with_types_of_its_own_names_them_and_loads_once_they_are_trusted(tmp_path):
    odd = make_pipeline(FunctionTransformer(np.log1p), FunctionTransformer(json.dumps), LogisticRegression())
    skops.io.dump(odd, tmp_path / "model.skops")
    with pytest.raises(StartFailed) as refused:
        plain(tmp_path, {})
    assert "TRIMTAB_SKOPS_TRUSTED=" in str(refused.value)
    trusted = str(refused.value).split("TRIMTAB_SKOPS_TRUSTED=")[1].split(" in ")[0]

    assert plain(tmp_path, {}, {"TRIMTAB_SKOPS_TRUSTED": trusted})
    assert plain(tmp_path, {}, {"TRIMTAB_SKOPS_TRUSTED": "*"})


def test_a_pickle_of_something_else_says_what_it_holds(tmp_path):
    with pytest.raises(StartFailed, match=r"builtins\.dict.*predict_fn"):
        plain(tmp_path, {"model.pkl": pickle.dumps({"weights": [1]})})


def test_a_pickle_that_is_none_says_so(tmp_path):
    with pytest.raises(StartFailed, match=r"model\.joblib"):
        plain(tmp_path, {"model.joblib": b"not a pickle at all"})


# XGBoost and LightGBM


@pytest.mark.parametrize("name", ["model.json", "model.ubj", "xgboost-model", "fraud.bst", "model.pkl"])
def test_boosters_of_xgboost_are_served_from_each_of_their_files(tmp_path, boosters, name):
    booster = boosters[0]
    content = (
        pickle.dumps(booster) if name.endswith("pkl") else bytes(booster.save_raw("json" if "json" in name else "ubj"))
    )
    model = plain(tmp_path, {name: content})

    expected = booster.predict(xgboost.DMatrix(ROWS[:3]))
    assert np.allclose(json.loads(ask(model, json.dumps(ROWS[:3].tolist()).encode())), expected, atol=1e-6)
    assert refusal(model, b"[[1, 2]]").status == 400


def test_boosters_of_lightgbm_are_served_and_take_features_by_name(tmp_path, boosters):
    booster = boosters[1]
    model = plain(tmp_path, {"model.txt": booster.model_to_string().encode()})
    named = [dict(zip(booster.feature_name(), row, strict=True)) for row in ROWS[:2].tolist()]

    expected = booster.predict(ROWS[:2])
    assert np.allclose(json.loads(ask(model, json.dumps(ROWS[:2].tolist()).encode())), expected)
    assert np.allclose(json.loads(ask(model, json.dumps({"instances": named}).encode()))["predictions"], expected)
    columns = {name: [row[name] for row in named] for name in booster.feature_name()}
    assert np.allclose(json.loads(ask(model, json.dumps({"inputs": columns}).encode()))["outputs"], expected)
    assert "missing: Column_3" in str(refusal(model, b'[{"Column_0": 1, "Column_1": 1, "Column_2": 1}]'))


def test_the_built_in_algorithm_answers_as_the_xgboost_container_does(boosters):
    model = BuiltInAlgorithm(XgboostModel(boosters[0], {}), "text/csv")
    scores = boosters[0].predict(xgboost.DMatrix(ROWS[:2])).tolist()
    csv = codecs.encode_csv(ROWS[:2].tolist())
    libsvm = "\n".join("0 " + " ".join(f"{i}:{v}" for i, v in enumerate(row)) for row in ROWS[:2].tolist())

    assert np.allclose([float(v) for v in ask(model, csv, CSV).split(b",")], scores)
    assert np.allclose([float(v) for v in ask(model, libsvm.encode(), "text/x-libsvm").split(b",")], scores)
    answer = json.loads(ask(model, csv, CSV, JSON))
    assert np.allclose([item["score"] for item in answer["predictions"]], scores)
    assert len(ask(model, csv, CSV, LINES).splitlines()) == 2
    assert ask(model, b"", CSV) == b""
    assert refusal(model, b"1,2", CSV).status == 400
    assert refusal(model, b"x", "application/x-recordio-protobuf").status == 415


@pytest.mark.parametrize("body", ["", "1 2:", "a:b", "0 -1:5", "0 1:x"])
def test_libsvm_that_is_wrong_is_the_callers_fault(body):
    with pytest.raises(Fault) as caught:
        decode_libsvm(body)
    assert caught.value.status == 400


# Finding the model


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "Found: nothing"),
        ({"README.md": b"hello", "config.json": b"{}"}, "README.md, config.json"),
        ({"a.onnx": b"x", "b.onnx": b"x"}, r"several models: a\.onnx, b\.onnx"),
        ({"vocab.txt": b"a\nb\n"}, "Expected one of"),
    ],
)
def test_an_artifact_without_one_clear_model_is_refused_naming_what_was_found(tmp_path, files, said):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(StartFailed, match=said):
        artifact.detect(tmp_path)


def test_among_several_the_one_called_model_wins(tmp_path):
    for name in ("model.onnx", "scaler.joblib"):
        (tmp_path / name).write_bytes(b"x")

    assert artifact.detect(tmp_path) == (tmp_path / "model.onnx", "onnx")


def test_a_model_below_a_top_folder_is_refused_with_the_cure(tmp_path):
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "model.onnx").write_bytes(b"x")

    with pytest.raises(StartFailed, match=r"folder export/: pack its files at the archive's root"):
        artifact.detect(tmp_path)


def test_a_missing_artifact_and_a_missing_package_have_their_own_reasons(tmp_path):
    with pytest.raises(StartFailed) as missing:
        artifact.detect(tmp_path / "none")
    assert missing.value.failure.reason == "ArtifactMissing"
    with pytest.raises(StartFailed) as absent:
        require("lightgbm_that_is_not_there")
    assert absent.value.failure.reason == "RuntimeMissing"


# In a worker, forked with the runtimes imported


def test_a_forked_worker_serves_onnx_and_fails_clearly_on_a_broken_file(start, classifier_onnx, estimator):
    answer = start({"model.onnx": classifier_onnx}).ready().client().ask(codecs.encode_csv(ROWS[:1].tolist()), CSV)
    assert json.loads(answer.payload)["label"] == estimator.predict(ROWS[:1]).tolist()
    assert answer.answer.content_type == JSON

    broken = start({"model.onnx": classifier_onnx[: len(classifier_onnx) // 2]}).until("Failed", "Ready")
    assert (broken.state, broken.failure_reason) == ("Failed", "ModelLoadFailed")
    assert "model.onnx" in broken.failure_message


def test_a_forked_worker_serves_each_flavor_without_a_script(start, estimator, boosters):
    buffer = io.BytesIO()
    joblib.dump(estimator, buffer)
    sklearn = start({"model.joblib": buffer.getvalue()}, flavor=Flavor.SKLEARN).ready()
    assert sklearn.client().ask(codecs.encode_csv(ROWS[:1].tolist()), CSV).payload in (b"[0]", b"[1]")

    builtin = start({"xgboost-model": bytes(boosters[0].save_raw("ubj"))}, flavor=Flavor.XGBOOST).ready()
    answer = builtin.client().ask(codecs.encode_csv(ROWS[:1].tolist()), CSV)
    assert (answer.kind, answer.answer.content_type) == (Kind.ANSWER, CSV)
    float(answer.payload)
