"""The consumer of one trimtab: its S3 is the one that trimtab serves itself, and it signs with the root key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from trimtab.aws import keys
from trimtab.aws.remote_objects import RemoteObjects
from trimtab.aws.sigv4.signer import Credentials
from trimtab.config import Config
from trimtab.consumer.process import serve as drain
from trimtab.queues.topics import publication


async def serve(config: Config, url: str, *, stop: asyncio.Event, on_ready: Callable[[], None]) -> None:
    """Drain the queues of asynchronous endpoints until `stop` is set; `url` is where this trimtab answers."""

    def root() -> Credentials:
        key = keys.root_of(keys.load(config.paths.keys), config.paths.keys)
        return Credentials(key.id, key.secret)

    objects = RemoteObjects(url, root, region=config.region)
    await drain(config, objects, publication=publication, stop=stop, on_ready=on_ready)
