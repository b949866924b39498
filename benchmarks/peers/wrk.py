"""wrk, the load generator: how it is run, and what it printed as figures."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import msgspec

INSTALL = "wrk is not installed. `apt-get install wrk` (Debian, Ubuntu), or build it from https://github.com/wg/wrk."

_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_TIMES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}


class Missing(Exception):
    """Something that a person has to install is not there; the message says how."""


class Figures(msgspec.Struct, frozen=True):
    """One run of wrk. `errors` are connections that failed, broke or timed out; `refused` are answers other than 2xx and 3xx."""

    requests: int
    seconds: float
    rate: float  # requests/s, as wrk gives it
    p50_s: float
    p90_s: float
    p99_s: float
    errors: int
    refused: int


def parse(printed: str) -> Figures:
    """Read what `wrk --latency` printed. Raises ValueError where it is not that."""
    total = _find(r"^\s*(\d+) requests in ([\d.]+)([a-z]+)", printed, "the number of requests")
    rate = _find(r"^Requests/sec:\s+([\d.]+)([kMGTP]?)", printed, "Requests/sec")
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", printed)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", printed)
    return Figures(
        requests=int(total[1]),
        seconds=_time(total[2], total[3]),
        rate=float(rate[1]) * _TIMES[rate[2]],
        p50_s=_percentile(50, printed),
        p90_s=_percentile(90, printed),
        p99_s=_percentile(99, printed),
        errors=sum(map(int, broken.groups())) if broken else 0,
        refused=int(refused[1]) if refused else 0,
    )


def _percentile(percent: int, printed: str) -> float:
    found = _find(rf"^\s+{percent}(?:\.0+)?%\s+([\d.]+)([a-z]+)\s*$", printed, f"the {percent}th percentile")
    return _time(found[1], found[2])


def _time(number: str, unit: str) -> float:
    if unit not in _SECONDS:
        raise ValueError(f"wrk gave a time in {unit!r}, which is none of its units")
    return float(number) * _SECONDS[unit]


def _find(pattern: str, printed: str, what: str) -> re.Match[str]:
    found = re.search(pattern, printed, re.MULTILINE)
    if found is None:
        raise ValueError(f"wrk did not print {what}:\n{printed}")
    return found


def script(headers: Mapping[str, str], body: bytes) -> str:
    """A Lua script that sends one request over and over; wrk builds its bytes once, so that it costs nothing."""
    lines = ['wrk.method = "POST"', f"wrk.body = {quoted(body)}"]
    lines += [f"wrk.headers[{quoted(name.encode())}] = {quoted(text.encode())}" for name, text in headers.items()]
    return "\n".join(lines) + "\n"


def quoted(text: bytes) -> str:
    """A Lua string literal for any bytes."""
    plain = {*range(32, 127)} - {ord('"'), ord("\\")}
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03d}" for byte in text) + '"'


def installed() -> str:
    """The path of wrk. Raises Missing."""
    found = shutil.which("wrk")
    if found is None:
        raise Missing(INSTALL)
    return found


def command(url: str, lua: Path, *, connections: int, seconds: int) -> list[str]:
    """One thread, connections kept open, percentiles."""
    options = ["--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s"]
    return [installed(), *options, "--timeout", "10s", "--latency", "--script", str(lua), url]


def run(url: str, lua: Path, *, connections: int, seconds: int) -> Figures:
    """Load for `seconds`. Raises Missing, and RuntimeError where wrk itself fails."""
    done = subprocess.run(
        command(url, lua, connections=connections, seconds=seconds),
        capture_output=True,
        text=True,
        timeout=seconds + 60,
    )
    if done.returncode:
        raise RuntimeError(f"wrk failed: {done.stderr.strip() or done.stdout.strip()}")
    return parse(done.stdout)
