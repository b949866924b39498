"""Training and transform jobs, as far as an audit looks at them."""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

_RUN: Final = re.compile(r"(?:[-_.]?(?:\d+|[0-9a-f]{8,}))+$")


class TrainingJob(Struct, frozen=True, kw_only=True):
    """One training job. `billable_s` is what spot has left of `training_s`; 0 while nothing was trained."""

    name: str
    arn: str
    status: str
    created_s: float
    image: str
    instance_type: str
    instance_count: int
    is_spot: bool
    checkpoints: str = ""  # s3:// where it writes them; "": nowhere
    output: str = ""  # s3:// where its artifact went
    training_s: float = 0.0
    billable_s: float = 0.0
    max_runtime_s: int = 86_400

    @property
    def family(self) -> str:
        """What its runs have in common: the name without dates, numbers and random letters at its end."""
        return _RUN.sub("", self.name) or self.name


class TransformJob(Struct, frozen=True, kw_only=True):
    """One batch transform job."""

    name: str
    status: str
    created_s: float
    seconds: float
    model: str = ""
    instance_type: str = ""
    instance_count: int = 0
