"""The sagemaker SDKs and the AWS CLI, each from its own environment, started by `trimtab run` and otherwise unchanged."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from trimtab.testing.artifacts import archive
from trimtab.testing.server import PROGRAM, Trimtab

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.sdk

IRIS = """
import json

def model_fn(model_dir):
    return {"bias": 1.0}

def input_fn(body, content_type):
    assert content_type == "application/json", content_type
    return json.loads(body)

def predict_fn(data, model):
    return [sum(row) + model["bias"] for row in data["instances"]]

def output_fn(prediction, accept):
    return json.dumps({"predictions": prediction}), "application/json"
"""


def client_env(name: str) -> Path:
    path = ROOT / ".venvs" / name / "bin"
    if not path.exists():
        pytest.skip(f"the environment .venvs/{name} is not there: run `make clients`")
    return path


def run(trimtab: Trimtab, *argv: str | Path, folder: Path) -> str:
    """`trimtab run -- argv` with no AWS setting but trimtab's own; the program's stdout."""
    env = {k: v for k, v in trimtab.env.items() if not k.startswith("AWS_")} | {"HOME": str(folder)}
    command = [PROGRAM, "run", "--data-dir", trimtab.data_dir, "--", *argv]
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_sdk_v2_deploys_predicts_and_deletes(trimtab: Trimtab, name: str, tmp_path: Path) -> None:
    """Real programs: the role and the bucket are found by the SDK itself, through the STS host that it hard-codes."""
    (tmp_path / "model.tar.gz").write_bytes(archive(code__inference_py=IRIS, weights_txt="1.0"))
    program = tmp_path / "program.py"
    program.write_text(f"""
import sagemaker
from sagemaker.deserializers import JSONDeserializer
from sagemaker.model import Model
from sagemaker.predictor import Predictor
from sagemaker.serializers import JSONSerializer

session = sagemaker.Session()
role = sagemaker.get_execution_role()
bucket = session.default_bucket()
assert bucket == "sagemaker-us-east-1-000000000000", bucket
data = session.upload_data("model.tar.gz", key_prefix="{name}")
image = sagemaker.image_uris.retrieve("sklearn", "us-east-1", version="1.2-1", instance_type="ml.m5.large")
model = Model(image_uri=image, model_data=data, role=role, name="{name}", sagemaker_session=session,
              predictor_cls=Predictor)
predictor = model.deploy(1, "ml.m5.large", endpoint_name="{name}", serializer=JSONSerializer(),
                         deserializer=JSONDeserializer())
print(predictor.predict({{"instances": [[1, 2], [3, 4]]}}))
predictor.delete_endpoint()
""")
    out = run(trimtab, client_env("sagemaker2") / "python", "-W", "ignore", program, folder=tmp_path)
    assert "{'predictions': [4.0, 8.0]}" in out


def test_sdk_v3_resource_classes_work(trimtab: Trimtab, name: str, tmp_path: Path) -> None:
    url = trimtab.upload(archive(code__inference_py=IRIS, weights_txt="1.0"))
    program = tmp_path / "program.py"
    program.write_text(f"""
import json
from sagemaker.core.helper.session_helper import Session, get_execution_role
from sagemaker.core.resources import Endpoint, EndpointConfig, Model
from sagemaker.core.shapes import ContainerDefinition, ProductionVariant

role = get_execution_role()
assert Session().default_bucket() == "sagemaker-us-east-1-000000000000"
Model.create(model_name="{name}", execution_role_arn=role,
             primary_container=ContainerDefinition(image="trimtab://python", model_data_url="{url}"))
EndpointConfig.create(endpoint_config_name="{name}", production_variants=[ProductionVariant(
    variant_name="blue", model_name="{name}", instance_type="ml.m5.large", initial_instance_count=1)])
