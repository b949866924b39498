"""What an audit finds beside endpoints: training, buckets, images; each fault with a clean twin that it must not flag.

    populate_stores(clients)                    # through boto3's clients
    populate(clients, now_s, cases=PRODUCTION)  # `testing.account`: endpoints that use what is stored
    aged(ACCOUNT, REGION, now_s)                # moto alone: things are as old, and jobs as long, as no API lets say
    quick(clients)                              # moto in this process: metrics go in without a call

`STORED_FAULTS` are the findings that there must be.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

from trimtab.testing.account import BUCKET, CAPTURES, ROLE, Case, Clients, steady

ACCOUNT: Final = "123456789012"  # moto's
REGION: Final = "us-east-1"
REGISTRY: Final = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
TIDY: Final = BUCKET
LOOSE: Final = "loose-models"
CHECKPOINTS: Final = "audit-checkpoints"
OLD_CHECKPOINTS: Final = "loose-checkpoints"
_DAY_S: Final = 86_400
_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
_UNTAGGED_GO: Final = {
    "rules": [
        {
            "rulePriority": 1,
            "selection": {
                "tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 7,
            },
            "action": {"type": "expire"},
        }
    ]
}  # fmt: skip

STORED_FAULTS: Final = frozenset({
    "too-few-instances/ledger/main",
    "training-without-spot/vision/ml.g5.xlarge",
    "training-without-spot/ledger-train/ml.m5.xlarge",
    "training-without-checkpoints/ledger-train/ml.m5.xlarge",
    "training-without-checkpoints/ranker/ml.g5.xlarge",
    f"checkpoints-kept/{OLD_CHECKPOINTS}",
    f"no-versioning/{LOOSE}",
    f"flat-artifact-keys/{LOOSE}",
    "images-untagged/team/ledger",
    "images-unscanned/team/ledger",
    "image-tags/team/ledger",
})  # fmt: skip
"""Ids of the findings."""


def populate_stores(clients: Clients) -> None:
    """Buckets, repositories and training jobs."""
    _buckets(clients("s3"))
    _images(clients("ecr"))
    _training(clients("sagemaker"))


def artifact(name: str, *, is_tidy: bool) -> str:
    """Where a model's artifact lies: in folders of its own, or beside all others."""
    return f"s3://{TIDY}/{name}/4/model.tar.gz" if is_tidy else f"s3://{LOOSE}/{name}.tar.gz"


def image(name: str, *, is_tidy: bool) -> str:
    """What a model runs, by a tag that says what it is, or by one that does not."""
    return f"{REGISTRY}/team/{name}:{'4-sklearn1.4' if is_tidy else 'latest'}"


PRODUCTION: Final = (
    Case(
        name="ledger",
        fault="too-few-instances",
        traffic=steady(0.5),
        count=1,
        image=image("ledger", is_tidy=False),
        artifact=artifact("ledger", is_tidy=False),
        tags={"environment": "production"},
    ),
    Case(
        name="billing",
        traffic=steady(0.5),
        image=image("billing", is_tidy=True),
        artifact=artifact("billing", is_tidy=True),
        tags={"environment": "production"},
    ),
)
"""What is at fault is run by `ledger`, its twin by `billing`."""


# --- buckets ----------------------------------------------------------------------------------------------------------


def _buckets(s3: Any) -> None:
    for name in (TIDY, LOOSE, CHECKPOINTS, OLD_CHECKPOINTS, CAPTURES):
        s3.create_bucket(Bucket=name)
    s3.put_bucket_versioning(Bucket=TIDY, VersioningConfiguration={"Status": "Enabled"})
    for name, is_tidy in (("billing", True), ("ledger", False)):
        bucket, _, key = artifact(name, is_tidy=is_tidy).removeprefix("s3://").partition("/")
        s3.put_object(Bucket=bucket, Key=key, Body=b"artifact")
    s3.put_bucket_lifecycle_configuration(
        Bucket=CHECKPOINTS,
        LifecycleConfiguration={
            "Rules": [
                {
                    "ID": "checkpoints-go",
                    "Status": "Enabled",
                    "Filter": {"Prefix": "checkpoints/"},
                    "Expiration": {"Days": 90},
                }
            ]
        },
    )
    s3.put_bucket_lifecycle_configuration(  # rules that say nothing of checkpoints
        Bucket=OLD_CHECKPOINTS,
        LifecycleConfiguration={
            "Rules": [
                {"ID": "logs-go", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 30}},
                {"ID": "off", "Status": "Disabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 30}},
            ]
        },
    )
    for bucket, folder in ((CHECKPOINTS, "checkpoints/billing"), (OLD_CHECKPOINTS, "checkpoints/vision")):
        for step in range(3):
            s3.put_object(Bucket=bucket, Key=f"{folder}/step-{step}.pt", Body=bytes(1000))


