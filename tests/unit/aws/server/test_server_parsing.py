"""Bytes to requests, without sockets: any cut of the same bytes gives the same requests, and no bytes do harm."""

from hypothesis import given
from hypothesis import strategies as st

from trimtab.aws.server import HttpServer, Limits
from trimtab.aws.server.connection import Connection


class Transport:
    """Keeps what is written."""

    def __init__(self):
        self.written = b""
        self.closed = False

    def write(self, data):
        assert not self.closed
        self.written += data

    def writelines(self, parts):
        self.write(b"".join(parts))

    def is_closing(self):
        return self.closed

    def close(self):
        self.closed = True

    abort = close

    def can_write_eof(self):
        return True

    def write_eof(self):
        pass

    def pause_reading(self):
        pass

    resume_reading = pause_reading

    def get_extra_info(self, name):
        return None

    def set_write_buffer_limits(self, high):
        pass

    def get_write_buffer_size(self):
        return 0


class Recorder:
    """A fast path that keeps each request and answers at once, or when told."""

    def __init__(self, later=False):
        self.seen = []
        self.later = later
        self.pending = []

    def wants(self, target):
        return True

    def begin(self, exchange):
        return 1 << 20

    def handle(self, exchange):
        self.seen.append((exchange.method, exchange.target, exchange.headers, b"".join(exchange.chunks)))
        if self.later:
            self.pending.append(exchange)
        else:
            exchange.respond(b"HTTP/1.1 200 OK\r\n", exchange.target)

    def refuse(self, exchange, error):
        exchange.respond(b"HTTP/1.1 413 Too Large\r\n")


def connect(recorder, **limits):
    server = HttpServer(None, fast=recorder, limits=Limits(**limits))
    connection, transport = Connection(server), Transport()
    connection.connection_made(transport)
    return connection, transport


def feed(connection, data, cuts=(1 << 18,)):
    at = turn = 0
    while at < len(data):
        size = min(cuts[turn % len(cuts)], len(data) - at)
        connection.get_buffer(size)[:size] = data[at : at + size]
        connection.buffer_updated(size)
        at, turn = at + size, turn + 1


NAMES = st.from_regex(r"x-[a-zA-Z]{1,8}", fullmatch=True)
VALUES = st.from_regex(r"[!-~]([ -~]{0,18}[!-~])?", fullmatch=True)


@st.composite
def requests(draw):
    method = draw(st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE"]))
    target = b"/" + draw(st.from_regex(rb"[a-z%0-9/]{0,10}(\?[a-z=&]{0,10})?", fullmatch=True))
    headers = [(n.encode(), v.encode()) for n, v in draw(st.lists(st.tuples(NAMES, VALUES), max_size=4))]
    chunks = draw(st.lists(st.binary(min_size=1, max_size=60), max_size=4))
    body = b"".join(chunks)
    if chunks and draw(st.booleans()):
        framing = (b"Transfer-Encoding", b"chunked")
        wire = b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks) + b"0\r\n\r\n"
    else:
        framing, wire = (b"Content-Length", b"%d" % len(body)), body
    headers.append(framing)
    lines = b"".join(b"%b: %b\r\n" % pair for pair in headers)
    return (method, target, headers, body), b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method, target, lines, wire)


@given(st.lists(requests(), min_size=1, max_size=5), st.lists(st.integers(1, 80), min_size=1, max_size=10))
def test_any_cut_gives_the_same_requests_and_answers_in_order(stream, cuts):
    recorder = Recorder()
    connection, transport = connect(recorder)
    feed(connection, b"".join(wire for _, wire in stream), cuts)
    assert recorder.seen == [request for request, _ in stream]
    answers = transport.written.split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert [answer.split(b"\r\n\r\n", 1)[1] for answer in answers] == [request[1] for request, _ in stream]
    assert connection.server.buffered_bytes == 0


@given(st.lists(requests(), min_size=1, max_size=5), st.integers(1, 200))
def test_answers_made_later_still_come_one_at_a_time_and_in_order(stream, cut):
    recorder = Recorder(later=True)
    connection, transport = connect(recorder)
    feed(connection, b"".join(wire for _, wire in stream), (cut,))
    count = 0
    while recorder.pending:
        assert len(recorder.pending) == 1
        recorder.pending.pop().respond(b"HTTP/1.1 200 OK\r\n")
        count += 1
    assert count == len(stream)
    assert recorder.seen == [request for request, _ in stream]


@given(requests(), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6), st.integers(1, 50))
def test_no_bytes_raise_and_every_connection_is_answered_or_waits(request, changes, cut):
    data = bytearray(request[1])
    for at, byte in changes:
        data[at % len(data)] = byte
    connection, transport = connect(Recorder())
    feed(connection, bytes(data), (cut,))
    assert transport.written == b"" or transport.written.startswith(b"HTTP/1.1 ")


