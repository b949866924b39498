"""`python -m trimtab.worker [FILE]`: a worker in a fresh interpreter.

For replicas whose requirements replace a package that the nursery has imported already. The WorkerLaunch comes as
MessagePack from FILE, else from standard input up to its end.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from trimtab.resources.launch import WorkerLaunch
from trimtab.worker.main import run

if __name__ == "__main__":
    data = Path(sys.argv[1]).read_bytes() if len(sys.argv) > 1 else sys.stdin.buffer.read()
    run(msgspec.msgpack.decode(data, type=WorkerLaunch))
