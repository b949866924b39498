import asyncio
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from trimtab.engines.local.layers import Layers, RequirementsFailed, digest

INSTALLER = """
import pathlib, sys, time
arguments = sys.argv[1:]
target = pathlib.Path(arguments[arguments.index("--target") + 1])
with open({count!r}, "a") as count:
    count.write("x")
wanted = pathlib.Path(arguments[arguments.index("-r") + 1]).read_text().strip()
if wanted == "hang":
    time.sleep(60)
if wanted == "nonsense":
    print("ERROR: No matching distribution found for nonsense")
    sys.exit(1)
(target / "thing.py").write_text("value = 1")
"""


def installer(folder: Path) -> tuple[Sequence[str], Path]:
    count = folder / "count"
    script = folder / "installer.py"
    script.write_text(INSTALLER.format(count=str(count)))
    return [sys.executable, str(script)], count


def requirements(folder: Path, text: str, name: str = "requirements.txt") -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(text)
    return file


async def test_one_content_is_installed_once_for_all_who_ask(tmp_path: Path) -> None:
    argv, count = installer(tmp_path)
    layers = Layers(tmp_path / "layers", argv)
    a = requirements(tmp_path / "a", "thing")
    b = requirements(tmp_path / "b", "thing")
    first, second = await asyncio.gather(layers.ensure(a, timeout_s=20), layers.ensure(b, timeout_s=20))
    again = await Layers(tmp_path / "layers", argv).ensure(a, timeout_s=20)
    assert first == second == again
    assert (first.path / "thing.py").exists()
    assert count.read_text() == "x"


async def test_a_failed_install_gives_the_installers_last_words_and_leaves_nothing(tmp_path: Path) -> None:
    argv, count = installer(tmp_path)
    layers = Layers(tmp_path / "layers", argv)
    file = requirements(tmp_path / "a", "nonsense")
    for _ in range(2):  # a failure is not remembered: the index may be back
        with pytest.raises(RequirementsFailed, match="exited with status 1") as failed:
            await layers.ensure(file, timeout_s=20)
        assert failed.value.tail == "ERROR: No matching distribution found for nonsense"
    assert list((tmp_path / "layers").iterdir()) == []
    assert count.read_text() == "xx"


async def test_an_install_that_hangs_is_ended(tmp_path: Path) -> None:
    argv, _ = installer(tmp_path)
    with pytest.raises(RequirementsFailed, match=r"took longer than 0\.5 s"):
        await Layers(tmp_path / "layers", argv).ensure(requirements(tmp_path / "a", "hang"), timeout_s=0.5)
    assert list((tmp_path / "layers").iterdir()) == []


async def test_closing_ends_installs_that_are_under_way(tmp_path: Path) -> None:
    argv, count = installer(tmp_path)
    layers = Layers(tmp_path / "layers", argv)
    waiting = asyncio.create_task(layers.ensure(requirements(tmp_path / "a", "hang"), timeout_s=60))
    async with asyncio.timeout(10):
        while not count.exists():
            await asyncio.sleep(0.01)
    await layers.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert list((tmp_path / "layers").iterdir()) == []


def test_the_digest_follows_the_files_that_requirements_name(tmp_path: Path) -> None:
    file = requirements(tmp_path / "a", "-r more.txt\n./pack.whl\n# -r nothing.txt\n")
    more = requirements(tmp_path / "a", "numpy", "more.txt")
    (tmp_path / "a" / "pack.whl").write_bytes(b"1")
    before = digest(file)
    assert digest(file) == before
    more.write_text("numpy<2")
    changed = digest(file)
    assert changed != before
    (tmp_path / "a" / "pack.whl").write_bytes(b"2")
    assert digest(file) != changed


def test_requirements_that_name_themselves_are_read_once(tmp_path: Path) -> None:
    assert digest(requirements(tmp_path / "a", "-r requirements.txt"))


def wheel(folder: Path, name: str, version: str) -> Path:
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", f"version = {version!r}")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path


async def test_the_installer_of_this_environment_installs_and_replaced_packages_are_told(tmp_path: Path) -> None:
    file = requirements(
        tmp_path / "a", "--no-index\n./msgspec-0.0.1-py3-none-any.whl\n./ttfresh-1.0-py3-none-any.whl\n"
    )
    wheel(tmp_path / "a", "msgspec", "0.0.1")
    wheel(tmp_path / "a", "ttfresh", "1.0")
    layer = await Layers(tmp_path / "layers").ensure(file, timeout_s=60)
    assert (layer.path / "ttfresh.py").exists()
    assert layer.replaces == (f"msgspec 0.0.1 (trimtab has {msgspec.__version__})",)
