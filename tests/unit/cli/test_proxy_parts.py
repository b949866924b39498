"""The proxy of `trimtab run`: who may use it, what it refuses, what it trusts."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from trimtab.cli.proxy.authority import Authority, user_bundle
from trimtab.cli.proxy.onward import Onward
from trimtab.cli.proxy.server import Answered, ConnectProxy
from trimtab.cli.render import CliError

HOST = "sts.eu-west-1.amazonaws.com"
BASIC = base64.b64encode(b"trimtab:pass").decode()
KNOWN = f"Proxy-Authorization: Basic {BASIC}\r\n"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority(HOST)


@pytest.fixture
async def port(authority: Authority, unused_port: int) -> AsyncIterator[int]:
    """A proxy whose trimtab does not listen."""
    answered = Answered(HOST, 443, authority.server_context(), "127.0.0.1", unused_port)
    proxy = ConnectProxy(answered, Onward({}), password="pass")
    yield await proxy.start()
    await proxy.close()


@pytest.fixture
async def unused_port() -> int:
    server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    number: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return number


async def ask(port: int, head: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.encode())
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer.decode()


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET http://127.0.0.1/ HTTP/1.1\r\n\r\n", "405"),
        ("CONNECT 127.0.0.1:1 HTTP/1.1\r\n\r\n", "407"),
        ("CONNECT 127.0.0.1:1 HTTP/1.1\r\nProxy-Authorization: Basic x\r\n\r\n", "407"),
        (f"CONNECT 127.0.0.1 HTTP/1.1\r\n{KNOWN}\r\n", "400"),
        (f"CONNECT 127.0.0.1:70000 HTTP/1.1\r\n{KNOWN}\r\n", "400"),
        (f"CONNECT :443 HTTP/1.1\r\n{KNOWN}\r\n", "400"),
        (f"CONNECT a:1 HTTP/1.1\r\nx: {'y' * 20_000}\r\n\r\n", "431"),
    ],
)
async def test_what_the_proxy_does_not_do_is_refused(port: int, head: str, status: str) -> None:
    assert (await ask(port, head)).startswith(f"HTTP/1.1 {status} ")


async def test_a_host_that_refuses_is_a_bad_gateway(port: int, unused_port: int) -> None:
    assert (await ask(port, f"CONNECT 127.0.0.1:{unused_port} HTTP/1.1\r\n{KNOWN}\r\n")).startswith("HTTP/1.1 502 ")


async def test_when_trimtab_is_gone_the_client_is_told_inside_tls(port: int, authority: Authority) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"CONNECT {HOST.upper()}:443 HTTP/1.1\r\n{KNOWN}\r\n".encode())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    context = ssl.create_default_context(cadata=authority.certificate_pem.decode())
    await writer.start_tls(context, server_hostname=HOST)
    writer.write(b"POST / HTTP/1.1\r\n\r\n")
    async with asyncio.timeout(10):
        assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
    writer.close()


async def test_closing_ends_open_connections(authority: Authority) -> None:
    proxy = ConnectProxy(Answered(HOST, 443, authority.server_context(), "127.0.0.1", 1), Onward({}), password="p")
    reader, writer = await asyncio.open_connection("127.0.0.1", await proxy.start())
    writer.write(b"CONNECT half a head")
    await writer.drain()
    async with asyncio.timeout(10):
        while not proxy._tasks:  # until the connection is accepted
            await asyncio.sleep(0)
    await proxy.close()
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionResetError):  # either way the connection has ended
            assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize("url", ["socks5://h:1", "socks5h://h", "http://", "http://h:99999", "ftp://h"])
def test_a_proxy_that_cannot_be_chained_is_refused(url: str) -> None:
    with pytest.raises(CliError, match="cannot go through"):
        Onward({"HTTPS_PROXY": url})


def test_a_refused_proxys_password_is_not_shown() -> None:
    with pytest.raises(CliError) as caught:
        Onward({"HTTPS_PROXY": "socks5://me:secret@h:1"})
    assert "secret" not in f"{caught.value}{caught.value.hint}"


def test_the_bundle_is_the_one_that_the_user_names(tmp_path: Path) -> None:
    config = tmp_path / "config"
    for name in ("env", "profile", "requests"):
        (tmp_path / name).write_text(name)
    config.write_text(f"[default]\nregion = x\n[profile p]\nca_bundle = {tmp_path / 'profile'}\n")
    everything = {
        "AWS_CA_BUNDLE": str(tmp_path / "env"),
        "AWS_CONFIG_FILE": str(config),
        "AWS_PROFILE": "p",
        "REQUESTS_CA_BUNDLE": str(tmp_path / "requests"),
    }
    assert user_bundle(everything) == b"env"
    del everything["AWS_CA_BUNDLE"]
    assert user_bundle(everything) == b"profile"
    del everything["AWS_PROFILE"]
    assert user_bundle(everything) == b"requests"
    del everything["REQUESTS_CA_BUNDLE"]
    assert b"BEGIN CERTIFICATE" in user_bundle(everything)


def test_a_bundle_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="missing") as caught:
        user_bundle({"AWS_CA_BUNDLE": str(tmp_path / "missing")})
    assert "AWS_CA_BUNDLE" in caught.value.hint


def test_a_damaged_aws_config_is_left_to_the_program_to_complain_about(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("no section\n")
    assert b"BEGIN CERTIFICATE" in user_bundle({"AWS_CONFIG_FILE": str(config)})
