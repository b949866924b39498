"""A trimtab of a demo's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TRIMTAB = Path(sys.executable).with_name("trimtab")


@contextmanager
def serving(data_dir: Path) -> Iterator[None]:
    """Run `trimtab serve` on a free port and point this process's AWS clients to it."""
    log = (data_dir.parent / "serve.log").open("w")
    command = [TRIMTAB, "serve", "--port", "0", "--data-dir", str(data_dir)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        if "ready" not in line:
            raise SystemExit("trimtab did not start:\n" + Path(log.name).read_text())
        answer = subprocess.run(
            [TRIMTAB, "env", "--json", "--data-dir", str(data_dir)], check=True, capture_output=True, text=True
        )
        os.environ.update(json.loads(answer.stdout))
        os.environ["TRIMTAB_DATA_DIR"] = str(data_dir)
        yield
    finally:
        server.terminate()
        server.wait()
        log.close()
