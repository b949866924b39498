"""Runs trimtab's own nursery, as the supervisor would: SOCKET LIFELINE_FD. Prints `listening` when it does."""

import sys
from pathlib import Path

from trimtab import logs
from trimtab.engines.local.nursery import main
from trimtab.lives import newborn_life
from trimtab.worker.rehearsal import rehearse

if __name__ == "__main__":
    logs.configure("nursery")
    sys.exit(
        main(
            Path(sys.argv[1]),
            int(sys.argv[2]),
            newborn_life(),
            ["numpy"],
            rehearse=rehearse,
            on_listening=lambda: print("listening", flush=True),
        )
    )
