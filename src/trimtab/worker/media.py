"""Content types: names, aliases, and what to answer when a caller accepts several."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from trimtab.worker.answers import Fault

JSON = "application/json"
JSON_LINES = "application/jsonlines"
CSV = "text/csv"
NPY = "application/x-npy"
NPZ = "application/x-npz"
LIBSVM = "text/libsvm"
ANY = "*/*"

_ALIASES = {
    "application/x-jsonlines": JSON_LINES,
    "application/jsonl": JSON_LINES,
    "application/x-ndjson": JSON_LINES,
    "text/x-libsvm": LIBSVM,
    "text/json": JSON,
    "application/csv": CSV,
}


@lru_cache(maxsize=1024)
def base(content_type: str) -> str:
    """`Text/CSV; charset=utf-8` -> `text/csv`; other names of one format become the first."""
    name = content_type.partition(";")[0].strip().lower()
    return _ALIASES.get(name, name)


@lru_cache(maxsize=1024)
def negotiate(accept: str, offered: Sequence[str], otherwise: str) -> str:
    """Choose from `offered` (a tuple) for an Accept header; `otherwise` when the caller does not care.

    The header may be a list with qualities; among equals the first one named wins. Raises Fault 406.
    """
    ranges = [_range(part) for part in accept.split(",") if part.strip()]
    if not ranges:
        return otherwise
    for quality, wanted in sorted(ranges, key=lambda pair: -pair[0]):
        if quality <= 0:
            continue
        if wanted in (ANY, "*") or (otherwise.startswith(wanted.removesuffix("*")) and wanted.endswith("/*")):
            return otherwise
        for name in offered:
            if wanted == name or (wanted.endswith("/*") and name.startswith(wanted[:-1])):
                return name
    raise Fault(
        406,
        f"The model cannot answer in any type that the caller accepts ({accept}). It can answer in: "
        f"{', '.join(offered)}.",
    )


def unsupported(content_type: str, known: Sequence[str]) -> Fault:
    """415: nobody here reads such a body."""
    said = f"The content type {content_type!r}" if content_type else "A body without a content type"
    return Fault(
        415,
        f"{said} is not supported by this model. Supported: {', '.join(known)}. A script with an input_fn can read "
        "anything.",
    )


def _range(part: str) -> tuple[float, str]:
    name, _, parameters = part.partition(";")
    quality = 1.0
    for parameter in parameters.split(";"):
        key, _, value = parameter.strip().partition("=")
        if key == "q":
            try:
                quality = float(value)
            except ValueError:
                quality = 0.0
    return quality, base(name)
