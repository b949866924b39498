"""Model: which containers serve, from which artifact, with which environment."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field


class Artifact(Struct, frozen=True, kw_only=True):
    """Where a container's files come from.

    `url` is `s3://bucket/key`. With `compressed` it is one gzip'd tar; otherwise a prefix (ending in `/`) or one
    object, copied as it is.
    """

    url: str
    compressed: bool = True


class Container(Struct, frozen=True, kw_only=True):
    """One model server: an image, its artifact, its environment."""

    image: str = ""
    hostname: str = ""  # AWS: ContainerHostname; error texts call the container by it ("primary" when empty)
    multi_model: bool = False  # the artifact is a prefix: models below it are loaded when requests name them
    model_cache: bool = True  # AWS: MultiModelConfig.ModelCacheSetting; False: a model is unloaded after each request
    artifact: Artifact | None = None
    environment: dict[str, str] = field(default_factory=dict)


class Model(Struct, frozen=True, kw_only=True):
    """A named, immutable set of containers. `document` is the caller's declaration, kept for Describe."""

    name: str
    created_s: float
    containers: tuple[Container, ...]
    document: dict[str, Any] = field(default_factory=dict)