@given(st.binary(max_size=300))
def test_garbage_is_refused(data):
    connection, transport = connect(Recorder())
    feed(connection, data)
    assert transport.written == b"" or transport.written.startswith(b"HTTP/1.1 400")


def test_a_deep_pipeline_does_not_grow_the_stack():
    recorder = Recorder()
    connection, transport = connect(recorder)
    feed(connection, b"GET / HTTP/1.1\r\n\r\n" * 5000)
    assert len(recorder.seen) == 5000
    later = Recorder(later=True)
    connection, transport = connect(later)
    feed(connection, b"GET / HTTP/1.1\r\n\r\n" * 5000)
    later.later = False
    later.pending[0].respond(b"HTTP/1.1 200 OK\r\n")
    assert len(later.seen) == transport.written.count(b"200 OK") == 5000


def test_smuggling_shapes_are_refused():
    for bad in (
        b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nA : b\r\n\r\n",
        b"POST / HTTP/1.1\nA: b\n\n",
        b"POST / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -3\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    ):
        recorder = Recorder()
        connection, transport = connect(recorder)
        feed(connection, bad + b"GET /smuggled HTTP/1.1\r\n\r\n")
        assert transport.written.startswith(b"HTTP/1.1 400"), bad
        assert not recorder.seen


def test_what_follows_a_malformed_request_is_not_answered_but_what_came_before_is():
    recorder = Recorder(later=True)
    connection, transport = connect(recorder)
    feed(connection, b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nBAD\r\n\r\nGET /3 HTTP/1.1\r\n\r\n")
    recorder.pending.pop().respond(b"HTTP/1.1 200 OK\r\n")
    recorder.pending.pop().respond(b"HTTP/1.1 200 OK\r\n")
    assert [target for _, target, _, _ in recorder.seen] == [b"/1", b"/2"]
    assert transport.written.count(b"Connection: close") == 1
    assert transport.written.index(b"Connection: close") > transport.written.rindex(b"200 OK")


def test_an_absolute_target_is_taken_as_its_path():
    recorder = Recorder()
    connection, _ = connect(recorder)
    feed(connection, b"GET http://127.0.0.1:7070/a/b?c HTTP/1.1\r\n\r\n")
    assert recorder.seen[0][1] == b"/a/b?c"


def test_heads_over_the_limits_are_refused():
    for head in (
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20 + b"\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"b" * 2000 + b"\r\n\r\n",
        b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"b" * 2000,
    ):
        for cut in (1 << 18, 100):
            connection, transport = connect(Recorder(), head_bytes=1000, header_count=10)
            feed(connection, head, (cut,))
            assert transport.written.startswith(b"HTTP/1.1 431"), head


def test_bodies_in_memory_are_bounded_over_all_connections():
    recorder = Recorder(later=True)
    connection, transport = connect(recorder, buffered_bytes=1000)
    feed(connection, b"POST /1 HTTP/1.1\r\nContent-Length: 900\r\n\r\n" + b"x" * 900)
    other, other_transport = Connection(connection.server), Transport()
    other.connection_made(other_transport)
    feed(other, b"POST /2 HTTP/1.1\r\nContent-Length: 900\r\n\r\n" + b"x" * 900)
    assert other_transport.written.startswith(b"HTTP/1.1 413")  # Recorder.refuse
    recorder.pending.pop().respond(b"HTTP/1.1 200 OK\r\n")
    assert connection.server.buffered_bytes == 0


def test_an_answer_after_the_client_left_goes_nowhere():
    recorder = Recorder(later=True)
    connection, transport = connect(recorder)
    feed(connection, b"GET / HTTP/1.1\r\n\r\n")
    gone = []
    exchange = recorder.pending.pop()
    exchange.on_gone = lambda: gone.append(True)
    connection.connection_lost(None)
    exchange.respond(b"HTTP/1.1 200 OK\r\n", b"late")
    assert gone == [True]
    assert transport.written == b""


def test_a_coding_that_nobody_would_undo_and_a_second_host_are_refused():
    for bad, status in (
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", b"501"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", b"400"),
    ):
        recorder = Recorder()
        connection, transport = connect(recorder)
        feed(connection, bad + b"GET /smuggled HTTP/1.1\r\n\r\n")
        assert transport.written.startswith(b"HTTP/1.1 " + status)
        assert not recorder.seen


def test_a_client_that_leaves_some_time_after_its_request_is_gone():
    recorder = Recorder(later=True)
    connection, _ = connect(recorder)
    feed(connection, b"GET / HTTP/1.1\r\n\r\n")
    assert connection.eof_received()  # right behind the request: only its sending half
    connection._completed_s -= connection.server.limits.half_close_s * 2
    assert not connection.eof_received()
