"""What trimtab does not do is refused by name: better than a member that is taken and silently has no effect."""

from __future__ import annotations

from trimtab.errors import Invalid


def not_supported_yet(member: str, hint: str = "") -> Invalid:
    """A ValidationException that names the member and says what to do instead."""
    advice = hint or "Leave it out."
    return Invalid(f"{member} is not supported yet by trimtab. {advice} docs/operations.md says what is supported.")
