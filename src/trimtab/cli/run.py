"""`trimtab run -- PROGRAM`: any AWS program against trimtab, unchanged, with the sagemaker SDKs' role look-up working.

The SDKs write the STS host into their code, so AWS_ENDPOINT_URL does not move that call. The program therefore gets an
HTTPS proxy that answers this one host with trimtab, and tunnels every other untouched.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import urlsplit

import typer

from trimtab.cli.env import Server, bypasses, exports_for, no_proxy_of, running_server
from trimtab.cli.render import say, say_error
from trimtab.config import Paths, default_data_dir

if TYPE_CHECKING:
    import signal

    from trimtab.cli.proxy.authority import Authority
    from trimtab.cli.proxy.server import ConnectProxy

NOT_FOUND: Final = 127  # as a shell says it
NOT_EXECUTABLE: Final = 126


def run(
    command: Annotated[
        list[str], typer.Argument(metavar="PROGRAM [ARGUMENT]...", help="What to run.", show_default=False)
    ],
    data_dir: Annotated[
        Path | None, typer.Option(help="The running trimtab's data directory.", show_default="~/.local/share/trimtab")
    ] = None,
) -> None:
    """Run PROGRAM with its AWS calls going to trimtab; everything else it does is untouched. Ends as PROGRAM ends."""
    from trimtab.cli import program

    folder = data_dir or default_data_dir()
    server = running_server(folder)
    with program.signals_held() as mask, _scratch(Paths(folder).run_dir / "programs") as scratch:
        status = _run(command, folder, server, scratch, mask)
    code = program.end_like(status)
    raise typer.Exit(code)


run.context_settings = {"allow_interspersed_args": False}  # type: ignore[attr-defined]  # read by main.py


def _run(command: list[str], folder: Path, server: Server, scratch: Path, mask: set[signal.Signals]) -> int:
    from trimtab.cli import program
    from trimtab.cli.proxy.authority import Authority, user_bundle
    from trimtab.cli.proxy.thread import ProxyThread
    from trimtab.cli.sdk_settings import without_telemetry

    host = sts_host(server.region)
    authority = Authority(host)
    bundle = scratch / "ca-bundle.pem"
    bundle.write_bytes(user_bundle(os.environ).rstrip() + b"\n" + authority.certificate_pem)
    settings = without_telemetry(os.environ, scratch)
    if not settings:
        say("note: the sagemaker SDK's settings are in S3; its telemetry stays as they say")
    environ = exports_for(folder, os.environ).applied_to(os.environ) | settings | {"AWS_CA_BUNDLE": str(bundle)}
    password = secrets.token_urlsafe(24)
    with ProxyThread(_proxy(server, host, authority, password)) as port:
        environ |= _proxy_variables(f"http://trimtab:{password}@127.0.0.1:{port}", host, server, environ)
        try:
            pid = program.start(command, environ, mask)
        except (FileNotFoundError, NotADirectoryError):
            say_error(f"There is no program {command[0]!r} on PATH.")
            raise typer.Exit(NOT_FOUND) from None
        except OSError as error:
            say_error(f"{command[0]} cannot be started: {error.strerror}.")
            raise typer.Exit(NOT_EXECUTABLE) from None
        return program.wait(pid)


def sts_host(region: str) -> str:
    """The regional STS host that the SDKs build by themselves."""
    return f"sts.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")


def _proxy(server: Server, host: str, authority: Authority, password: str) -> ConnectProxy:
    from trimtab.cli.proxy.onward import Onward
    from trimtab.cli.proxy.server import Answered, ConnectProxy

    url = urlsplit(server.url)
    answered = Answered(host, 443, authority.server_context(), url.hostname or "127.0.0.1", url.port or 80)
    return ConnectProxy(answered, Onward(os.environ), password=password)


def _proxy_variables(proxy: str, host: str, server: Server, environ: Mapping[str, str]) -> dict[str, str]:
    """Send HTTPS through `proxy`, with NO_PROXY for trimtab itself.

    Entries of the user's NO_PROXY that cover the STS host are left out, as that call must come to the proxy; the proxy
    goes straight to all that the user's list names.
    """
    entries = [entry.strip() for entry in no_proxy_of(environ).split(",") if entry.strip()]
    kept = [entry for entry in entries if not bypasses(host, entry)]
    own = urlsplit(server.url).hostname or "127.0.0.1"
    no_proxy = ",".join(kept if own in kept else [*kept, own])
    return {"HTTPS_PROXY": proxy, "https_proxy": proxy, "NO_PROXY": no_proxy, "no_proxy": no_proxy}


@contextmanager
def _scratch(parent: Path) -> Iterator[Path]:
    """A private folder for this run's files, gone afterwards; clears what killed runs left.

    A run holds a lock on its folder, which the kernel lets go of however the run ends.
    """
    parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(parent):
        for old in parent.iterdir():
            with suppress(BlockingIOError), _locked(old, wait=False):
                shutil.rmtree(old)
        made = Path(tempfile.mkdtemp(dir=parent))
        living = ExitStack()
        living.enter_context(_locked(made))
    with living:
        try:
            yield made
        finally:
            shutil.rmtree(made)


@contextmanager
def _locked(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock on `folder`. Raises BlockingIOError when somebody has it and `wait` is False."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(handle)
