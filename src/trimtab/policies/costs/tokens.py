"""Tokens, as a model tells them: in the custom attributes of its answer, which SageMaker passes on to the caller. Pure.

    X-Amzn-SageMaker-Custom-Attributes: input_tokens=812, output_tokens=143

Any container can set that header, and any handler, through its context; on AWS the same code does no harm. Nothing is
guessed from bodies: a model that tells nothing has no price per token.
"""

from __future__ import annotations

import re
from typing import Final

_TOLD: Final = re.compile(r"(?:^|[\s,;])(input|output)_tokens\s*=\s*(\d{1,12})(?=$|[\s,;])")
NONE: Final = (0, 0)


def tokens_of(custom_attributes: str) -> tuple[int, int]:
    """Input and output tokens; of what is told twice the last. What is not told is 0."""
    if "_tokens" not in custom_attributes:
        return NONE
    told = {name: int(count) for name, count in _TOLD.findall(custom_attributes)}
    return told.get("input", 0), told.get("output", 0)
