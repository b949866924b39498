"""Whether to trace: OpenTelemetry's environment variables, and what must be installed for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from trimtab.errors import Invalid

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from opentelemetry.sdk.trace.export import SpanExporter

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_HTTP: Final = "http/protobuf"
_OTLP: Final[Mapping[str, str]] = {_HTTP: "otlp_proto_http", "grpc": "otlp_proto_grpc"}
_GROUP: Final = "opentelemetry_traces_exporter"
_MOST: Final = 1_000_000
_CURE: Final = "Install it (pip install 'trimtab[otel]'), or unset the variable."


def exporter_names(environment: Mapping[str, str]) -> list[str]:
    """The exporters that the environment asks for, by their entry points' names; none: traces are off.

    Source: OpenTelemetry's "Environment Variable Specification". Unlike an SDK, which exports to localhost by default,
    trimtab exports only where a variable says so.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    chosen = [part.strip() for part in environment.get("OTEL_TRACES_EXPORTER", "").split(",") if part.strip()]
    if not chosen and any(environment.get(name) for name in _ENDPOINTS):
        chosen = ["otlp"]
    return [_otlp(environment) if name == "otlp" else name for name in chosen if name != "none"]


def exporters(environment: Mapping[str, str]) -> list[EntryPoint]:
    """Where to find what `exporter_names` says. Raises Invalid, with the cure, where it is not installed."""
    names = exporter_names(environment)
    if not names:
        return []
    from importlib.metadata import entry_points
    from importlib.util import find_spec

    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        raise Invalid(f"{_why(environment)} turns traces on, but OpenTelemetry is not installed. {_CURE}")
    found = {point.name: point for point in entry_points(group=_GROUP)}
    if missing := [name for name in names if name not in found]:
        raise Invalid(
            f"{_why(environment)} asks for the trace exporter {missing[0]!r}, which is not installed here; there is "
            f"{', '.join(sorted(found)) or 'none'}. {_CURE}"
        )
    return [found[name] for name in dict.fromkeys(names)]


def make_exporters(environment: Mapping[str, str]) -> list[SpanExporter]:
    """The exporters that the environment asks for. Raises Invalid also where one does not take its own settings."""
    made = []
    for point in exporters(environment):
        try:
            made.append(point.load()())
        except Exception as error:  # whatever the exporter's maker raises is about its settings
            raise Invalid(f"The trace exporter {point.name} cannot be made: {error}") from error
    return made


class QueueSize(NamedTuple):
    """Of the spans that wait to be exported: the most in all, and in one batch."""

    most: int
    batch: int


def queue_of(environment: Mapping[str, str]) -> QueueSize:
    """OTEL_BSP_MAX_QUEUE_SIZE and OTEL_BSP_MAX_EXPORT_BATCH_SIZE. Raises Invalid for what is no size."""
    most = _size(environment, "OTEL_BSP_MAX_QUEUE_SIZE", 2048)
    batch = _size(environment, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", min(512, most))
    if batch > most:
        raise Invalid("OTEL_BSP_MAX_EXPORT_BATCH_SIZE must not be over OTEL_BSP_MAX_QUEUE_SIZE (2048 unless set).")
    return QueueSize(most, batch)


def check(environment: Mapping[str, str]) -> None:
    """Raises Invalid, with the cure, where traces are asked for and cannot be made."""
    if make_exporters(environment):
        queue_of(environment)


def _size(environment: Mapping[str, str], name: str, otherwise: int) -> int:
    text = environment.get(name, "").strip()
    if not text:
        return otherwise
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= _MOST):
        raise Invalid(f"{name} is {text!r}; it must be a number between 1 and {_MOST}.")
    return int(text)


def _otlp(environment: Mapping[str, str]) -> str:
    protocol = next((value for name in _PROTOCOLS if (value := environment.get(name, "").strip())), _HTTP)
    if protocol not in _OTLP:
        raise Invalid(f"The OTLP protocol {protocol!r} is not supported: set http/protobuf or grpc.")
    return _OTLP[protocol]


def _why(environment: Mapping[str, str]) -> str:
    return next(name for name in ("OTEL_TRACES_EXPORTER", *_ENDPOINTS) if environment.get(name))
