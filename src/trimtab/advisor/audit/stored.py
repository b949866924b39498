"""What an audit knows of buckets and image repositories. None: it could not be seen."""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class Rule(Struct, frozen=True, kw_only=True):
    """One lifecycle rule of a bucket: of all objects below `prefix`, or (`is_narrowed`) of some of them."""

    id: str
    prefix: str
    is_narrowed: bool = False  # by tags or sizes
    expires: bool = False
    colder: str = ""  # the storage class that it moves objects to


class Folder(Struct, frozen=True, kw_only=True):
    """Objects below a prefix. `is_whole`: all of them were listed; else there are more."""

    prefix: str
    objects: int
    size_bytes: int
    old_bytes: int  # in STANDARD and not written for 30 days
    oldest_s: float | None
    is_whole: bool = True


class Bucket(Struct, frozen=True, kw_only=True):
    """One bucket that models, jobs or endpoints use. `versioning`: Enabled, Suspended, or "" where it never was."""

    name: str
    versioning: str | None = None
    rules: tuple[Rule, ...] | None = None
    rule_documents: tuple[dict[str, Any], ...] = ()  # the same, and those that are off, as S3 has them
    artifacts: tuple[str, ...] = ()  # keys that models of endpoints name
    checkpoints: tuple[Folder, ...] | None = ()


class Image(Struct, frozen=True, kw_only=True):
    """One image of a repository."""

    digest: str
    tags: tuple[str, ...]
    pushed_s: float
    size_bytes: int
    is_scanned: bool


class Repository(Struct, frozen=True, kw_only=True):
    """One repository of ECR. `expires_untagged_days`: by its lifecycle policy; 0: never."""

    name: str
    arn: str
    uri: str
    scans_on_push: bool  # of its own, or by a rule of the registry
    expires_untagged_days: float | None = 0.0
    images: tuple[Image, ...] | None = ()
    is_whole: bool = True  # all images were listed
