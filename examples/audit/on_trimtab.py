"""A trimtab to try `trimtab audit` on: endpoints with faults, each beside one without, that have been called for weeks.

    python examples/audit/on_trimtab.py history DATA_DIR [ENDPOINT ...]    # before the first `trimtab serve`
    trimtab serve --data-dir DATA_DIR
    eval "$(trimtab env --data-dir DATA_DIR)"
    python examples/audit/on_trimtab.py endpoints [ENDPOINT ...]
    trimtab audit

The past is written by the store that trimtab itself keeps metrics in, under a clock that steps through those weeks;
PutMetricData refuses metrics of AWS's own namespaces, here as on AWS. Nothing of the traffic was real.
"""

from __future__ import annotations

import sys
import time
from functools import cache
from pathlib import Path

import boto3

from trimtab.testing.account import Case
from trimtab.testing.own_account import OWN_CASES, populate, prepare


def chosen(names: list[str]) -> tuple[Case, ...]:
    """The endpoints of these names; all of them without any."""
    known = {case.name: case for case in OWN_CASES}
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"There is no endpoint {unknown[0]}. There are {', '.join(known)}.")
    return tuple(known[name] for name in names or known)


def main() -> None:
    """Write the history, or make the endpoints that it is of."""
    match sys.argv[1:]:
        case ["history", data_dir, *names]:
            prepare(Path(data_dir), time.time(), cases=chosen(names))
        case ["endpoints", *names]:
            populate(cache(boto3.client), cases=chosen(names))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
