"""What can be wrong with a request before its handler sees it. `aws/faults.py` gives these AWS's codes."""

from __future__ import annotations

import enum

from trimtab.errors import Invalid


class Part(enum.StrEnum):
    """Where in the request the fault lies; S3 has a code for each."""

    BODY = "body"
    ARGUMENT = "argument"  # header, query string
    URI = "uri"


class Malformed(Invalid):
    """The bytes are not what the protocol or a member's type wants; nothing of the request was looked at further."""

    reason = "Malformed"

    def __init__(self, message: str, part: Part = Part.BODY) -> None:
        super().__init__(message)
        self.part = part


class ConstraintsFailed(Invalid):
    """Members are missing or break the model's constraints; the message lists all of them as AWS does."""

    reason = "ConstraintsFailed"

    def __init__(self, failures: list[str], part: Part = Part.BODY) -> None:
        count = len(failures)
        noun = "error" if count == 1 else "errors"
        super().__init__(f"{count} validation {noun} detected: " + "; ".join(failures))
        self.part = part


class UnknownOperation(Invalid):
    """Nothing of AWS is addressed this way."""

    reason = "UnknownOperation"
