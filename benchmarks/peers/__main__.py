"""trimtab beside its peers: requests/s, latencies, CPU and memory, on this machine, in one run, as ratios.

    python -m benchmarks.peers                                            fraud, every peer
    python -m benchmarks.peers --models mlp-batched                       dynamic batching, the peers that have it
    python -m benchmarks.peers --peers trimtab,mosec,triton --json /tmp/run.json    goes on where the file ends

The first run makes an environment for every peer under `.venvs/peers` (2.1 GiB with all of them, half of it
PyTorch for TorchServe). Needs wrk; TorchServe and Multi Model Server need Java and are left out where there is none.
One server runs at a time. Servers take turns in an order that is random in every round.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from benchmarks.peers import campaign, environments, processes, results, tables, wrk
from benchmarks.peers.catalogue import PEERS
from benchmarks.peers.models import ABOUT, model
from benchmarks.peers.peer import Peer


def main(arguments: list[str] | None = None) -> int:
    """1 where something is missing or a server failed."""
    options = _options(arguments)
    console = Console(width=None if sys.stdout.isatty() else 190, highlight=False)
    try:
        if not options.setup_only:
            wrk.installed()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # through every `finally`
        signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell started this in the background
        processes.adopt_orphans()
        return _run(options, console)
    except (wrk.Missing, results.OtherRun) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "stopped; every server is gone. What was measured is in the --json file, if one was named.", file=sys.stderr
        )
        return 130


def _run(options: argparse.Namespace, console: Console) -> int:
    chosen = [peer for peer in options.peers if set(options.models) & set(peer.models)]
    settings = results.Settings(options.seconds, options.seed, options.concurrency)
    found = results.load(options.json, settings)
    peers = _set_up(chosen, found, console)
    if options.setup_only:
        return 1 if found.skipped else 0
    places = campaign.order(peers, options.models, options.rounds, options.seed)
    left = [place for place in places if not found.done(place.round, place.peer.name, place.model)]
    console.print(f"{len(left)} turns, about {campaign.estimate_s(left, settings) / 60:.0f} minutes on a quiet machine")
    with tempfile.TemporaryDirectory(prefix="trimtab-peers-") as folder:
        models = {name: model(name, Path(folder)) for name in options.models}
        began_s = time.monotonic()
        campaign.run(places, models, found, options.json, say=_teller(console, began_s), repeat=not options.no_repeat)
    results.save(options.json, found)
    _show(found, list(PEERS.values()), options.markdown, console)
    failed = {(turn.peer, turn.model): turn.failed for turn in found.turns if turn.failed}
    for (peer, name), why in failed.items():
        console.print(f"[red]{peer} failed with {name}:[/red] ", end="")
        console.print(why, markup=False)
    return 1 if failed else 0


def _set_up(peers: list[Peer], found: results.Results, console: Console) -> list[Peer]:
    """Environments; those peers that can be had here."""
    had = []
    for peer in peers:
        found.skipped.pop(peer.name, None)
        try:
            what = environments.set_up(peer)
        except environments.CannotHave as error:
            found.skipped[peer.name] = str(error)
            console.print(f"{peer.name} is left out: {error}", markup=False)
            continue
        found.versions[peer.name] = environments.version_of(peer)
        if what:
            console.print(f"environment of {peer.name}: {what}")
        had.append(peer)
    return had


def _show(found: results.Results, peers: list[Peer], markdown: Path | None, console: Console) -> None:
    made = tables.sheets(found, peers)
    for sheet in made:
        console.print()
        console.print(tables.terminal(sheet))
    console.print(f"\n{found.machine}; onnxruntime 1.32, one thread; wrk with one thread on the same cores")
    console.print("memory: PSS of all the server's processes. foreign cores: CPU of anything else, in the worst round.")
    for name, why in found.skipped.items():
        console.print(f"left out: {name}: {why}", markup=False)
    if markdown is not None:
        markdown.write_text(tables.markdown(made, f"Machine: {found.machine}."))


def _teller(console: Console, began_s: float) -> Callable[[str], None]:
    def say(text: str) -> None:
        console.print(f"\\[{(time.monotonic() - began_s) / 60:5.1f} min] {text}")

    return say


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", type=_peers, default=list(PEERS.values()), help=f"of {', '.join(PEERS)}")
    parser.add_argument("--models", type=_models, default=["fraud"], help=f"of {', '.join(ABOUT)}; default fraud")
    parser.add_argument("--concurrency", type=_numbers, default=(1, 16, 64), help="connections; default 1,16,64")
    parser.add_argument("--rounds", type=_positive, default=3)
    parser.add_argument("--seconds", type=_positive, default=4, help="of each load; default 4")
    parser.add_argument("--seed", type=int, default=1, help="of the order")
    parser.add_argument(
        "--json", type=Path, help="keep results here after every turn; a run with the same settings goes on"
    )
    parser.add_argument("--markdown", type=Path, help="write the tables here too")
    parser.add_argument("--no-repeat", action="store_true", help="do not repeat a load that other work disturbed")
    parser.add_argument("--setup-only", action="store_true", help="make the environments and stop")
    return parser.parse_args(arguments)


def _peers(text: str) -> list[Peer]:
    return [PEERS[name] for name in _known(text, PEERS)]


def _models(text: str) -> list[str]:
    return _known(text, ABOUT)


def _known(text: str, of: dict[str, Peer] | dict[str, str]) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in of]:
        raise argparse.ArgumentTypeError(f"there is no {', '.join(unknown)}; there are {', '.join(of)}")
    return names


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(_positive(part) for part in text.split(","))


def _positive(text: str) -> int:
    if not text.strip().isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no positive whole number")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
