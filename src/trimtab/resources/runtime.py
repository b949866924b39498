"""Runtime: what program serves a model. Resolved from an image name by a table that users can extend."""

from __future__ import annotations

import enum

from msgspec import Struct


class RuntimeKind(enum.StrEnum):
    """Who runs the model server."""

    PYTHON = "python"  # trimtab's own worker, forked from the nursery
    COMMAND = "command"  # any program that keeps the container contract
    CONTAINER = "container"  # an image, by the machine's container engine


class Flavor(enum.StrEnum):
    """Which container's default handlers a script-less or partial model gets (semantics 2.5)."""

    PLAIN = "plain"
    PYTORCH = "pytorch"
    SKLEARN = "sklearn"
    XGBOOST = "xgboost"
    HUGGINGFACE = "huggingface"


class Runtime(Struct, frozen=True, kw_only=True):
    """A resolved image. `imports` are the modules that a nursery should hold before it forks such a worker."""

    kind: RuntimeKind = RuntimeKind.PYTHON
    flavor: Flavor = Flavor.PLAIN
    image: str = ""
    imports: tuple[str, ...] = ()
    command: tuple[str, ...] = ()  # COMMAND: argv; `{model_dir}` and `{port}` are filled in
