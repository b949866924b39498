"""Filter patterns, as AWS's "Filter pattern syntax" documents them: terms, JSON, space-delimited. Pure.

Not there: regular expressions (`%...%`), which AWS has too; they are refused by name. Where AWS's page is silent:
a JSON field that is absent meets `NOT EXISTS` and no comparison, `!=` included.
"""

from __future__ import annotations

from collections.abc import Callable

from trimtab.aws.logs.patterns import terms


def parse(pattern: str) -> Callable[[str], bool]:
    """Whether a message matches `pattern`, as a function. Raises Invalid for what is no pattern."""
    text = pattern.strip()
    if text.startswith("{"):
        from trimtab.aws.logs.patterns import json_fields  # with a parser generator: only who needs it pays

        return json_fields.parse(text)
    if text.startswith("["):
        from trimtab.aws.logs.patterns import delimited

        return delimited.parse(text)
    return terms.parse(text)
