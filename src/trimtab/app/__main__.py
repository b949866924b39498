"""`python -m trimtab.app PROCESS ...`: what the supervisor starts."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable

import msgspec

from trimtab import logs
from trimtab.app.processes import consumer, gateway, nursery, queues
from trimtab.app.serving import CONFIG_VARIABLE
from trimtab.config import Config
from trimtab.process import run_until_stopped


def main(argv: list[str]) -> int:
    """Be the process that `argv` names, until it is to stop; returns the exit status."""
    from pathlib import Path

    from setproctitle import setproctitle

    def path(kind: type, value: str) -> Path:
        return Path(value)

    config = msgspec.json.decode(os.environ[CONFIG_VARIABLE], type=Config, dec_hook=path)
    process = " ".join(argv[:2]) if argv[0] == "gateway" else argv[0]
    setproctitle(f"trimtab: {process}")
    logs.configure(process, config.log_level)
    if argv[0] == "nursery":
        return nursery(config)

    async def control(stop: asyncio.Event) -> None:
        from trimtab.app.control import control as run_control  # no other process is to pay for what it imports

        await run_control(config, stop)

    works: dict[str, Callable[[asyncio.Event], Awaitable[None]]] = {
        "gateway": lambda stop: gateway(config, int(argv[1]), int(argv[2]), stop),
        "queues": lambda stop: queues(config, stop),
        "consumer": lambda stop: consumer(config, argv[1], stop),
        "control": control,
    }
    return run_until_stopped(works[argv[0]])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
