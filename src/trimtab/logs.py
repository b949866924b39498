"""Logs: one event a line, `time level process event key=value ...`, on stderr. stdout is for data."""

from __future__ import annotations

import logging
import sys

_FORMAT = "%(asctime)s.%(msecs)03d %(levelname)-7s {process} %(name)s: %(message)s"


def configure(process: str, level: str = "INFO") -> None:
    """Send every log record of this process to stderr, named `process` (`control`, `gateway 0`, ...)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(_FORMAT.format(process=process), datefmt="%Y-%m-%dT%H:%M:%S"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("botocore", "urllib3", "asyncio"):
        logging.getLogger(noisy).setLevel("WARNING")


def fields(**values: object) -> str:
    """Render `key=value` pairs, quoting what holds spaces: `logger.info("replica ready %s", fields(id=...))`."""
    return " ".join(f"{key}={_quoted(value)}" for key, value in values.items())


def _quoted(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return repr(text) if not text or any(c.isspace() or c == '"' for c in text) else text
