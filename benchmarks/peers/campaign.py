"""The order of measurements, and their running one after the other."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.peers import measure, results
from benchmarks.peers.models import MAX_BATCH, Model, session
from benchmarks.peers.peer import Peer
from benchmarks.peers.server import Failed, running


class Place(NamedTuple):
    """A turn to take."""

    round: int  # counted from 0
    peer: Peer
    model: str  # its name


def order(peers: Sequence[Peer], models: Iterable[str], rounds: int, seed: int) -> list[Place]:
    """All turns: every round in another random order, the same for the same seed."""
    pairs = [(peer, model) for model in models for peer in peers if model in peer.models]
    places = []
    for number in range(rounds):
        mixed = pairs.copy()
        random.Random(f"{seed}:{number}").shuffle(mixed)
        places += [Place(number, peer, model) for peer, model in mixed]
    return places


def estimate_s(places: Iterable[Place], settings: results.Settings) -> float:
    """About how long these turns take on a quiet machine."""
    load_s = len(settings.concurrency) * (settings.seconds + 0.3)
    peers = [place.peer for place in places]
    return sum(peer.start_and_stop_s + peer.warm_up_s + load_s for peer in peers)


def run(
    places: Sequence[Place],
    models: dict[str, Model],
    found: results.Results,
    file: Path | None,
    *,
    say: Callable[[str], None],
    repeat: bool = True,
) -> None:
    """Take every turn that is not done. A server that fails is noted and left out of later rounds; the others go on."""
    failed: set[tuple[str, str]] = set()
    for count, place in enumerate(places, start=1):
        peer, model = place.peer, models[place.model]
        if found.done(place.round, peer.name, model.name) or (peer.name, model.name) in failed:
            continue
        if model.batched and len(found.bare_rows_per_s.setdefault(model.name, [])) <= place.round:
            found.bare_rows_per_s[model.name].append(bare_loop(model, MAX_BATCH))
        began_s = time.monotonic()
        turn = take(place, model, found.settings, repeat=repeat)
        if turn.failed:
            failed.add((peer.name, model.name))
        found.add(turn)
        results.save(file, found)
        say(f"{count}/{len(places)} {_told(turn)}, {time.monotonic() - began_s:.0f} s")


def take(place: Place, model: Model, settings: results.Settings, *, repeat: bool) -> results.Turn:
    """Start the server, measure it, end it. Whatever goes wrong with this server becomes the turn's `failed`."""
    name = place.peer.name
    try:
        with running(place.peer, model) as server:
            measure.warm_up(server, connections=max(settings.concurrency), seconds=place.peer.warm_up_s)
            cells = tuple(
                measure.cell(server, concurrency=number, seconds=settings.seconds, repeat=repeat)
                for number in settings.concurrency
            )
            server.check()
            return results.Turn(place.round, name, model.name, server.first_answer_s, cells)
    except Failed as error:
        return results.Turn(place.round, name, model.name, failed=str(error))
    except Exception as error:  # noqa: BLE001 one server must not cost the others their figures
        return results.Turn(place.round, name, model.name, failed=f"{type(error).__name__}: {error}")


def _told(turn: results.Turn) -> str:
    where = f"round {turn.round + 1}, {turn.model}, {turn.peer}"
    if turn.failed:
        return f"{where}: FAILED: {turn.failed.splitlines()[0]}"
    return f"{where}: " + ", ".join(f"{c.figures.rate:,.0f}/s at {c.concurrency}" for c in turn.cells)


def bare_loop(model: Model, rows: int, seconds: float = 2.0) -> float:
    """Rows/s of the same session in this process, asked for full batches and nothing else: what batching can reach at most."""
    import numpy as np

    ask = session(model.path)
    batch = np.array((model.rows * (rows // len(model.rows) + 1))[:rows], np.float32)
    ask(batch)
    done, began_s = 0, time.perf_counter()
    while (passed_s := time.perf_counter() - began_s) < seconds:
        ask(batch)
        done += rows
    return done / passed_s
