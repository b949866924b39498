"""Which model a variant's replicas have, where it is one: costs that are told by model are told by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from trimtab.errors import NotFound
from trimtab.resources.endpoint_config import EndpointConfig
from trimtab.resources.model import Model

ModelOf = Callable[[str, str], str]
"""Version (an endpoint config's name) and variant; the model's name, "" where there are several or nobody knows."""


class Declared(Protocol):
    """What was declared, by name. NotFound where it is not there (any more)."""

    def get_model(self, name: str) -> Model:
        """A model."""
        ...

    def get_endpoint_config(self, name: str) -> EndpointConfig:
        """An endpoint config."""
        ...


def nobody(version: str, variant: str) -> str:
    """A ModelOf that knows none."""
    return ""


def only_model(declared: Declared) -> ModelOf:
    """As endpoint configs tell it that are still there."""

    def found(version: str, variant: str) -> str:
        try:
            config = declared.get_endpoint_config(version)
            for spec in config.variants:
                if spec.name == variant:
                    model = declared.get_model(spec.model_name)
                    return "" if any(each.multi_model for each in model.containers) else model.name
        except NotFound:
            pass  # deleted since: what it cost stays
        return ""

    return found
