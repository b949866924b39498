"""SageMaker's training and transform jobs of the days that are looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from trimtab.advisor.audit.jobs import TrainingJob, TransformJob
from trimtab.advisor.audit.reading.reader import Answer, Reader

MOST: Final = 2000  # of each kind: each takes a call
_DAY_S: Final = 86_400
Job = TypeVar("Job", TrainingJob, TransformJob)


def read_training(reader: Reader, *, days: int, now_s: float) -> tuple[TrainingJob, ...] | None:
    """Training jobs that were made in those days, the newest first; None: they may not be listed."""
    return _jobs(
        reader, "training", _training, words="Training jobs", member="TrainingJobSummaries", days=days, now_s=now_s
    )


def read_transforms(reader: Reader, *, days: int, now_s: float) -> tuple[TransformJob, ...] | None:
    """Transform jobs, likewise."""
    return _jobs(
        reader, "transform", _transform, words="Transform jobs", member="TransformJobSummaries", days=days, now_s=now_s
    )


def _jobs(
    reader: Reader, kind: str, made: Callable[[Answer], Job], *, words: str, member: str, days: int, now_s: float
) -> tuple[Job, ...] | None:
    name_of = f"{kind.capitalize()}JobName"
    listed = reader.pages(
        "sagemaker",
        f"list_{kind}_jobs",
        member,
        words,
        at_most=MOST + 1,
        page_size=100,
        CreationTimeAfter=datetime.fromtimestamp(now_s - days * _DAY_S, UTC),
        SortBy="CreationTime",
        SortOrder="Descending",
    )
    if listed is None:
        return None
    if len(listed) > MOST:
        reader.note(f"{words} before the newest {MOST:,}", f"there are more than {MOST:,} in {days} days")
    names = [entry[name_of] for entry in listed[:MOST]]

    def ask(name: str) -> Answer | None:
        return reader.call("sagemaker", f"describe_{kind}_job", f"Details of {words.lower()}", **{name_of: name})

    return tuple(made(found) for found in reader.each(ask, names) if found)


def _training(found: Answer) -> TrainingJob:
    resources = found.get("ResourceConfig") or {}
    groups = resources.get("InstanceGroups") or [resources]
    trained = _seconds(found, "TrainingStartTime", "TrainingEndTime")
    training_s = float(found.get("TrainingTimeInSeconds") or trained)
    return TrainingJob(
        name=found["TrainingJobName"],
        arn=found["TrainingJobArn"],
        status=found["TrainingJobStatus"],
        created_s=found["CreationTime"].timestamp(),
        image=(found.get("AlgorithmSpecification") or {}).get("TrainingImage", ""),
        instance_type=groups[0].get("InstanceType", ""),
        instance_count=sum(group.get("InstanceCount", 1) for group in groups),
        is_spot=bool(found.get("EnableManagedSpotTraining")),
        checkpoints=(found.get("CheckpointConfig") or {}).get("S3Uri", ""),
        output=(found.get("OutputDataConfig") or {}).get("S3OutputPath", ""),
        training_s=training_s,
        billable_s=float(found.get("BillableTimeInSeconds") or training_s),
        max_runtime_s=(found.get("StoppingCondition") or {}).get("MaxRuntimeInSeconds", 86_400),
    )


def _transform(found: Answer) -> TransformJob:
    resources = found.get("TransformResources") or {}
    return TransformJob(
        name=found["TransformJobName"],
        status=found["TransformJobStatus"],
        created_s=found["CreationTime"].timestamp(),
        seconds=_seconds(found, "TransformStartTime", "TransformEndTime"),
        model=found.get("ModelName", ""),
        instance_type=resources.get("InstanceType", ""),
        instance_count=resources.get("InstanceCount", 0),
    )


def _seconds(found: Mapping[str, Any], start: str, end: str) -> float:
    if not (found.get(start) and found.get(end)):
        return 0.0
    return max(0.0, float((found[end] - found[start]).total_seconds()))
