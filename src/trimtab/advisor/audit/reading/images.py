"""ECR's repositories with their images: names, dates and sizes. No layer is read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

from trimtab.advisor.audit.reading.reader import Reader
from trimtab.advisor.audit.stored import Image, Repository

_MOST_IMAGES: Final = 2000  # of one repository
_NOT_SCANNED: Final = ("", "FAILED", "FINDINGS_UNAVAILABLE")
_ANY: Final = "any"


def read_repositories(reader: Reader) -> tuple[Repository, ...] | None:
    """All of the region; None: they may not be listed."""
    listed = reader.pages("ecr", "describe_repositories", "repositories", "Image repositories", page_size=100)
    if listed is None:
        return None
    if not listed:
        return ()
    registry = reader.call("ecr", "get_registry_scanning_configuration", "Scanning rules of the image registry")
    rules = ((registry or {}).get("scanningConfiguration") or {}).get("rules") or ()
    return tuple(reader.each(lambda found: _repository(reader, found, rules), listed))


def _repository(reader: Reader, found: Mapping[str, Any], rules: Sequence[Mapping[str, Any]]) -> Repository:
    name = found["repositoryName"]
    policy = reader.call(
        "ecr",
        "get_lifecycle_policy",
        "Lifecycle policies of image repositories",
        absent=("LifecyclePolicyNotFoundException",),
        repositoryName=name,
    )
    images = reader.pages(
        "ecr",
        "describe_images",
        "imageDetails",
        "Images in repositories",
        at_most=_MOST_IMAGES + 1,
        page_size=100,
        repositoryName=name,
    )
    own = bool((found.get("imageScanningConfiguration") or {}).get("scanOnPush"))
    return Repository(
        name=name,
        arn=found["repositoryArn"],
        uri=found["repositoryUri"],
        scans_on_push=own or any(_scans(rule, name) for rule in rules),
        expires_untagged_days=None if policy is None else _expires_untagged(policy.get("lifecyclePolicyText", "")),
        images=None if images is None else tuple(_image(image) for image in images),
        is_whole=images is None or len(images) <= _MOST_IMAGES,
    )


def _image(found: Mapping[str, Any]) -> Image:
    status = (found.get("imageScanStatus") or {}).get("status", "")
    return Image(
        digest=found["imageDigest"],
        tags=tuple(found.get("imageTags", ())),
        pushed_s=found["imagePushedAt"].timestamp(),
        size_bytes=found.get("imageSizeInBytes") or 0,
        is_scanned=status not in _NOT_SCANNED or bool(found.get("imageScanFindingsSummary")),
    )


def _scans(rule: Mapping[str, Any], name: str) -> bool:
    if rule.get("scanFrequency") not in ("SCAN_ON_PUSH", "CONTINUOUS_SCAN"):
        return False
    return any(fnmatchcase(name, each.get("filter", "")) for each in rule.get("repositoryFilters", ()))


def _expires_untagged(policy: str) -> float:
    """After how many days untagged images go; 0: never. A rule that keeps the newest few counts as at once."""
    if not policy:
        return 0.0
    days = [
        float(selection["countNumber"]) if selection.get("countType") == "sinceImagePushed" else 1.0
        for rule in json.loads(policy).get("rules", ())
        if (selection := rule.get("selection") or {}).get("tagStatus") in ("untagged", _ANY)
        and (rule.get("action") or {}).get("type") == "expire"
    ]
    return min(days, default=0.0)