# --- images -----------------------------------------------------------------------------------------------------------


def _images(ecr: Any) -> None:
    ecr.create_repository(repositoryName="team/ledger")
    ecr.create_repository(repositoryName="team/billing", imageScanningConfiguration={"scanOnPush": True})
    ecr.create_repository(repositoryName="team/recent", imageScanningConfiguration={"scanOnPush": True})
    ecr.put_lifecycle_policy(repositoryName="team/billing", lifecyclePolicyText=json.dumps(_UNTAGGED_GO))
    for repository, tag in (
        ("team/ledger", "latest"),
        ("team/ledger", None),
        ("team/billing", "4-sklearn1.4"),
        ("team/billing", None),
        ("team/recent", "9-pytorch2.3"),
        ("team/recent", None),
    ):
        _push(ecr, repository, tag)


def _push(ecr: Any, repository: str, tag: str | None) -> None:
    layers = [{"mediaType": _MANIFEST, "size": 2**30, "digest": f"sha256:{repository}-{tag}"}]
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": {"mediaType": _MANIFEST, "size": 2 * 2**30, "digest": f"sha256:{repository}-{tag}-config"},
        "layers": layers,
    }
    named = {"imageTag": tag} if tag else {}
    ecr.put_image(repositoryName=repository, imageManifest=json.dumps(manifest), **named)


# --- training ---------------------------------------------------------------------------------------------------------


def _training(sagemaker: Any) -> None:
    _train(sagemaker, "ledger-train-2026-10-31")  # neither spot nor checkpoints
    _train(sagemaker, "ledger-train-2026-11-01")
    _train(sagemaker, "vision-17", gpu=True, checkpoints=f"s3://{OLD_CHECKPOINTS}/checkpoints/vision/")
    _train(sagemaker, "ranker-8", gpu=True, is_spot=True)
    _train(sagemaker, "billing-12", gpu=True, is_spot=True, checkpoints=f"s3://{CHECKPOINTS}/checkpoints/billing/")


def _train(sagemaker: Any, name: str, *, gpu: bool = False, is_spot: bool = False, checkpoints: str = "") -> None:
    stopping = {"MaxRuntimeInSeconds": 7200} | ({"MaxWaitTimeInSeconds": 14_400} if is_spot else {})
    kept = {"CheckpointConfig": {"S3Uri": checkpoints}} if checkpoints else {}
    sagemaker.create_training_job(
        TrainingJobName=name,
        AlgorithmSpecification={"TrainingImage": f"{REGISTRY}/team/billing:4-sklearn1.4", "TrainingInputMode": "File"},
        RoleArn=ROLE,
        OutputDataConfig={"S3OutputPath": f"s3://{TIDY}/trained"},
        ResourceConfig={
            "InstanceType": "ml.g5.xlarge" if gpu else "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30,
        },
        StoppingCondition=stopping,
        EnableManagedSpotTraining=is_spot,
        **kept,
    )  # fmt: skip


# --- moto: what no API lets one say -----------------------------------------------------------------------------------


def aged(account: str, region: str, now_s: float) -> None:
    """In this process's moto: images and checkpoints are 40 days old (those of team/recent 3), jobs took two hours."""
    from moto.backends import get_backend

    for repository in get_backend("ecr")[account][region].repositories.values():
        for each in repository.images:
            each.image_pushed_at = int(now_s - (3 if repository.name == "team/recent" else 40) * _DAY_S)
    buckets = get_backend("s3")[account]["aws"].buckets
    for name in (CHECKPOINTS, OLD_CHECKPOINTS):
        for key in buckets[name].keys.values():
            key.last_modified = datetime.fromtimestamp(now_s - 40 * _DAY_S, UTC).replace(tzinfo=None)
    for job in get_backend("sagemaker")[account][region].training_jobs.values():
        vars(job).update(training_time_in_seconds=7200, billable_time_in_seconds=7200)


def quick(clients: Clients) -> Clients:
    """The same clients; metrics go straight into this process's moto: a call of HTTP takes 50 times as long."""
    from moto.backends import get_backend

    class CloudWatch:
        def put_metric_data(self, **asked: Any) -> None:
            data = [
                each | {"Timestamp": datetime.fromtimestamp(each["Timestamp"], UTC)} for each in asked["MetricData"]
            ]
            get_backend("cloudwatch")[ACCOUNT][REGION].put_metric_data(asked["Namespace"], data)

    return lambda service: CloudWatch() if service == "cloudwatch" else clients(service)
