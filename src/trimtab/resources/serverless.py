"""Serverless variants: billed by the millisecond and the GB, at zero when idle."""

from __future__ import annotations

from msgspec import Struct

MAX_PAYLOAD_BYTES = 4 * 2**20  # AWS: 4 MB request of a serverless endpoint
TIMEOUT_S = 60.0  # AWS
SETUP_TIMEOUT_S = 180.0  # AWS: 3 minutes for the download of a container, and as much for its ping
MAX_CONCURRENCY = 200  # AWS
MEMORY_MIB = (1024, 2048, 3072, 4096, 5120, 6144)  # AWS
INSTANCE_TYPE_PREFIX = "ml.serverless."  # no instance type of AWS's: the rest is memory in MiB


class Serverless(Struct, frozen=True, kw_only=True):
    """AWS's ServerlessConfig. One request at a time in each environment (replica)."""

    memory_mib: int  # 1024 to 6144 in steps of 1024
    max_concurrency: int  # 1 to 200: more requests at once are throttled
    provisioned: int = 0  # environments that are always there

    @property
    def instance_type(self) -> str:
        """What engines call the shape of one environment."""
        return f"{INSTANCE_TYPE_PREFIX}{self.memory_mib}"
