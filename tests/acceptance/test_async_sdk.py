"""The SageMaker SDK's AsyncPredictor and its waiters, unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_clients import IRIS, client_env, run

from trimtab.testing.artifacts import archive
from trimtab.testing.server import Trimtab

pytestmark = pytest.mark.sdk


def test_sdk_v2_predicts_asynchronously_waits_for_results_and_sees_failures(
    trimtab: Trimtab, name: str, tmp_path: Path
) -> None:
    (tmp_path / "model.tar.gz").write_bytes(archive(code__inference_py=IRIS, weights_txt="1.0"))
    program = tmp_path / "program.py"
    program.write_text(f"""
import sagemaker
from sagemaker.async_inference import AsyncInferenceConfig, WaiterConfig
from sagemaker.deserializers import JSONDeserializer, StringDeserializer
from sagemaker.exceptions import AsyncInferenceModelError
from sagemaker.model import Model
from sagemaker.predictor import Predictor
from sagemaker.serializers import JSONSerializer

session = sagemaker.Session()
data = session.upload_data("model.tar.gz", key_prefix="{name}")
image = sagemaker.image_uris.retrieve("sklearn", "us-east-1", version="1.2-1", instance_type="ml.m5.large")
model = Model(image_uri=image, model_data=data, role=sagemaker.get_execution_role(), name="{name}",
              sagemaker_session=session, predictor_cls=Predictor)
predictor = model.deploy(1, "ml.m5.large", endpoint_name="{name}", serializer=JSONSerializer(),
                         deserializer=JSONDeserializer(), wait=False,
                         async_inference_config=AsyncInferenceConfig())
session.wait_for_endpoint("{name}", poll=1)
waiter = WaiterConfig(max_attempts=6, delay=1)
print("waited", predictor.predict({{"instances": [[1, 2], [3, 4]]}}, waiter_config=waiter))
response = predictor.predict_async({{"instances": [[5]]}})
print("async", response.get_result(waiter))
predictor.predictor.deserializer = StringDeserializer()  # failures are text
bad = predictor.predict_async({{"rows": []}})
try:
    bad.get_result(waiter)
except AsyncInferenceModelError as error:
    print("failed", "instances" in str(error))
predictor.delete_endpoint()
""")
    out = run(trimtab, client_env("sagemaker2") / "python", "-W", "ignore", program, folder=tmp_path)
    assert "waited {'predictions': [4.0, 8.0]}" in out
    assert "async {'predictions': [6.0]}" in out
    assert "failed True" in out
