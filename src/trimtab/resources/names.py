"""Names: what AWS allows, and how it compares them."""

from __future__ import annotations

import re

from trimtab.errors import Invalid

_NAME = re.compile(r"[a-zA-Z0-9](?:-*[a-zA-Z0-9])*")
MAX_NAME = 63


def is_name(text: str) -> bool:
    """Whether AWS takes it as a name: 1 to 63 letters, digits and inner hyphens (`[a-zA-Z0-9](-*[a-zA-Z0-9])*`)."""
    return len(text) <= MAX_NAME and _NAME.fullmatch(text) is not None


def check_name(kind: str, name: str) -> str:
    """Return `name`; Invalid unless it `is_name`. Names become folders and parts of ARNs, so nothing else may pass,
    whoever calls."""
    if not is_name(name):
        raise Invalid(
            f"The {kind} name {name[:80]!r} is not valid: use 1 to {MAX_NAME} letters, digits and hyphens, "
            "beginning and ending with a letter or digit."
        )
    return name


def key_of(name: str) -> str:
    """What names are compared by: AWS holds `Fraud` and `fraud` to be the same name."""
    return name.casefold()
