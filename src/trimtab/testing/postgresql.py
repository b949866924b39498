"""A PostgreSQL server of the tests' own: in a folder, on a Unix socket there, as a user that is not root."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg

PLACES: Final = "/usr/lib/postgresql"  # Debian's: VERSION/bin
UNPRIVILEGED: Final = "nobody"  # PostgreSQL refuses to be root
SCHEMA: Final = "trimtab_queues"


def programs() -> Path | None:
    """The folder of `initdb` and `pg_ctl`, of the newest version; None: PostgreSQL is not installed."""
    found = sorted(Path(PLACES).glob("*/bin/pg_ctl"), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which("pg_ctl")
    candidates = [*found, *([Path(on_path).resolve()] if on_path else [])]
    fit = [path.parent for path in candidates if (path.parent / "initdb").exists()]
    return fit[-1 if found else 0] if fit else None


class PostgresServer:
    """Runs in a folder of its own. It can be stopped and started."""

    def __init__(self, bin_dir: Path, folder: Path, *, fsync: bool = False) -> None:
        self._bin, self._folder = bin_dir, folder
        self._fsync = "on" if fsync else "off"  # off: the machine stays up
        self._user: int | None = pwd.getpwnam(UNPRIVILEGED).pw_uid if os.geteuid() == 0 else None
        if self._user is not None:
            os.chown(folder, self._user, -1)
        self._run("initdb", "--auth=trust", "--username=trimtab", "--no-sync", "--encoding=UTF8", "--locale=C")

    def _run(self, program: str, *arguments: str) -> None:
        argv = [str(self._bin / program), "-D", str(self._folder / "data"), *arguments]
        subprocess.run(argv, cwd=self._folder, user=self._user, check=True, stdout=subprocess.DEVNULL, timeout=60)

    def start(self) -> None:
        """Serve."""
        options = f"-k {self._folder} -c listen_addresses= -c max_connections=50 -c fsync={self._fsync}"
        self._run("pg_ctl", "start", "-w", "-l", str(self._folder / "log"), "-o", options)

    def stop(self, how: str = "immediate") -> None:
        """`immediate` is a crash; `fast` ends connections in good order."""
        self._run("pg_ctl", "stop", "-w", "-m", how)

    def url(self) -> str:
        """Of its database."""
        return f"postgresql://trimtab@/postgres?host={self._folder}"

    def empty(self) -> str:
        """The URL of a database without queues. There is one database: what was in it is gone."""
        with _connect(self.url()) as connection:
            tables = connection.execute(
                "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = %s AND tablename != 'format'",
                (SCHEMA,),
            ).fetchall()
            for (table,) in tables:  # much quicker than to make tables anew
                connection.execute(f"DELETE FROM {SCHEMA}.{table}")
        return self.url()


def _connect(url: str) -> psycopg.Connection[Any]:
    return psycopg.connect(url, autocommit=True)


@contextmanager
def postgres_server(bin_dir: Path, *, fsync: bool = False) -> Iterator[PostgresServer]:
    """A server that serves, gone at the end. `fsync`: what it has answered outlives the machine's crash, too."""
    folder = Path(tempfile.mkdtemp(prefix="tt-pg-", dir="/tmp"))
    try:
        server = PostgresServer(bin_dir, folder, fsync=fsync)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)
