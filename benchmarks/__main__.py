"""All figures of docs/benchmarks.md, one program after the other (`make bench`; about ten minutes).

python -m benchmarks [NAME ...]      only these, by file name
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAMS = {
    "dataplane": [],
    "sigv4": [],
    "worker_dataplane": [],
    "startup": [],
    "birth": [],
    "transitions": [],
    "fuzz_edge": ["--requests", "100000", "--seed", "1"],
}


def main() -> int:
    """Run them; 1 when one of them failed or is unknown."""
    wanted = sys.argv[1:] or list(PROGRAMS)
    if unknown := [name for name in wanted if name not in PROGRAMS]:
        print(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(PROGRAMS)}", file=sys.stderr)
        return 1
    failed = []
    for name in wanted:
        print(f"\n== {name} ==", flush=True)
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}", *PROGRAMS[name]], cwd=Path(__file__).parents[1]
        )
        if done.returncode:
            failed.append(name)
    if failed:
        print(f"failed, or over their goals: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
