"""What a freshly forked process must shed of its parent's, whatever it is going to be."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable


def close_descriptors(keep: Iterable[int] = ()) -> None:
    """Close all inherited descriptors but 0, 1, 2 and `keep`; stdin reads nothing."""
    kept = {0, 1, 2, *keep}
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            try:
                os.close(int(name))
            except OSError:
                continue  # the listing's own descriptor
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    if null != 0:
        os.close(null)


def reset_signals() -> None:
    """As a new program has them, but for SIGINT and SIGPIPE, which are ignored."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the supervisor, which tells everyone
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
