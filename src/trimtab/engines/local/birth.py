"""What happens in a new process between the fork and the life it was ordered for."""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence

import msgspec

from trimtab.engines.local import records, strays
from trimtab.engines.local.orders import Bear, BirthRecord, Spawn
from trimtab.resources.launch import WorkerLaunch

RunChild = Callable[[WorkerLaunch], None]
FRESH_WORKER = (sys.executable, "-m", "trimtab.worker")  # reads its WorkerLaunch from standard input


def fork_worker(order: Bear, claim: int, launch: WorkerLaunch, close_fds: Iterable[int], run_child: RunChild) -> int:
    """Fork a worker that runs `run_child(launch)`. Returns its process id."""

    def life() -> None:
        records.fill(claim, order.record)
        run_child(launch)

    return fork_child(life, close_fds)


def fork_child(life: Callable[[], None], close_fds: Iterable[int]) -> int:
    """Fork a process that leaves its parent's affairs behind, does `life` and ends. Returns its process id."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        _become_child(close_fds)
        _diverge()
        life()
        status = 0
    except SystemExit as exit_:
        status = exit_.code if isinstance(exit_.code, int) else 1
    except BaseException:  # noqa: BLE001 - the last frame of the process: nobody is above to see it
        traceback.print_exc()
    finally:
        _leave(status)
    raise AssertionError("not reached")


def exec_worker(order: Bear, claim: int, launch: WorkerLaunch, close_fds: Iterable[int]) -> int:
    """Start a worker in a new interpreter: for layers that replace what this one has imported already.

    Returns its process id. Raises OSError when the interpreter cannot be started.
    """
    stdin = os.memfd_create("launch")
    try:
        os.write(stdin, msgspec.msgpack.encode(launch))
        os.lseek(stdin, 0, os.SEEK_SET)
        environment = {**os.environ, **launch.environment, **_spec_environment(launch)}

        def prepare() -> None:
            os.dup2(stdin, 0)
            if launch.lifeline_fd >= 0:
                os.set_inheritable(launch.lifeline_fd, True)

        return _fork_exec(FRESH_WORKER, environment, order.record, claim, close_fds, prepare)
    finally:
        os.close(stdin)


def spawn_program(order: Spawn, claim: int, close_fds: Iterable[int]) -> int:
    """Start a program. Returns its process id. Raises OSError when it cannot be started."""
    record = order.record

    def prepare() -> None:
        null = os.open(os.devnull, os.O_RDONLY)
        log = os.open(record.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(null, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(order.cwd)
        if record.cpus:
            os.sched_setaffinity(0, record.cpus)
        if record.memory_bytes:
            resource.setrlimit(resource.RLIMIT_DATA, (record.memory_bytes, record.memory_bytes))

    return _fork_exec(order.argv, order.environment, record, claim, close_fds, prepare)


def _fork_exec(
    argv: Sequence[str],
    environment: dict[str, str],
    record: BirthRecord,
    claim: int,
    close_fds: Iterable[int],
    prepare: Callable[[], None],
) -> int:
    """Fork, become `argv`; an OSError on the way is raised in the parent, which waits for exec (under 1 ms)."""
    read_end, write_end = os.pipe()  # close-on-exec: end of file says that the program runs
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read_end)
            _become_child(close_fds)
            records.fill(claim, record)
            prepare()
            os.execvpe(argv[0], list(argv), environment)
        except OSError as error:
            name = error.filename if isinstance(error.filename, str) else argv[0]  # bytes: one of the places in PATH
            os.write(write_end, f"{error.errno or 0}:{name}".encode())
        except BaseException:  # noqa: BLE001 - the last frame of the process: nobody is above to see it
            traceback.print_exc()
        finally:
            _leave(127)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        report = pipe.read().decode("utf-8", "replace")
    if report:
        os.waitpid(pid, 0)
        number, _, name = report.partition(":")
        raise OSError(int(number), os.strerror(int(number)), name)
    return pid


def _spec_environment(launch: WorkerLaunch) -> dict[str, str]:
    """The model's own environment: an interpreter reads some of it (PYTHON*, LD_*) before the worker could set it."""
    from trimtab.resources.replica import ReplicaSpec

    return msgspec.msgpack.decode(launch.spec, type=ReplicaSpec).environment


def _become_child(close_fds: Iterable[int]) -> None:
    """Leave the parent's affairs: its descriptors, signal handlers and process group."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for fd in close_fds:
        os.close(fd)
    os.setsid()
    strays.adopt_orphans()


def _diverge() -> None:
    """Undo what was right for the parent only. Random states are the child's own affair: it knows which it has."""
    gc.enable()
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as Python starts: a broken pipe is an error, not death


def _leave(status: int) -> None:
    """End without the parent's exit handlers, but with what was printed."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            status = status or 1
    os._exit(status)
