"""GPU memory of many models in one replica: is it counted, and does it come back?

    python -m benchmarks.gpu_models [--sizes 256,1024,4096] [--swaps 30] [--device cuda|cpu] [--json FILE]

A nursery, one model host with the first GPU, and both of the host's ends played by this program (`testing/host_ends.py`);
no server and no AWS client, so it needs little: PyTorch with CUDA, numpy, msgspec, setproctitle, uvloop, psutil,
nvidia-ml-py. Models are scripts whose weights are one tensor on the GPU. Each is loaded, asked, measured by the host and by
NVML, and let go by its time-to-live; then one is loaded and unloaded again and again. Exits 1 when the host counts less than
the weights or a fifth more than NVML says, when less than 99 % of what a load took is back after it has left and a second
has passed, or when the GPU holds 1 % of a model more after all swaps. `--device cpu` tries the program where there is no GPU.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from trimtab.config import Paths
from trimtab.engines.local import records
from trimtab.engines.local.client import NurseryClient
from trimtab.engines.local.gpu_usage import GpuMeter
from trimtab.engines.local.memory import available_memory
from trimtab.engines.local.orders import Bear, BirthRecord
from trimtab.engines.local.workers import WorkerMember
from trimtab.resources.hosting import Hosting, ModelSetting
from trimtab.resources.launch import WorkerLaunch
from trimtab.resources.replica import ReplicaSpec
from trimtab.resources.runtime import Runtime
from trimtab.testing.host_ends import HostControl, HostGateway, invoke
from trimtab.testing.waiting import until
from trimtab.wire.frames import Kind
from trimtab.wire.hosting import Settings

MIB = 2**20
PROGRAM = (
    "import sys; from pathlib import Path; from trimtab import logs; from trimtab.lives import newborn_life; "
    "from trimtab.engines.local.nursery import main; from trimtab.worker.rehearsal import rehearse; "
    "logs.configure('nursery'); "
    "sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), newborn_life(), ['numpy', 'torch'], rehearse=rehearse, "
    "on_listening=lambda: print('listening', flush=True)))"
)
SCRIPT = """
import torch

def model_fn(model_dir):
    return torch.full(({mib} * 2**18,), 0.5, device="{device}")

def input_fn(body, content_type):
    return body

def predict_fn(body, model):
    return float(model[:1000].sum())

def output_fn(answer, accept):
    return str(answer), "text/plain"
