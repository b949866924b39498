"""What models have mapped says which packages the nursery should import."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from trimtab.host.libraries import MOST, packages_mapped

SITE = Path("/venv/lib/python3.11/site-packages")
FOLDERS = {"sklearn", "sklearn/tree", "sklearn/ensemble", "lightgbm", "numpy", "numpy/random"}


def packages(*paths: str) -> tuple[str, ...]:
    maps = "".join(f"7f0000000000-7f0000001000 r-xp 00000000 08:01 42    {path}\n" for path in paths)
    return packages_mapped(maps, SITE, lambda folder: str(folder.relative_to(SITE)) in FOLDERS)


def test_an_extension_module_names_the_package_that_it_is_in() -> None:
    assert packages(f"{SITE}/sklearn/tree/_tree.cpython-311-x86_64-linux-gnu.so") == ("sklearn.tree",)


def test_a_library_in_a_folder_that_is_no_package_names_the_one_around_it() -> None:
    assert packages(f"{SITE}/lightgbm/lib/lib_lightgbm.so") == ("lightgbm",)
    assert packages(f"{SITE}/numpy.libs/libopenblas64.so") == ()
    assert packages(f"{SITE}/_lonely.cpython-311-x86_64-linux-gnu.so") == ()


def test_what_was_loaded_last_comes_first_and_each_but_once() -> None:
    tree, random = f"{SITE}/sklearn/tree/_tree.so", f"{SITE}/numpy/random/mtrand.so"
    assert packages(f"{SITE}/sklearn/ensemble/_gb.so", tree, tree, random) == (
        "sklearn.ensemble", "sklearn.tree", "numpy.random",
    )  # fmt: skip


def test_files_of_models_and_of_the_system_are_nothing_to_import() -> None:
    assert packages("/usr/lib/libc.so.6", "/data/artifacts/ab/code/fast.so", "[heap]", f"{SITE}/sklearn/data.npy") == ()


def test_a_process_names_at_most_so_many() -> None:
    maps = "\n".join(f"7f-80 r-xp 0 08:01 42 {SITE}/p{number}/m.so" for number in range(2 * MOST))
    assert len(packages_mapped(maps, SITE, lambda folder: True)) == MOST


def test_a_real_process_names_what_it_has_imported() -> None:
    program = "import sklearn.tree; print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        process.communicate(os.linesep.encode())
    found = packages_mapped(maps, Path(sysconfig.get_paths()["platlib"]))
    assert "sklearn.tree" in found
    assert found.index("sklearn.tree") < found.index("numpy.random")
