"""Frames survive any cutting of the byte stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import Broken
from trimtab.wire.decoder import FrameDecoder
from trimtab.wire.frames import HEADER, Kind, pack

FRAMES = st.lists(
    st.tuples(
        st.sampled_from(list(Kind)),
        st.integers(0, 2**32 - 1),
        st.binary(max_size=40),
        st.one_of(st.binary(max_size=200), st.integers(65_530, 140_000).map(lambda size: bytes([size % 251]) * size)),
    ),
    max_size=6,
)


@given(FRAMES, st.lists(st.integers(1, 100_000), min_size=1, max_size=20))
def test_any_cut_gives_the_same_frames(frames, cuts):
    data = b"".join(pack(*frame) for frame in frames)
    seen = []
    decoder = FrameDecoder(lambda *frame: seen.append(frame))
    at, turn = 0, 0
    while at < len(data):
        size = cuts[turn % len(cuts)]
        decoder.feed(data[at : at + size])
        at, turn = at + size, turn + 1
    assert seen == [tuple(frame) for frame in frames]


def test_one_byte_at_a_time():
    seen = []
    decoder = FrameDecoder(lambda *frame: seen.append(frame))
    for byte in pack(Kind.REQUEST, 7, b"meta", b"body") + pack(Kind.CANCEL, 7):
        decoder.feed(bytes([byte]))
    assert seen == [(Kind.REQUEST, 7, b"meta", b"body"), (Kind.CANCEL, 7, b"", b"")]


def test_a_large_payload_is_not_mixed_with_the_frame_behind_it():
    seen = []
    decoder = FrameDecoder(lambda *frame: seen.append(frame))
    large = bytes(range(256)) * 1024
    data = pack(Kind.ANSWER, 1, b"m", large) + pack(Kind.END, 2)
    decoder.feed(data[:100_000])
    decoder.feed(data[100_000:])
    assert seen == [(Kind.ANSWER, 1, b"m", large), (Kind.END, 2, b"", b"")]


def test_a_peer_that_speaks_something_else_is_found_out():
    decoder = FrameDecoder(lambda *frame: None, max_payload_bytes=1000)
    with pytest.raises(Broken, match="does not speak frames"):
        decoder.feed(HEADER.pack(1001, 1, 0, Kind.ANSWER, 0))
    with pytest.raises(Broken):
        FrameDecoder(lambda *frame: None).feed(b"HTTP/1.1 400 Bad Request\r\n\r\n")
