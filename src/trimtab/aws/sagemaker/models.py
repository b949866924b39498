"""CreateModel, DescribeModel, ListModels, DeleteModel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trimtab.aws.arns import sagemaker_arn
from trimtab.aws.paging import Pager
from trimtab.aws.registry import Call, operation
from trimtab.aws.sagemaker.documents import kept
from trimtab.aws.sagemaker.listing import listed
from trimtab.aws.sagemaker.refusals import not_supported_yet
from trimtab.aws.sagemaker.tags import tags_of
from trimtab.clock import Clock
from trimtab.control.api import ControlApi
from trimtab.errors import Invalid
from trimtab.resources.model import Artifact, Container, Model

_MAX_ENVIRONMENT_BYTES = 32 * 1024  # AWS: 32 KB for all keys and values together


class Models:
    """The model operations, on a ControlApi."""

    def __init__(self, control: ControlApi, clock: Clock, pager: Pager) -> None:
        self._control = control
        self._clock = clock
        self._pager = pager

    @operation(
        "sagemaker",
        "CreateModel",
        missing="One container. Of a MultiModel container an artifact that is overwritten is noticed, which AWS does "
        "not: the new version is loaded, then the old one leaves. VpcConfig, EnableNetworkIsolation, ImageConfig, "
        "ContainerMetricsConfig and ModelAccessConfig are kept and described but have no effect. Refused: several "
        "containers, Direct mode, model packages, AdditionalModelDataSources, hub and manifest sources",
    )
    async def create_model(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """Record a model of one container."""
        name = params["ModelName"]
        model = Model(
            name=name,
            created_s=self._clock.now_s(),
            containers=(_container(_only_container(params)),),
            document=kept(params, without=("ModelName", "Tags")),
        )
        self._control.create_model(model, tags_of(params))
        return {"ModelArn": _arn(call, name)}

    @operation("sagemaker", "DescribeModel")
    async def describe_model(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """What the caller declared, with name, ARN and time."""
        model = self._control.get_model(params["ModelName"])
        return {
            **model.document,
            "ModelName": model.name,
            "ModelArn": _arn(call, model.name),
            "CreationTime": model.created_s,
        }

    @operation("sagemaker", "ListModels")
    async def list_models(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """One page of summaries."""
        page, token = listed(self._pager, call.operation, self._control.list_models(), params)
        summaries = [
            {"ModelName": model.name, "ModelArn": _arn(call, model.name), "CreationTime": model.created_s}
            for model in page
        ]
        return {"Models": summaries, **token}

    @operation("sagemaker", "DeleteModel")
    async def delete_model(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """Forget the model; endpoints that run it go on."""
        self._control.delete_model(params["ModelName"])
        return {}


def _arn(call: Call, name: str) -> str:
    return sagemaker_arn(call.region, call.account, "model", name)


def _only_container(params: Mapping[str, Any]) -> Mapping[str, Any]:
    primary, several = params.get("PrimaryContainer"), params.get("Containers") or []
    if primary is not None and several:
        raise Invalid("PrimaryContainer and Containers exclude one another: give one of them.")
    if primary is None and not several:
        raise Invalid("Give the model a container: PrimaryContainer is missing.")
    if len(several) > 1:
        raise not_supported_yet("Containers with more than one container", "Give one container, as PrimaryContainer.")
    if params.get("InferenceExecutionConfig", {}).get("Mode") == "Direct":
        raise not_supported_yet("InferenceExecutionConfig.Mode Direct")
    container: Mapping[str, Any] = primary if primary is not None else several[0]
    return container


def _container(declared: Mapping[str, Any]) -> Container:
    for member in ("ModelPackageName", "InferenceSpecificationName", "AdditionalModelDataSources"):
        if declared.get(member):
            raise not_supported_yet(member)
    if not declared.get("Image"):
        raise Invalid("The container's Image is missing. `trimtab://python` names trimtab's own runtime.")
    environment = declared.get("Environment") or {}
    size = sum(len(key.encode()) + len(value.encode()) for key, value in environment.items())
    if size > _MAX_ENVIRONMENT_BYTES:
        raise Invalid(f"The container's Environment has {size} bytes; keys and values may have 32768 together.")
    multi_model = declared.get("Mode") == "MultiModel"
    return Container(
        image=declared["Image"],
        hostname=declared.get("ContainerHostname", ""),
        multi_model=multi_model,
        model_cache=_model_cache(declared, multi_model),
        artifact=_prefix(declared) if multi_model else _artifact(declared),
        environment=dict(environment),
    )


def _model_cache(declared: Mapping[str, Any], multi_model: bool) -> bool:
    setting: str | None = declared.get("MultiModelConfig", {}).get("ModelCacheSetting")
    if setting and not multi_model:
        raise Invalid("MultiModelConfig belongs to a container with Mode MultiModel: set Mode, or leave it out.")
    return setting != "Disabled"


def _prefix(declared: Mapping[str, Any]) -> Artifact:
    """Where the models of a MultiModel container are. It may be empty still: models are added by uploading them."""
    if declared.get("ModelDataSource"):
        raise Invalid(
            "ModelDataSource cannot be used with Mode MultiModel: give the prefix that the models are below as "
            "ModelDataUrl."
        )
    url = declared.get("ModelDataUrl", "")
    if not url:
        raise Invalid("A container with Mode MultiModel needs ModelDataUrl: the prefix that its models are below.")
    if not _s3(url, "ModelDataUrl").endswith("/") or not url[len("s3://") :].partition("/")[0]:
        raise Invalid(
            f"ModelDataUrl {url!r} of a container with Mode MultiModel must be a prefix, s3://BUCKET/PREFIX/, ending "
            "in a slash: a TargetModel is the rest of an archive's key after it."
        )
    return Artifact(url=url, compressed=False)


def _artifact(declared: Mapping[str, Any]) -> Artifact | None:
    url = declared.get("ModelDataUrl", "")
    source = declared.get("ModelDataSource", {}).get("S3DataSource")
    if source is None:
        return Artifact(url=_s3_object(url, "ModelDataUrl")) if url else None
    if url and url != source["S3Uri"]:
        raise Invalid("ModelDataUrl and ModelDataSource name different data: give one of them.")
    return _from_data_source(source)


def _from_data_source(source: Mapping[str, Any]) -> Artifact:
    for member in ("HubAccessConfig", "ManifestS3Uri", "ETag", "ManifestEtag"):
        if source.get(member):
            raise not_supported_yet(f"ModelDataSource.S3DataSource.{member}")
    uri, compressed = source["S3Uri"], source["CompressionType"] == "Gzip"
    if source["S3DataType"] == "S3Object":
        return Artifact(url=_s3_object(uri, "S3Uri"), compressed=compressed)
    if compressed:
        raise not_supported_yet("S3DataType S3Prefix with CompressionType Gzip", "Name the archive, as S3Object.")
    if not uri.endswith("/"):
        raise Invalid(f"S3Uri {uri!r} with S3DataType S3Prefix must end in a slash.")
    return Artifact(url=_s3(uri, "S3Uri"), compressed=False)


def _s3_object(uri: str, member: str) -> str:
    if not _s3(uri, member)[len("s3://") :].partition("/")[2] or uri.endswith("/"):
        raise Invalid(
            f"{member} {uri!r} must name one object, s3://BUCKET/KEY; with Gzip a gzip-compressed tar archive."
        )
    return uri


def _s3(uri: str, member: str) -> str:
    if not uri.startswith("s3://"):
        raise Invalid(f"{member} {uri!r} must have the form s3://BUCKET/KEY; trimtab reads no https:// addresses.")
    return uri
