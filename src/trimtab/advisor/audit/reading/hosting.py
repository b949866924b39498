"""SageMaker's endpoints with their configs and models."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from trimtab.advisor.audit.account import Container, Endpoint, Model, Variant
from trimtab.advisor.audit.reading.reader import Answer, Reader
from trimtab.resources.serverless import Serverless


def read_endpoints(reader: Reader) -> tuple[Endpoint, ...] | None:
    """All endpoints of the region, without scaling and metrics; None: they may not be listed."""
    listed = reader.pages("sagemaker", "list_endpoints", "Endpoints", "Endpoints", page_size=100)
    if listed is None:
        return None
    names = [entry["EndpointName"] for entry in listed]
    described = [found for found in reader.each(lambda name: _endpoint(reader, name), names) if found]
    configs = _by_name(reader, _config, (found["EndpointConfigName"] for found in described))
    models = _models(reader, configs.values())
    return tuple(_made(found, configs[found["EndpointConfigName"]], models) for found in described)


def _by_name(reader: Reader, ask: Any, names: Iterable[str]) -> dict[str, Any]:
    unique = list(dict.fromkeys(names))
    return dict(zip(unique, reader.each(lambda name: ask(reader, name), unique), strict=True))


def _endpoint(reader: Reader, name: str) -> Answer | None:
    return reader.call("sagemaker", "describe_endpoint", "Details of endpoints", EndpointName=name)


def _config(reader: Reader, name: str) -> Answer | None:
    return reader.call("sagemaker", "describe_endpoint_config", "Configs of endpoints", EndpointConfigName=name)


def _models(reader: Reader, configs: Iterable[Answer | None]) -> dict[str, Model | None]:
    names = [
        variant["ModelName"]
        for config in configs
        for variant in (config or {}).get("ProductionVariants", ())
        if variant.get("ModelName")
    ]
    return _by_name(reader, _model, names)


def _model(reader: Reader, name: str) -> Model | None:
    found = reader.call("sagemaker", "describe_model", "Models that endpoints run", ModelName=name)
    if not found:
        return None
    documents = found.get("Containers") or [found.get("PrimaryContainer", {})]
    return Model(
        name=name,
        arn=found.get("ModelArn", ""),
        containers=tuple(_container(document) for document in documents),
        role_arn=found.get("ExecutionRoleArn", ""),
        network=_digest([found.get("VpcConfig"), found.get("EnableNetworkIsolation", False)]),
        is_isolated=bool(found.get("VpcConfig") or found.get("EnableNetworkIsolation")),
    )


def _container(document: Mapping[str, Any]) -> Container:
    source = (document.get("ModelDataSource") or {}).get("S3DataSource") or {}
    return Container(
        image=document.get("Image", "") or document.get("ModelPackageName", ""),
        model_data_url=document.get("ModelDataUrl", "") or source.get("S3Uri", ""),
        is_multi_model=document.get("Mode") == "MultiModel",
        settings=_digest(document.get("Environment") or {}),
    )


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _made(found: Answer, config: Answer | None, models: Mapping[str, Model | None]) -> Endpoint:
    running = {each["VariantName"]: each for each in found.get("ProductionVariants", ())}
    capture = found.get("DataCaptureConfig") or {}
    declared = (config or {}).get("ProductionVariants") or _undeclared(running.values())
    return Endpoint(
        name=found["EndpointName"],
        arn=found["EndpointArn"],
        status=found["EndpointStatus"],
        created_s=found["CreationTime"].timestamp(),
        changed_s=found["LastModifiedTime"].timestamp(),
        config=found["EndpointConfigName"],
        variants=tuple(_variant(each, running.get(each["VariantName"], {}), models) for each in declared),
        shadows=tuple(_variant(each, {}, models) for each in (config or {}).get("ShadowProductionVariants", ())),
        is_async=bool(found.get("AsyncInferenceConfig") or (config or {}).get("AsyncInferenceConfig")),
        capture_uri=capture.get("DestinationS3Uri", "") if capture.get("EnableCapture") else "",
        capture_percent=_capture_percent(capture, (config or {}).get("DataCaptureConfig") or {}),
    )


def _capture_percent(running: Mapping[str, Any], declared: Mapping[str, Any]) -> int:
    """Of the requests; 0: nothing is captured."""
    if not running.get("EnableCapture") or running.get("CaptureStatus") == "Stopped":
        return 0
    return int(running.get("CurrentSamplingPercentage") or declared.get("InitialSamplingPercentage") or 0)


def _undeclared(running: Iterable[Mapping[str, Any]]) -> list[Answer]:
    """What the endpoint itself says of its variants, where its config could not be seen: no model, no instance type."""
    return [{"VariantName": each["VariantName"]} for each in running]


def _variant(declared: Mapping[str, Any], running: Mapping[str, Any], models: Mapping[str, Model | None]) -> Variant:
    initial = declared.get("InitialInstanceCount", running.get("DesiredInstanceCount", 0))
    managed = declared.get("ManagedInstanceScaling") or {}
    bounds = (managed.get("MinInstanceCount", 1), managed.get("MaxInstanceCount", 1))
    return Variant(
        name=declared["VariantName"],
        model=models.get(declared.get("ModelName", "")),
        instance_type=declared.get("InstanceType", ""),
        count=running.get("CurrentInstanceCount", initial),
        initial_count=initial,
        weight=running.get("CurrentWeight", declared.get("InitialVariantWeight", 1.0)),
        serverless=_serverless(declared.get("ServerlessConfig")),
        managed=bounds if managed.get("Status") == "ENABLED" else None,
        hosts_components="InstanceType" in declared and not declared.get("ModelName"),
    )


def _serverless(document: Mapping[str, Any] | None) -> Serverless | None:
    if not document:
        return None
    return Serverless(
        memory_mib=document["MemorySizeInMB"],
        max_concurrency=document["MaxConcurrency"],
        provisioned=document.get("ProvisionedConcurrency", 0),
    )
