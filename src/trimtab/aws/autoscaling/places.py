"""What a call is about: AWS's service namespace, resource ID and scalable dimension as an endpoint's variant."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Protocol, TypeVar

from msgspec import Struct

from trimtab.aws.sagemaker.refusals import not_supported_yet
from trimtab.errors import Invalid, NotFound
from trimtab.resources.names import key_of
from trimtab.resources.scaling import PROVISIONED, VARIANT_COUNT

NAMESPACE: Final = "sagemaker"
_FORM: Final = "endpoint/ENDPOINT/variant/VARIANT"
_RESOURCE = re.compile(r"endpoint/([^/]+)/variant/([^/]+)")
_COMPONENT: Final = "inference-component/"
DIMENSIONS: Final = (VARIANT_COUNT, PROVISIONED)
_LATER: Final = ("sagemaker:inference-component:DesiredCopyCount",)
_UNSUPPORTED: Final = "Unsupported service namespace, resource type or scalable dimension"  # AWS's words


class Scaled(Protocol):
    """A target, and whatever belongs to one."""

    @property
    def endpoint(self) -> str:
        """Its endpoint's name."""
        ...

    @property
    def variant(self) -> str:
        """Its variant's name."""
        ...

    @property
    def dimension(self) -> str:
        """AWS's ScalableDimension."""
        ...


ScaledT = TypeVar("ScaledT", bound=Scaled)


class Place(Struct, frozen=True):
    """Where a target is, or would be."""

    endpoint: str
    variant: str
    dimension: str

    def is_of(self, other: Scaled) -> bool:
        """Whether `other` is at this place; names are compared without regard to case."""
        return order_of(self) == order_of(other)


def order_of(scaled: Scaled) -> tuple[str, str, str]:
    """By what listings are sorted, and places compared."""
    return key_of(scaled.endpoint), key_of(scaled.variant), scaled.dimension


def resource_id(scaled: Scaled) -> str:
    """AWS's ResourceId."""
    return f"endpoint/{scaled.endpoint}/variant/{scaled.variant}"


def described_place(scaled: Scaled) -> dict[str, str]:
    """The three members that say where."""
    return {
        "ServiceNamespace": NAMESPACE,
        "ResourceId": resource_id(scaled),
        "ScalableDimension": scaled.dimension,
    }


def place_of(params: Mapping[str, Any]) -> Place:
    """What a call that names one target is about. Raises Invalid."""
    check_namespace(params)
    dimension = params["ScalableDimension"]
    _check_dimension(dimension)
    return Place(*_names_of(params["ResourceId"]), dimension)


def check_namespace(params: Mapping[str, Any]) -> None:
    """Raises Invalid for every namespace but SageMaker's."""
    if params["ServiceNamespace"] != NAMESPACE:
        raise Invalid(
            f"{_UNSUPPORTED}: {params['ServiceNamespace'][:60]}. trimtab scales the service namespace {NAMESPACE}, with"
            f" the dimensions {' and '.join(DIMENSIONS)} of resources {_FORM}."
        )


def chosen(items: Iterable[ScaledT], params: Mapping[str, Any]) -> Iterator[ScaledT]:
    """Those that a Describe call asks for, by ResourceId or ResourceIds and ScalableDimension. Raises Invalid."""
    return filter(chooser(params), items)


def chooser(params: Mapping[str, Any]) -> Callable[[Scaled], bool]:
    """Whether a Describe call asks for something. Raises Invalid for what cannot choose anything."""
    check_namespace(params)
    ids: list[str] = params.get("ResourceIds") or ([params["ResourceId"]] if "ResourceId" in params else [])
    dimension = params.get("ScalableDimension")
    if dimension is not None and not ids:
        raise Invalid("You must specify a resource ID when you specify a scalable dimension.")
    # There are no inference components to scale yet: none is found.
    names = {tuple(map(key_of, _names_of(id))) for id in ids if not id.startswith(_COMPONENT)}

    def is_wanted(item: Scaled) -> bool:
        return (not ids or order_of(item)[:2] in names) and dimension in (None, item.dimension)

    return is_wanted


def narrowed(params: Mapping[str, Any]) -> tuple[str, str]:
    """Endpoint and variant of a Describe call that names one; ("", "") for any. Raises Invalid."""
    id = params.get("ResourceId", "")
    return _names_of(id) if id and not id.startswith(_COMPONENT) else ("", "")


def missing(kind: str, found: str, place: Place, more: str = "") -> NotFound:
    """AWS's sentence about what is not there: `No scalable target registered for ...`."""
    return NotFound(
        kind,
        resource_id(place),
        f"No {found} for service namespace: {NAMESPACE}, resource ID: {resource_id(place)}, "
        f"scalable dimension: {place.dimension}{more}",
    )


def endpoints_of(params: Any) -> list[str]:
    """The endpoints that a call names: in its resources, and in the dimensions of metrics that a policy reads.

    For permissions, before the call has been validated: takes whatever comes.
    """
    if isinstance(params, Mapping):
        if params.get("Name") == "EndpointName" and isinstance(params.get("Value"), str):
            return [params["Value"]]
        ids = [params.get("ResourceId"), *_listed(params.get("ResourceIds"))]
        named = [match[1] for id in ids if isinstance(id, str) and (match := _RESOURCE.fullmatch(id))]
        return named + [name for value in params.values() for name in endpoints_of(value)]
    return [name for item in _listed(params) for name in endpoints_of(item)]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _check_dimension(dimension: str) -> None:
    if dimension in _LATER:
        raise not_supported_yet(f"The scalable dimension {dimension}", f"Use {' or '.join(DIMENSIONS)}.")
    if dimension not in DIMENSIONS:
        raise Invalid(f"{_UNSUPPORTED}: {dimension[:100]}. Those of {NAMESPACE} are {' and '.join(DIMENSIONS)}.")


def _names_of(id: str) -> tuple[str, str]:
    match = _RESOURCE.fullmatch(id)
    if match is None:
        raise Invalid(f"{_UNSUPPORTED}: the resource ID {id[:200]!r} does not have the form {_FORM}.")
    return match[1], match[2]
