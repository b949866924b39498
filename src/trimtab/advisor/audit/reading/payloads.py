"""How large requests are. AWS has no metric of it: data capture's files tell, by their sizes alone. trimtab counts.

The files are listed, never read: what callers have sent is nobody else's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from msgspec.structs import replace

from trimtab.advisor.audit.account import Endpoint, Payload, Variant
from trimtab.advisor.audit.reading.metrics import Key, read_sizes
from trimtab.advisor.audit.reading.reader import Reader
from trimtab.advisor.audit.series import HOUR_S, Series

_HOURS: Final = 6  # of the hours with requests, the newest: each is one listing
_MOST_HOURS: Final = 12  # where too few were captured in these: by night, say
_OBJECTS: Final = 2000  # at most, of one hour
_ENCODED: Final = 4 / 3  # AWS: data capture keeps bytes that are no text in base64
_CAPTURE: Final = "data capture"
_COUNTED: Final = "trimtab's RequestBytes and ResponseBytes"
_FEWEST: Final = 10  # captured requests, for a mean to mean something


def with_payloads(reader: Reader, endpoints: Sequence[Endpoint], *, days: int, now_s: float) -> tuple[Endpoint, ...]:
    """The endpoints, each with the mean size of its requests and answers where that is told; where not, that is
    noted."""
    sized = tuple(reader.each(lambda endpoint: _captured(reader, endpoint), endpoints))
    if not reader.is_aws:
        sized = _counted(reader, sized, days=days, now_s=now_s)
    _note_unknown(reader, sized)
    return sized


def _counted(reader: Reader, endpoints: Sequence[Endpoint], *, days: int, now_s: float) -> tuple[Endpoint, ...]:
    """By trimtab's own metrics, of all requests: where no capture tells."""
    keys = [
        (endpoint.name, variant.name)
        for endpoint in endpoints
        if endpoint.is_real_time and endpoint.payload is None
        for variant in endpoint.variants
    ]
    sizes = read_sizes(reader, keys, days=days, now_s=now_s)
    return tuple(_with_sizes(endpoint, sizes) for endpoint in endpoints)


def _with_sizes(endpoint: Endpoint, sizes: Mapping[Key, tuple[float, float]]) -> Endpoint:
    mine = [sizes[key] for variant in endpoint.variants if (key := (endpoint.name, variant.name)) in sizes]
    requests = sum(count for count, _ in mine)
    if not requests:
        return endpoint
    mean_bytes = sum(size_bytes for _, size_bytes in mine) / requests
    return replace(endpoint, payload=Payload(mean_bytes=mean_bytes, requests=round(requests), how=_COUNTED))


def _captured(reader: Reader, endpoint: Endpoint) -> Endpoint:
    """The endpoint with the mean size of its requests and answers, where data capture is on and has caught some."""
    if not (endpoint.capture_uri and endpoint.capture_percent and endpoint.is_real_time):
        return endpoint
    size_bytes = requests = 0.0
    for variant in endpoint.variants:
        for index, (hour_s, count) in enumerate(_newest(variant.requests)):
            if index >= _HOURS and requests >= _FEWEST:
                break
            captured = _listed_bytes(reader, endpoint, variant, hour_s)
            if captured is None:
                return endpoint
            if captured:
                size_bytes += captured / _ENCODED
                requests += count * endpoint.capture_percent / 100
    if requests < _FEWEST:
        return endpoint
    return replace(
        endpoint, payload=Payload(mean_bytes=float(size_bytes / requests), requests=round(requests), how=_CAPTURE)
    )


def _newest(requests: Series | None) -> list[tuple[float, float]]:
    """The newest hours with requests, the last one first: their start, and how many there were."""
    if requests is None:
        return []
    hours = requests.summed(HOUR_S)
    asked = [(hours.start_s + i * HOUR_S, float(count)) for i, count in enumerate(hours.filled) if count > 0]
    return asked[: -_MOST_HOURS - 1 : -1]


def _listed_bytes(reader: Reader, endpoint: Endpoint, variant: Variant, hour_s: float) -> int | None:
    bucket, _, prefix = endpoint.capture_uri.removeprefix("s3://").partition("/")
    hour = datetime.fromtimestamp(hour_s, UTC)
    # AWS: {destination}/{endpoint}/{variant}/yyyy/mm/dd/hh/filename.jsonl
    folder = "/".join(filter(None, (prefix.strip("/"), endpoint.name, variant.name, f"{hour:%Y/%m/%d/%H}/")))
    listed = reader.pages(
        "s3",
        "list_objects_v2",
        "Contents",
        "Sizes of captured requests",
        absent=("NoSuchBucket",),
        at_most=_OBJECTS,
        Bucket=bucket,
        Prefix=folder,
    )
    if listed is None:
        return None
    return sum(entry["Size"] for entry in listed) if len(listed) < _OBJECTS else 0  # a part would be too small a mean


def _note_unknown(reader: Reader, endpoints: Iterable[Endpoint]) -> None:
    """Say of how many real-time endpoints nothing tells the size of their requests."""
    unknown = [
        each.name
        for each in endpoints
        if each.is_real_time and each.payload is None and each.status == "InService" and _may_be_asked(each)
    ]
    if unknown:
        shown = ", ".join(unknown[:3]) + (", ..." if len(unknown) > 3 else "")
        reader.note(
            f"Sizes of requests of {len(unknown)} real-time endpoints ({shown})",
            "CloudWatch has no metric of it, and data capture is off or has caught too few",
        )


def _may_be_asked(endpoint: Endpoint) -> bool:
    """Whether it has requests that have a size, as far as was seen."""
    return any(variant.requests is None or variant.requests.total > 0 for variant in endpoint.variants)
