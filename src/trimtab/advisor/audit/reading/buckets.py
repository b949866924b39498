"""The S3 buckets that models, jobs and endpoints use: versioning, lifecycle, checkpoints. No object is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec import Struct

from trimtab.advisor.audit.account import Container, Endpoint
from trimtab.advisor.audit.jobs import TrainingJob
from trimtab.advisor.audit.reading.reader import Answer, Reader
from trimtab.advisor.audit.stored import Bucket, Folder, Rule

OLD_S: Final = 30 * 86_400
_MOST_OBJECTS: Final = 20_000  # of one prefix: 20 pages
_MOST_FOLDERS: Final = 100
_COLDEST: Final = ("DEEP_ARCHIVE", "GLACIER", "GLACIER_IR", "ONEZONE_IA", "STANDARD_IA", "INTELLIGENT_TIERING")


class Used(Struct, frozen=True):
    """What of one bucket is used: keys of artifacts, prefixes of checkpoints."""

    artifacts: tuple[str, ...]
    checkpoints: tuple[str, ...]


def used(endpoints: Iterable[Endpoint], training: Iterable[TrainingJob]) -> dict[str, Used]:
    """Buckets by name: those that models' artifacts lie in, and jobs' outputs and checkpoints."""
    artifacts = [
        split(container.model_data_url) for container in _containers(endpoints) if not container.is_multi_model
    ]
    prefixes = [split(container.model_data_url) for container in _containers(endpoints) if container.is_multi_model]
    jobs = list(training)
    outputs = [split(job.output) for job in jobs]
    checkpoints = [(bucket, _folder(key, job)) for job in jobs for bucket, key in [split(job.checkpoints)]]
    names = sorted({bucket for bucket, _ in (*artifacts, *prefixes, *outputs, *checkpoints) if bucket})
    return {
        name: Used(
            tuple(sorted({key for bucket, key in artifacts if bucket == name})),
            _outermost({prefix for bucket, prefix in checkpoints if bucket == name}),
        )
        for name in names
    }


def _containers(endpoints: Iterable[Endpoint]) -> list[Container]:
    return [
        container
        for endpoint in endpoints
        for variant in (*endpoint.variants, *endpoint.shadows)
        for container in (variant.model.containers if variant.model else ())
    ]


def split(uri: str) -> tuple[str, str]:
    """(bucket, key) of `s3://bucket/key`; ("", "") of anything else."""
    if not uri.startswith("s3://"):
        return "", ""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def read_buckets(reader: Reader, uses: Mapping[str, Used], *, now_s: float) -> tuple[Bucket, ...]:
    """Each of them, as far as it may be seen."""
    return tuple(reader.each(lambda name: _bucket(reader, name, uses[name], now_s), uses))


def _bucket(reader: Reader, name: str, use: Used, now_s: float) -> Bucket:
    versioning = reader.call("s3", "get_bucket_versioning", "Versioning of buckets", Bucket=name)
    lifecycle = reader.call(
        "s3",
        "get_bucket_lifecycle_configuration",
        "Lifecycle rules of buckets",
        absent=("NoSuchLifecycleConfiguration",),
        Bucket=name,
    )
    if len(use.checkpoints) > _MOST_FOLDERS:
        reader.note(
            f"Checkpoints of {name} below all but {_MOST_FOLDERS} of its prefixes", "there are too many to list"
        )
    folders = [_listed(reader, name, prefix, now_s) for prefix in use.checkpoints[:_MOST_FOLDERS]]
    return Bucket(
        name=name,
        versioning=None if versioning is None else versioning.get("Status", ""),
        rules=None if lifecycle is None else _rules(lifecycle),
        rule_documents=tuple((lifecycle or {}).get("Rules", ())),
        artifacts=use.artifacts,
        checkpoints=None if None in folders else tuple(folder for folder in folders if folder is not None),
    )


def _listed(reader: Reader, bucket: str, prefix: str, now_s: float) -> Folder | None:
    listed = reader.pages(
        "s3",
        "list_objects_v2",
        "Contents",
        "Checkpoints in buckets",
        at_most=_MOST_OBJECTS + 1,
        page_size=1000,
        Bucket=bucket,
        Prefix=prefix,
    )
    if listed is None:
        return None
    old = [
        entry
        for entry in listed
        if entry["LastModified"].timestamp() < now_s - OLD_S and entry.get("StorageClass", "STANDARD") == "STANDARD"
    ]
    return Folder(
        prefix=prefix,
        objects=len(listed),
        size_bytes=sum(entry["Size"] for entry in listed),
        old_bytes=sum(entry["Size"] for entry in old),
        oldest_s=min((entry["LastModified"].timestamp() for entry in listed), default=None),
        is_whole=len(listed) <= _MOST_OBJECTS,
    )


def _rules(lifecycle: Answer) -> tuple[Rule, ...]:
    return tuple(_rule(rule) for rule in lifecycle.get("Rules", ()) if rule.get("Status") == "Enabled")


def _rule(rule: Mapping[str, Any]) -> Rule:
    narrowing = rule.get("Filter") or {}
    both = narrowing.get("And") or {}
    prefix = rule.get("Prefix") or narrowing.get("Prefix") or both.get("Prefix") or ""
    is_narrowed = any(name not in ("Prefix", "And") for name in narrowing) or any(name != "Prefix" for name in both)
    classes = [each.get("StorageClass", "") for each in rule.get("Transitions", ())]
    expiration = rule.get("Expiration") or {}
    return Rule(
        id=rule.get("ID", ""),
        prefix=prefix,
        is_narrowed=is_narrowed,
        expires="Days" in expiration or "Date" in expiration,
        colder=next((name for name in _COLDEST if name in classes), ""),
    )


def _folder(key: str, job: TrainingJob) -> str:
    """Where a job's checkpoints lie, without its own name: next month's run writes beside it."""
    parts = [part for part in key.split("/") if part]
    while parts and (parts[-1] == job.name or (parts[-1] != job.family and parts[-1].startswith(job.family))):
        parts.pop()
    return "".join(f"{part}/" for part in parts)


def _outermost(prefixes: Iterable[str]) -> tuple[str, ...]:
    """Without those that lie below another."""
    kept: list[str] = []
    for prefix in sorted(prefixes):
        if not any(prefix.startswith(outer) for outer in kept):
            kept.append(prefix)
    return tuple(kept)