"""
TTL_S = 0.5
LEAST_BACK, BACK_S = 0.99, 1.0
MOST_OVER = 1.2  # of what NVML says
PATIENCE_S = 120.0


class Rig:
    """The nursery, the host and its two ends."""

    def __init__(self, folder: Path, device: str) -> None:
        self.paths = Paths(folder / "data")
        self.paths.run_dir.mkdir(parents=True, exist_ok=True)
        self.paths.workers_dir.mkdir(parents=True, exist_ok=True)
        self.folder = folder / "models"
        self.device = device
        self.control = HostControl(self.paths.hosts_socket)
        self.gateway = HostGateway()
        self.meter = GpuMeter() if device == "cuda" else None
        self.log = folder / "nursery.log"

    def used_bytes(self) -> int:
        """In use on the first GPU, by whomever."""
        if self.meter is None:
            return 0
        reading = self.meter.read([0]).get(0)
        if reading is None or reading.memory_bytes is None:
            raise RuntimeError("NVML does not say what GPU 0 holds")
        return reading.memory_bytes

    def model(self, name: str, mib: int) -> None:
        """A model of so many MiB of weights, in control's hands."""
        code = self.folder / name / "code"
        code.mkdir(parents=True)
        (code / "inference.py").write_text(SCRIPT.format(mib=mib, device=self.device))
        self.control.models[name] = self.folder / name, "v1"

    async def run(self, work: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        """Do `work` while all of it is up."""
        lifeline_read, lifeline_write = os.pipe()
        argv = [sys.executable, "-c", PROGRAM, str(self.paths.nursery_socket), str(lifeline_read)]
        with self.log.open("ab") as log:
            nursery = await asyncio.create_subprocess_exec(
                *argv, stdout=subprocess.PIPE, stderr=log, pass_fds=[lifeline_read]
            )
        os.close(lifeline_read)
        assert nursery.stdout is not None
        await nursery.stdout.readline()
        client = NurseryClient(self.paths.nursery_socket)
        client.open()
        await self.control.open()
        host = None
        try:
            host = await self._host(client)
            await self.gateway.connect(host.record.address)
            return await work()
        finally:
            await self.gateway.close()
            if host is not None:
                await host.stop()
                await host.close()
            await client.close()
            os.close(lifeline_write)
            await nursery.wait()
            await self.control.close()

    async def _host(self, client: NurseryClient) -> WorkerMember:
        spec = msgspec.msgpack.encode(
            ReplicaSpec(
                id="h",
                endpoint="gpu",
                variant="v",
                version="1",
                model_name="m",
                runtime=Runtime(imports=("torch",)),
                hosting=Hosting(prefix="s3://b/models/", memory_bytes=available_memory() // 2),
            )
        )
        at = self.paths.workers_dir / "h-0.sock"
        log = str(self.paths.data_dir / "host.log")
        record = BirthRecord(replica_id="h", index=0, spec=spec, address=f"unix:{at}", log_path=log)
        launch = WorkerLaunch(
            spec=spec,
            socket_path=str(at),
            log_path=log,
            gpus=(0,) if self.device == "cuda" else (),
            data_dir=str(self.paths.data_dir),
        )
        path = records.record_path(self.paths.workers_dir, "h", 0)
        order = Bear(id=0, record=record, record_path=str(path), launch=msgspec.msgpack.encode(launch))
        born = await client.order(order)
        changed = asyncio.Event()
        alive = msgspec.structs.replace(record, pid=born.pid, start_ticks=born.start_ticks)
        member = WorkerMember(alive, path, client, changed.set)
        async with asyncio.timeout(PATIENCE_S):
            while not (member.ready or member.failure):
                await changed.wait()
                changed.clear()
        if member.failure:
            raise RuntimeError(f"{member.failure}")
        return member

    async def load(self, name: str) -> tuple[float, float]:
        """Seconds until a model was ready, and until it had answered."""
        began_s = time.monotonic()
        self.gateway.want(name)
        at = await self.gateway.ready(name)
        ready_s = time.monotonic() - began_s
        kind, answer = await invoke(at)
        if kind != Kind.ANSWER:
            raise RuntimeError(f"{name} failed: {answer!r}")
        return ready_s, time.monotonic() - began_s

    async def counted(self, name: str) -> tuple[int, int]:
        """What the host says that a model takes, once it has measured it: bytes of the machine, and of the GPU."""

        def row() -> Any:
            held = self.control.holding.residents if self.control.holding is not None else ()
            measured = (one for one in held if one.model == name and (one.gpu_bytes or self.device == "cpu"))
            return next((resident for resident in measured if resident.bytes), None)

        await until(row)
        return row().bytes, row().gpu_bytes

    async def left(self, before_bytes: int, taken_bytes: int) -> tuple[float, float]:
        """Wait until the GPU's memory is back, for a second at most; the share that is, and seconds since it was told."""
        began_s = time.monotonic()
        while True:
            back = 1.0 - max(0, self.used_bytes() - before_bytes) / taken_bytes if taken_bytes else 1.0
            if back >= LEAST_BACK or time.monotonic() - began_s > BACK_S:
                return back, time.monotonic() - began_s
            await asyncio.sleep(0.005)


async def measure(rig: Rig, sizes_mib: list[int], swaps: int) -> dict[str, Any]:
    """All sizes, one after the other, then one of them again and again."""
    for mib in sizes_mib:
        rig.model(f"m{mib}", mib)
    setting = tuple(ModelSetting(model=f"m{mib}", ttl_s=TTL_S) for mib in sizes_mib)
    rig.control.tell(Settings(settings=setting))
    rows = []
    for mib in sizes_mib:
        before = rig.used_bytes()
        ready_s, answered_s = await rig.load(f"m{mib}")
        taken = rig.used_bytes() - before
        own, on_gpu = await rig.counted(f"m{mib}")
        await rig.gateway.leaving(f"m{mib}")
        back, after_s = await rig.left(before, taken)
        rows.append(
            {"mib": mib, "ready_s": ready_s, "answered_s": answered_s, "nvml_mib": taken / MIB}
            | {"counted_gpu_mib": on_gpu / MIB, "counted_mib": own / MIB, "back": back, "back_s": after_s}
        )
    first = f"m{sizes_mib[0]}"
    before, loads = rig.used_bytes(), []
    for _ in range(swaps):
        loads.append((await rig.load(first))[1])
        await rig.gateway.leaving(first)
        await until(lambda: not list(rig.paths.models_dir.glob("*.birth")))
    await asyncio.sleep(BACK_S)
    drift = (rig.used_bytes() - before) / MIB
    return {"rows": rows, "swaps": swaps, "drift_mib": drift, "load_s": statistics.median(loads) if loads else 0.0}


def missed(found: dict[str, Any], device: str) -> list[str]:
    """What is not as it should be, in words."""
    wrong = []
    for row in found["rows"] if device == "cuda" else ():
        if not row["mib"] <= row["counted_gpu_mib"] <= row["nvml_mib"] * MOST_OVER:
            wrong.append(f"{row['mib']} MiB: counted as {row['counted_gpu_mib']:.0f}, NVML says {row['nvml_mib']:.0f}")
        if row["back"] < LEAST_BACK:
            wrong.append(f"{row['mib']} MiB: {100 * row['back']:.1f} % came back")
    if found["rows"] and found["drift_mib"] > 0.01 * found["rows"][0]["mib"]:
        wrong.append(f"the GPU holds {found['drift_mib']:.1f} MiB more after {found['swaps']} swaps")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="256,1024,4096")
    parser.add_argument("--swaps", type=int, default=30)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gm") as folder:
        os.environ["XDG_RUNTIME_DIR"] = folder
        rig = Rig(Path(folder), arguments.device)
        sizes = [int(size) for size in arguments.sizes.split(",")]
        try:
            found = uvloop.run(rig.run(lambda: measure(rig, sizes, arguments.swaps)))
        except BaseException:
            for path in (rig.log, *sorted(rig.paths.data_dir.rglob("*.log"))):
                print(f"--- {path.name}\n{path.read_text()[-3000:]}", file=sys.stderr)
            raise
    print(
        f"{'weights MiB':>12}{'ready s':>9}{'answer s':>9}{'NVML MiB':>10}{'counted':>9}{'back %':>8}{'after s':>9}{'host MiB':>10}"
    )
    for row in found["rows"]:
        print(
            f"{row['mib']:>12}{row['ready_s']:>9.2f}{row['answered_s']:>9.2f}{row['nvml_mib']:>10.0f}"
            f"{row['counted_gpu_mib']:>9.0f}{100 * row['back']:>8.1f}{row['back_s']:>9.3f}{row['counted_mib']:>10.0f}"
        )
    print(
        f"{found['swaps']} swaps: drift {found['drift_mib']:+.1f} MiB on the GPU, {found['load_s']:.2f} s to an answer"
    )
    wrong = missed(found, arguments.device)
    for line in wrong:
        print(f"MISSED: {line}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found | {"missed": wrong}))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
