"""Invalid frames to the trunk port of a real agent end in the error codes of RFC 9113."""

import socket

import pytest

import raw_http2 as h2
from cluster import Agent, Cluster
from faults import CONNECTION, FRAME_FAULTS, NOTHING, STREAM, Fault
from raw_http2 import END_HEADERS, END_STREAM, PADDED, RawTrunk, connect, data, field, frame, headers, settings
from servers import EchoServer, ServerStarter

_METHOD = field(":method", "CONNECT")
_AUTHORITY = field(":authority", "hold:1")
_OTHER_FIELD = field("x", "y")


def _request(name: str, block: bytes) -> Fault:
    """A malformed request, whose stream is reset."""
    return Fault(name, headers(3, block), STREAM, h2.PROTOCOL_ERROR)


REQUEST_FAULTS = [
    _request("CONNECT with a :path", _METHOD + _AUTHORITY + field(":path", "/")),
    _request("CONNECT with a :scheme", _METHOD + _AUTHORITY + field(":scheme", "http")),
    _request("CONNECT without an :authority", _METHOD),
    _request(
        "extended CONNECT, which was not offered",
        _METHOD + _AUTHORITY + field(":protocol", "websocket") + field(":path", "/") + field(":scheme", "http"),
    ),
    _request("CONNECT with an empty :authority", _METHOD + field(":authority", "")),
    _request("no :method", _AUTHORITY),
    _request("two :method", _METHOD + _METHOD + _AUTHORITY),
    _request("two :authority", _METHOD + _AUTHORITY + _AUTHORITY),
    _request("an unknown pseudo-header", _METHOD + _AUTHORITY + field(":x", "y")),
    _request("a :status in a request", _METHOD + _AUTHORITY + h2.OK_BLOCK),
    _request("a pseudo-header behind a header", _METHOD + _OTHER_FIELD + _AUTHORITY),
    _request("a header in upper case", _METHOD + _AUTHORITY + field("Forwarded", "y")),
    _request("a header name with a space", _METHOD + _AUTHORITY + field("x y", "z")),
    _request("a header of HTTP/1.1 connections", _METHOD + _AUTHORITY + field("connection", "close")),
    _request("TE other than trailers", _METHOD + _AUTHORITY + field("te", "gzip")),
    _request("GET without a :path", field(":method", "GET") + field(":scheme", "http") + _AUTHORITY),
    Fault(
        "a header list above 8 KiB",
        headers(3, _METHOD + _AUTHORITY + field("x", "y" * 9000)),
        STREAM,
        h2.ENHANCE_YOUR_CALM,
    ),
    Fault("HEADERS on an even stream", headers(2, connect("hold")), CONNECTION, h2.PROTOCOL_ERROR),
    Fault(
        "PUSH_PROMISE to a server",
        frame(h2.PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2" + connect("hold")),
        CONNECTION,
        h2.PROTOCOL_ERROR,
    ),
    Fault(
        "a table size update behind a field", headers(3, connect("hold") + b"\x20"), CONNECTION, h2.COMPRESSION_ERROR
    ),
    Fault("a stream below the largest", headers(7, connect("hold")) + headers(5, connect("hold")), NOTHING),
]

OPENING_FAULTS = [
    ("another preface", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + settings()),
    ("HTTP/1.1", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("PING before SETTINGS", h2.PREFACE + h2.ping()),
    ("HEADERS before SETTINGS", h2.PREFACE + headers(1, connect("echo"))),
    ("an acknowledgement before SETTINGS", h2.PREFACE + settings(flags=h2.ACK)),
]


class Silence:
    """A server whose connections wait in the kernel's accept queue and are never read."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def agent(cluster: Cluster, servers: ServerStarter) -> Agent:
    cluster.add_controller({"echo": {}, "hold": {}})
    agent = cluster.add_agent("a", {"echo": servers(EchoServer).address, "hold": servers(Silence).address})
    assert isinstance(agent, Agent)
    return agent.start()


def assert_serves(trunk: RawTrunk, stream: int) -> None:
    """Checks that a new stream on the trunk is served."""
    trunk.open(stream, "echo").send(data(stream, b"hello", END_STREAM))
    heard = trunk.heard(lambda heard: heard.kind == h2.DATA and heard.stream == stream)
    assert heard.payload == b"hello"


def judge(agent: Agent, fault: Fault) -> None:
    with RawTrunk.dial(agent.trunk_port) as trunk:
        trunk.open(1, "hold").send(fault.said)
        if fault.ends == CONNECTION:
            assert trunk.goaway_code() == fault.code
            return
        trunk.is_alive()
        resets = trunk.reset_codes(3) or trunk.reset_codes(1)
        assert resets == ([fault.code] if fault.ends == STREAM else [])
        assert_serves(trunk, 101)


# All faults meet the same agent, so that lasting damage would show.
def test_each_fault_ends_in_its_error_code(agent: Agent) -> None:
    errors = 0
    for fault in FRAME_FAULTS + REQUEST_FAULTS:
        print(fault)
        judge(agent, fault)
        errors += fault.ends == CONNECTION
        assert agent.metric("agent_trunk_protocol_errors_total") == errors
    with RawTrunk.dial(agent.trunk_port) as trunk:
        assert_serves(trunk, 1)


@pytest.mark.parametrize("said", [said for _, said in OPENING_FAULTS], ids=[name for name, _ in OPENING_FAULTS])
def test_connection_that_does_not_begin_as_http2_is_a_protocol_error(agent: Agent, said: bytes) -> None:
    with RawTrunk.dial(agent.trunk_port, opening=said) as trunk:
        assert trunk.goaway_code() == h2.PROTOCOL_ERROR


def test_data_beyond_a_streams_window_is_a_flow_control_error(agent: Agent) -> None:
    with RawTrunk.dial(agent.trunk_port) as trunk:
        trunk.open(1, "hold")
        # The kernel buffers some bytes for the server that does not read; then the window stays closed, and the test
        # ignores it.
        trunk.send(*[data(1, bytes(16 * 1024))] * 1024)
        assert trunk.goaway_code() == h2.FLOW_CONTROL_ERROR


def test_streams_above_the_limit_are_refused(agent: Agent) -> None:
    limit = 1000
    with RawTrunk.dial(agent.trunk_port) as trunk:
        for index in range(limit):
            trunk.send(headers(2 * index + 1, connect("hold")))
        trunk.answer(2 * limit - 1)
        trunk.send(headers(2 * limit + 1, connect("hold")))
        trunk.is_alive()
        assert trunk.reset_codes(2 * limit + 1) == [h2.REFUSED_STREAM]
        # A reset makes room for one stream.
        trunk.send(h2.reset(1))
        assert_serves(trunk, 2 * limit + 3)


def test_every_legal_form_of_a_stream_is_served(agent: Agent) -> None:
    with RawTrunk.dial(agent.trunk_port) as trunk:
        # A header block in pieces that also ends the request.
        block = connect("echo")
        trunk.send(
            headers(1, block[:5], END_STREAM),
            frame(h2.CONTINUATION, 0, 1, block[5:9]),
            frame(h2.CONTINUATION, END_HEADERS, 1, block[9:]),
        )
        assert h2.status_of(trunk.answer(1)) == 200
        trunk.heard(lambda heard: heard.stream == 1 and heard.flags & END_STREAM)
        # Padding, a priority and an extra header.
        trunk.send(
            frame(
                h2.HEADERS,
                END_HEADERS | PADDED | h2.WITH_PRIORITY,
                3,
                b"\x03" + b"\0\0\0\1\x10" + connect("echo") + field("via", "x") + bytes(3),
            ),
            frame(h2.DATA, PADDED, 3, b"\x04hello" + bytes(4)),
        )
        assert trunk.heard(lambda heard: heard.kind == h2.DATA and heard.stream == 3).payload == b"hello"
        # Streams opened before the proxy's own GOAWAY go on.
        trunk.send(h2.goaway(0), data(3, b"still here"))
        assert trunk.heard(lambda heard: heard.kind == h2.DATA and heard.stream == 3).payload == b"still here"
        assert trunk.reset_codes(1) == trunk.reset_codes(3) == []


def test_requests_that_are_not_for_a_service_are_answered(agent: Agent) -> None:
    for block, status in [
        (connect("nobody"), 404),
        (_METHOD + field(":authority", ":1"), 404),
        (field(":method", "GET") + field(":scheme", "http") + field(":path", "/") + _AUTHORITY, 405),
    ]:
        with RawTrunk.dial(agent.trunk_port) as trunk:
            trunk.send(headers(1, block))
            answer = trunk.answer(1)
            assert h2.status_of(answer) == status
            assert answer.flags & END_STREAM
            trunk.is_alive()
            # The request was still open; RST_STREAM(NO_ERROR) tells the peer to stop it.
            assert trunk.reset_codes(1) == [h2.NO_ERROR]
            assert_serves(trunk, 3)
