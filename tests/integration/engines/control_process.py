"""A control that starts replicas and waits to be killed: DATA_DIR ID..."""

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from house import tiny

from trimtab.clock import SystemClock
from trimtab.config import Paths
from trimtab.engines.local.engine import LocalEngine


async def main() -> None:
    async def fetch(url: str, compressed: bool, timeout_s: float) -> object:
        raise AssertionError

    engine = LocalEngine(Paths(Path(sys.argv[1])), fetch, SystemClock())  # type: ignore[arg-type]
    await engine.open()
    print("open", flush=True)
    for name in sys.argv[2:]:
        await engine.start(tiny("ready", name, environment={"MODEL_SERVER_WORKERS": "1"}))
        await asyncio.sleep(0.002)
    await asyncio.Event().wait()


asyncio.run(main())
