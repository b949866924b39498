"""trimtab serve: claim the folder, take the port, become the supervisor."""

from __future__ import annotations

import os
import secrets
import socket
import sys

import msgspec

from trimtab.clock import SystemClock
from trimtab.config import HOUSE_VARIABLE, Auth, Config
from trimtab.errors import Invalid
from trimtab.listening import allow_many_files, listen

CONFIG_VARIABLE = "TRIMTAB_PROCESS_CONFIG"
LOOPBACK = ("127.", "::1", "localhost")


def serve(config: Config) -> None:
    """Never returns: replaces this process by the supervisor. Raises Invalid with the cure when it cannot serve."""
    from trimtab import datadir
    from trimtab.aws import keys, tracing
    from trimtab.aws.sns import remote
    from trimtab.images import read_runtimes

    if config.auth is Auth.NONE and not config.host.startswith(LOOPBACK):
        raise Invalid(
            f"--auth none lets anybody in, so it works on loopback only, not on {config.host}. "
            "Leave --auth away, or listen on 127.0.0.1."
        )
    tracing.check(os.environ)
    if config.sns_endpoint_url:
        remote.check(config.sns_endpoint_url, os.environ)
    if config.queues_url:
        check_database(config.queues_url)
    lock_fd = datadir.claim(config.paths)
    keys.ensure(config.paths.keys, now_s=SystemClock().now_s())
    read_runtimes(config.paths.runtimes)  # a mistake in the user's table is told now, not at the first deployment
    allow_many_files()
    listeners = listen(config.host, config.port, config.gateways)
    port = listeners[0].getsockname()[1]
    url = f"http://{'[' + config.host + ']' if ':' in config.host else config.host}:{port}"
    become_supervisor(config, url, listeners, lock_fd)


def check_database(url: str) -> None:
    """Invalid, with the cure, when queues cannot be kept in that database."""
    if not url.startswith(("postgresql://", "postgres://")):
        raise Invalid("--queues-url: it is postgresql://USER:PASSWORD@HOST:PORT/DATABASE.")
    try:
        from trimtab.queues import postgresql
    except ImportError as error:
        raise Invalid(f"--queues-url: PostgreSQL needs `pip install 'trimtab[postgresql]'` ({error}).") from error
    postgresql.check(url)


def become_supervisor(config: Config, url: str, listeners: list[socket.socket], lock_fd: int) -> None:
    """Exec `trimtab.supervisor` with its orders. The lock and the listening sockets stay open in it."""
    python = [sys.executable, "-m", "trimtab.app"]
    children: list[dict[str, object]] = [
        {"name": "queues", "argv": [*python, "queues"], "fds": []},
        {"name": "control", "argv": [*python, "control"], "fds": []},
        {"name": "nursery", "argv": [*python, "nursery"], "fds": []},
        {"name": "consumer", "argv": [*python, "consumer", url], "fds": []},
    ]
    for index, listener in enumerate(listeners):
        argv = [*python, "gateway", str(index), str(listener.fileno())]
        children.append({"name": f"gateway {index}", "argv": argv, "fds": [listener.fileno()]})
    orders = {
        "children": children,
        "server_file": str(config.paths.server),
        "url": url,
        "region": config.region,
        "run_dir": str(config.paths.run_dir),
        "record_dirs": [str(folder) for folder in config.paths.record_dirs],
    }
    os.set_inheritable(lock_fd, True)
    for listener in listeners:
        listener.set_inheritable(True)
    environment = dict(os.environ)
    environment["TRIMTAB_SUPERVISE"] = msgspec.json.encode(orders).decode()
    environment[HOUSE_VARIABLE] = secrets.token_hex(8)
    environment[CONFIG_VARIABLE] = msgspec.json.encode(config, enc_hook=str).decode()
    sys.stdout.flush()
    keep = [lock_fd, *(listener.fileno() for listener in listeners)]
    os.execve(sys.executable, [sys.executable, "-m", "trimtab.supervisor", *map(str, keep)], environment)
