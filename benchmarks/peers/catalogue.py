"""Every server of the comparison, in the order of the tables."""

from __future__ import annotations

from benchmarks.peers.entries.asgi import FASTAPI, UVICORN
from benchmarks.peers.entries.bentoml import BENTOML
from benchmarks.peers.entries.java import MMS, TORCHSERVE
from benchmarks.peers.entries.kserve import KSERVE
from benchmarks.peers.entries.litserve import LITSERVE
from benchmarks.peers.entries.mlserver import MLSERVER
from benchmarks.peers.entries.mosec import MOSEC
from benchmarks.peers.entries.ray import RAY
from benchmarks.peers.entries.trimtab import SIGNED, TRIMTAB, UNBATCHED
from benchmarks.peers.entries.triton import TRITON
from benchmarks.peers.peer import Peer

PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        *(TRIMTAB, SIGNED, UNBATCHED, UVICORN, FASTAPI, MOSEC, TRITON, RAY, BENTOML),
        *(LITSERVE, MLSERVER, KSERVE, TORCHSERVE, MMS),
    )
}
