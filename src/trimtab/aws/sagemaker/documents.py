"""What the caller declared, kept so that Describe can say it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def kept(params: Mapping[str, Any], *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """`params` less `without`, and less every member that says nothing (None, `{}`, `[]`), at any depth.

    A `{}` in a Describe answer breaks clients: the sagemaker SDK v3 raises on `"VpcConfig": {}`, and v2 sends it back
    and then fails its own validation.
    """
    pruned = ((key, _pruned(value)) for key, value in params.items() if key not in without)
    return {key: value for key, value in pruned if not _says_nothing(value)}


def _pruned(value: Any) -> Any:
    if isinstance(value, Mapping):
        return kept(value)
    if isinstance(value, list):
        return [_pruned(item) for item in value]
    return value


def _says_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, dict | list) and not value)