endpoint = Endpoint.create(endpoint_name="{name}", endpoint_config_name="{name}")
endpoint.wait_for_status("InService")
answer = endpoint.invoke(body=json.dumps({{"instances": [[1, 2]]}}), content_type="application/json")
print(answer.body.read().decode() if hasattr(answer.body, "read") else answer.body)
assert Endpoint.get("{name}").endpoint_status == "InService"
assert "{name}" in [e.endpoint_name for e in Endpoint.get_all(name_contains="{name}")]
endpoint.delete()
EndpointConfig.get("{name}").delete()
Model.get("{name}").delete()
""")
    out = run(trimtab, client_env("sagemaker3") / "python", "-W", "ignore", program, folder=tmp_path)
    assert '{"predictions": [4.0]}' in out


def test_aws_cli_copies_creates_waits_and_invokes(trimtab: Trimtab, name: str, tmp_path: Path) -> None:
    (tmp_path / "model.tar.gz").write_bytes(archive(code__inference_py=IRIS, weights_txt="1.0"))
    (tmp_path / "body.json").write_text('{"instances": [[5, 5]]}')
    aws = client_env("awscli") / "aws"
    container = json.dumps({"Image": "trimtab://python", "ModelDataUrl": f"s3://{name}/model.tar.gz"})
    variant = json.dumps(
        [{"VariantName": "blue", "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}]
    )
    script = tmp_path / "script.sh"
    script.write_text(f"""
set -e
{aws} s3 mb s3://{name}
{aws} s3 cp --quiet model.tar.gz s3://{name}/model.tar.gz
{aws} s3 ls s3://{name}/
{aws} s3 cp --quiet s3://{name}/model.tar.gz back.tar.gz && cmp model.tar.gz back.tar.gz
{aws} sagemaker create-model --model-name {name} --execution-role-arn arn:aws:iam::000000000000:role/trimtab \
    --primary-container '{container}'
{aws} sagemaker create-endpoint-config --endpoint-config-name {name} --production-variants '{variant}'
{aws} sagemaker create-endpoint --endpoint-name {name} --endpoint-config-name {name}
until {aws} sagemaker describe-endpoint --endpoint-name {name} --query EndpointStatus --output text | grep InService; do :; done
{aws} sagemaker wait endpoint-in-service --endpoint-name {name}
{aws} sagemaker-runtime invoke-endpoint --endpoint-name {name} --content-type application/json --body fileb://body.json out.json
cat out.json
{aws} sagemaker delete-endpoint --endpoint-name {name}
{aws} s3 rb --force s3://{name}
""")
    assert '{"predictions": [11.0]}' in run(trimtab, "bash", script, folder=tmp_path)


def test_aws_cli_puts_and_reads_metrics_and_alarms(trimtab: Trimtab, name: str, tmp_path: Path) -> None:
    aws = client_env("awscli") / "aws"
    script = tmp_path / "script.sh"
    script.write_text(f"""
set -e
{aws} cloudwatch put-metric-data --namespace {name} --metric-name m --value 42 --dimensions Who=me --storage-resolution 1
{aws} cloudwatch get-metric-statistics --namespace {name} --metric-name m --dimensions Name=Who,Value=me \
    --start-time $(date -u -d '-5 minutes' +%FT%TZ) --end-time $(date -u -d '+5 minutes' +%FT%TZ) --period 3600 \
    --statistics Sum --query 'Datapoints[].Sum' --output text
{aws} cloudwatch put-metric-alarm --alarm-name {name} --namespace {name} --metric-name m --statistic Maximum --period 60 \
    --evaluation-periods 1 --threshold 10 --comparison-operator GreaterThanThreshold
{aws} cloudwatch wait alarm-exists --alarm-names {name}
{aws} cloudwatch set-alarm-state --alarm-name {name} --state-value ALARM --state-reason drill
{aws} cloudwatch describe-alarm-history --alarm-name {name} --query 'AlarmHistoryItems[].HistorySummary' --output text
{aws} cloudwatch delete-alarms --alarm-names {name}
""")
    out = run(trimtab, "bash", script, folder=tmp_path)
    assert "42.0" in out
    assert "to ALARM" in out
