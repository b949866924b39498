"""One endpoint for many models: a fraud model for each customer, in the framework that each prefers, below one prefix.

    trimtab serve                                             in one shell
    trimtab run -- python examples/multi_model/demo.py        in another

Nothing in here is trimtab's own: it is a program for AWS's multi-model endpoints. Models are loaded when they are
asked for first, and a new customer's model is served as soon as it is uploaded.
"""

from __future__ import annotations

import io
import json
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "fraud"))
from train import Payments, load, train  # type: ignore[import-not-found]

NAME = "fraud-by-customer"
BUCKET = "multi-model-demo"
ROLE = "arn:aws:iam::000000000000:role/trimtab"
IMAGE = "trimtab://python"  # on AWS: an image that serves several models


def main() -> None:
    """Deploy, upload, invoke, clean up."""
    learn, test = load()
    s3, sagemaker, runtime = (boto3.client(service) for service in ("s3", "sagemaker", "sagemaker-runtime"))
    s3.create_bucket(Bucket=BUCKET)
    deploy(sagemaker)
    customers: dict[str, Callable[[Payments], tuple[str, bytes]]] = {
        "acme.tar.gz": as_onnx,
        "bolt.tar.gz": as_sklearn,
        "europe/cargo.tar.gz": as_xgboost,
        "europe/delta.tar.gz": as_lightgbm,
    }
    for number, (customer, fit) in enumerate(customers.items()):
        share = Payments(learn.features[number::4], learn.fraud[number::4])  # each customer has payments of its own
        s3.put_object(Bucket=BUCKET, Key=f"{NAME}/{customer}", Body=packed(*fit(share)))
    body = json.dumps(test.features.tolist())
    for customer in customers:
        for call in ("first", "second"):
            began_s = time.perf_counter()
            answer = runtime.invoke_endpoint(
                EndpointName=NAME, TargetModel=customer, ContentType="application/json", Body=body
            )
            took_ms = (time.perf_counter() - began_s) * 1000
            found = frauds(json.loads(answer["Body"].read()))
            caught = (found & (test.fraud == 1)).sum() / test.fraud.sum()
            print(f"{customer:<20} {call:>6} answer {took_ms:7.1f} ms   finds {caught:.0%} of the frauds")
    sagemaker.delete_endpoint(EndpointName=NAME)
    sagemaker.delete_endpoint_config(EndpointConfigName=NAME)
    sagemaker.delete_model(ModelName=NAME)
    for customer in customers:
        s3.delete_object(Bucket=BUCKET, Key=f"{NAME}/{customer}")
    s3.delete_bucket(Bucket=BUCKET)


def deploy(sagemaker: Any) -> None:
    """An endpoint for whatever is below the prefix, now or later."""
    sagemaker.create_model(
        ModelName=NAME,
        ExecutionRoleArn=ROLE,
        PrimaryContainer={"Image": IMAGE, "Mode": "MultiModel", "ModelDataUrl": f"s3://{BUCKET}/{NAME}/"},
    )
    variant = {"VariantName": "blue", "ModelName": NAME, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(EndpointConfigName=NAME, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=NAME, EndpointConfigName=NAME)
    waiter = sagemaker.get_waiter("endpoint_in_service")
    waiter.wait(EndpointName=NAME, WaiterConfig={"Delay": 1, "MaxAttempts": 600})


def as_onnx(payments: Payments) -> tuple[str, bytes]:
    return "model.onnx", train(payments)


def as_sklearn(payments: Payments) -> tuple[str, bytes]:
    import joblib
    from sklearn.ensemble import RandomForestClassifier

    file = io.BytesIO()
    joblib.dump(RandomForestClassifier(50, random_state=7).fit(payments.features, payments.fraud), file)
    return "model.joblib", file.getvalue()


def as_xgboost(payments: Payments) -> tuple[str, bytes]:
    import xgboost

    data = xgboost.DMatrix(payments.features, payments.fraud)
    return "model.ubj", bytes(xgboost.train({"objective": "binary:logistic"}, data, 50).save_raw("ubj"))


def as_lightgbm(payments: Payments) -> tuple[str, bytes]:
    import lightgbm

    data = lightgbm.Dataset(payments.features, payments.fraud)
    settings = {"objective": "binary", "verbosity": -1}
    return "model.txt", lightgbm.train(settings, data, 50).model_to_string().encode()


def packed(name: str, model: bytes) -> bytes:
    """A `tar.gz` with the model at its root."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(model)
        archive.addfile(member, io.BytesIO(model))
    return file.getvalue()


def frauds(answer: list[Any]) -> np.ndarray:
    """Which payments a model calls frauds: some answer probabilities of both classes, some of frauds, some labels."""
    found = np.asarray(answer)
    return (found[:, 1] if found.ndim == 2 and found.shape[1] == 2 else found.reshape(len(found))) >= 0.5


if __name__ == "__main__":
    main()
