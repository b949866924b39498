"""Claiming a data directory: one trimtab at a time, of one format, private to its owner."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import stat
from pathlib import Path

from trimtab.config import Paths
from trimtab.errors import Invalid, LimitExceeded
from trimtab.files import part_of, write_whole

MIN_FREE_BYTES = 64 * 2**20


def claim(paths: Paths) -> int:
    """Make or check the directory and lock it. Returns the lock's file descriptor: it is held as long as that is open.

    Raises Invalid (with the cure) when the directory is of another format, locked by another trimtab, not writable, or
    its run directory belongs to somebody else; LimitExceeded when its disk is full.
    """
    try:
        paths.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock_fd = os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Invalid(
            f"The data directory {paths.data_dir} cannot be used: {error.strerror}. "
            "Choose another with --data-dir, or correct its owner and permissions."
        ) from error
    try:
        _lock(lock_fd, paths)
        _check_format(paths)
        _check_space(paths)
        _make_folders(paths)
    except BaseException:
        os.close(lock_fd)
        raise
    shutil.rmtree(paths.in_hand_dir, ignore_errors=True)  # of gateways that are no more
    return lock_fd


def name_of(paths: Paths) -> str:
    """A name of this data directory that no other one has, anywhere; the same after a restart."""
    try:
        return paths.name.read_text()
    except FileNotFoundError:
        write_whole(paths.name, secrets.token_hex(8))
        return paths.name.read_text()


def _lock(lock_fd: int, paths: Paths) -> None:
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        raise Invalid(
            f"Another trimtab is serving from {paths.data_dir}. "
            "Stop it, or give this one its own --data-dir and --port."
        ) from error


def _check_format(paths: Paths) -> None:
    try:
        found = paths.version.read_text().strip()
    except FileNotFoundError:
        for killed in paths.data_dir.glob(part_of(paths.version, pid="*").name):
            killed.unlink(missing_ok=True)  # whoever wrote it had the lock
        strangers = [p.name for p in paths.data_dir.iterdir() if p.name != paths.lock.name]
        if strangers:
            raise Invalid(
                f"{paths.data_dir} is not empty and no data directory of trimtab: it holds {sorted(strangers)[0]!r}. "
                "Choose an empty or new folder with --data-dir."
            ) from None
        write_whole(paths.version, f"{Paths.FORMAT}\n")
        return
    if found != str(Paths.FORMAT):
        raise Invalid(
            f"The data directory {paths.data_dir} has format {found}; this trimtab reads format {Paths.FORMAT}. "
            "Run the trimtab version that wrote it, or choose another folder with --data-dir."
        )


def _check_space(paths: Paths) -> None:
    free_bytes = shutil.disk_usage(paths.data_dir).free
    if free_bytes < MIN_FREE_BYTES:
        raise LimitExceeded(
            f"The disk of {paths.data_dir} has {free_bytes // 2**20} MiB left; trimtab needs "
            f"{MIN_FREE_BYTES // 2**20} MiB to start. Free some space, or choose another disk with --data-dir."
        )


def _make_folders(paths: Paths) -> None:
    for folder in (paths.objects, paths.artifacts, paths.layers, paths.logs):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    make_private(paths.run_dir)
    for folder in paths.record_dirs:
        make_private(folder)


def make_private(folder: Path) -> None:
    """Make `folder` with mode 0700, or check that it is ours alone: who can write there can pose as our sockets."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise Invalid(
            f"{folder} belongs to somebody else. Remove it, or point XDG_RUNTIME_DIR to a folder of your own."
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        folder.chmod(0o700)
