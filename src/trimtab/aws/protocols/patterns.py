"""AWS's regular expressions (Java's dialect) as Python's."""

from __future__ import annotations

import logging
import re
from functools import lru_cache

_log = logging.getLogger(__name__)

# Unicode categories as members of a character class. L, M, P and S are a little wider than AWS's: Python's re has no
# tables of categories, and a few exotic characters more do no harm in tags and descriptions.
_CATEGORIES = {
    "L": r"\w",
    "N": r"\d",
    "Z": r" \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000",
    "Zs": r" \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000",
    "M": r"\u0300-\U0010ffff",
    "P": r"!-/:-@\[-`{-~\u00a1-\U0010ffff",
    "S": r"!-/:-@\[-`{-~\u00a1-\U0010ffff",
    "Alnum": "0-9A-Za-z",
    "ASCII": r"\x00-\x7f",
    "Print": r"\x20-\x7e",
}
_QUANTIFIED_END = re.compile(r"\$\{\d+,\d*\}")  # `$` can be repeated in Java, to no effect
_TOKEN = re.compile(r"\\p\{(\w+)\}|\\.|[\[\]]", re.DOTALL)
_ASTRAL = r"\uD800\uDC00-\uDBFF\uDFFF"  # a range of surrogate pairs, as Java writes it


@lru_cache(maxsize=4096)
def compiled(pattern: str) -> re.Pattern[str]:
    """`pattern` compiled, to be used with `match`; AWS anchors it at both ends.

    A pattern that only Java can read (none in the models this was tested with) matches everything, and is logged.
    """
    try:
        return re.compile(rf"(?:{_translated(pattern)})\Z")
    except (re.error, KeyError):
        _log.warning("a pattern of AWS's model is not checked: Python cannot read it pattern=%r", pattern)
        return re.compile("")


def _translated(pattern: str) -> str:
    pattern = _QUANTIFIED_END.sub("$", pattern)
    pattern = pattern.replace(_ASTRAL, r"\U00010000-\U0010ffff").replace(r"\w-_", r"\w\-_")
    in_class = False

    def replace(match: re.Match[str]) -> str:
        nonlocal in_class
        token = match.group()
        if token in "[]":
            in_class = token == "["
        elif category := match.group(1):
            members = _CATEGORIES[category]
            return members if in_class else f"[{members}]"
        return r"\Z" if token == r"\z" else token

    return _TOKEN.sub(replace, pattern)
