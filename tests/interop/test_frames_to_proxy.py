"""Invalid frames to a real proxy, whose agents the test plays, end in the error codes of RFC 9113.

Every fault has a service of its own with one endpoint, at an address of the test.
"""

import socket
from collections.abc import Callable
from typing import Any

import pytest

import raw_http2 as h2
from cluster import Cluster, Proxy
from fake_agent import FakeAgent
from faults import CONNECTION, FRAME_FAULTS, NOTHING, STREAM, Fault
from raw_http2 import END_HEADERS, END_STREAM, Frame, RawTrunk, data, field, frame, headers, settings
from servers import ServerStarter
from traffic import read_exactly

# Starts a proxy and returns (fault, service, agent) for each fault.
Start = Callable[..., list[tuple[Fault, str, FakeAgent]]]

_PUSH = frame(h2.PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2" + h2.connect("x"))


def _answer(name: str, block: bytes, flags: int = END_HEADERS) -> Fault:
    """A malformed answer to CONNECT, whose stream is reset."""
    return Fault(name, headers(1, block, flags), STREAM, h2.PROTOCOL_ERROR)


# Sent while a CONNECT waits for its answer.
ANSWER_FAULTS = [
    _answer("an answer without :status", field("x", "y")),
    _answer("an answer with two :status", h2.OK_BLOCK + h2.OK_BLOCK),
    _answer("an answer with a status that is no number", field(":status", "abc")),
    _answer("101, which HTTP/2 has not", field(":status", "101")),
    _answer("an answer with a :path", h2.OK_BLOCK + field(":path", "/")),
    _answer("an answer with a pseudo-header behind a header", field("x", "y") + h2.OK_BLOCK),
    _answer("an answer with a header in upper case", h2.OK_BLOCK + field("Via", "x")),
    _answer("an answer with a header of HTTP/1.1 connections", h2.OK_BLOCK + field("connection", "close")),
    _answer("an interim answer that ends the stream", field(":status", "103"), END_HEADERS | END_STREAM),
    Fault("a header list above 8 KiB", headers(1, h2.OK_BLOCK + field("x", "y" * 9000)), STREAM, h2.ENHANCE_YOUR_CALM),
    Fault("DATA before the answer", data(1, b"x"), CONNECTION, h2.PROTOCOL_ERROR),
    # Push is off in the proxy's SETTINGS.
    Fault("PUSH_PROMISE", settings(flags=h2.ACK) + _PUSH, CONNECTION, h2.PROTOCOL_ERROR),
    Fault("a stream that the agent opens", headers(2, h2.connect("x")), CONNECTION, h2.PROTOCOL_ERROR),
    Fault("an answer on a stream that is not open", headers(9, h2.OK_BLOCK), CONNECTION, h2.PROTOCOL_ERROR),
    Fault("a server that switches push on", settings((h2.ENABLE_PUSH, 1)), CONNECTION, h2.PROTOCOL_ERROR),
]

OPENING_FAULTS = [
    Fault("PING before SETTINGS", h2.ping(), CONNECTION, h2.PROTOCOL_ERROR),
    Fault("an answer before SETTINGS", headers(1, h2.OK_BLOCK), CONNECTION, h2.PROTOCOL_ERROR),
    Fault("an acknowledgement before SETTINGS", settings(flags=h2.ACK), CONNECTION, h2.PROTOCOL_ERROR),
    Fault("HTTP/1.1", b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", CONNECTION, h2.PROTOCOL_ERROR),
]


@pytest.fixture
def start(cluster: Cluster, servers: ServerStarter) -> Any:
    """Returns start(faults), which starts a proxy with a service and a fake agent for each fault."""

    def play(faults: list[Fault], **fake: Any) -> Any:
        agents = [servers(FakeAgent, **({"greeting": fault.said} if fake.get("greets") else {})) for fault in faults]
        cluster.add_controller(
            {
                f"s{i}": {"endpoints": [{"endpoint_id": f"e{i}", "address": agent.address}]}
                for i, agent in enumerate(agents)
            }
        )
        # The test answers no PINGs.
        cluster.add_proxy(workers=1, ping_after="300s")
        cluster.start()
        return [(fault, f"s{i}", agent) for i, (fault, agent) in enumerate(zip(faults, agents, strict=True))]

    return play


def stream_of(proxy: Proxy, service: str, trunk: RawTrunk) -> tuple[socket.socket, Frame]:
    """Returns a client, and the HEADERS of its stream on the trunk."""
    client = proxy.connect(service)
    return client, trunk.answer(1)


def judge(trunk: RawTrunk, fault: Fault) -> None:
    trunk.send(fault.said)
    if fault.ends == CONNECTION:
        assert trunk.goaway_code() == fault.code
        return
    trunk.is_alive()
    assert trunk.reset_codes(1) == ([fault.code] if fault.ends == STREAM else [])


def assert_serves(proxy: Proxy, service: str, trunk: RawTrunk, stream: int) -> None:
    """Checks that a new client of the service is served on the trunk."""
    with proxy.connect(service) as client:
        client.sendall(b"hello")
        assert trunk.heard(lambda heard: heard.kind == h2.DATA and heard.stream == stream).payload == b"hello"
        trunk.send(headers(stream, h2.OK_BLOCK), data(stream, b"world", END_STREAM))
        assert read_exactly(client, 6) == b"world"


def assert_reset(client: socket.socket) -> None:
    with pytest.raises(ConnectionResetError):  # noqa: PT012  the reset may come behind data
        while client.recv(100):
            pass


def test_each_fault_on_a_connected_stream_ends_in_its_error_code(cluster: Cluster, start: Start) -> None:
    for fault, service, agent in start(FRAME_FAULTS):
        print(fault)
        proxy = cluster.proxies[0]
        with agent.next_trunk() as trunk:
            client, _ = stream_of(proxy, service, trunk)
            trunk.send(headers(1, h2.OK_BLOCK))
            judge(trunk, fault)
            # A client that already got a FIN sees no reset.
            if fault.ends != NOTHING and fault.code != h2.STREAM_CLOSED:
                assert_reset(client)
            if fault.ends != CONNECTION:
                assert_serves(proxy, service, trunk, 3)
            client.close()
        if fault.ends == CONNECTION:
            # The proxy dials again, and the new trunk works.
            with agent.next_trunk() as trunk:
                assert_serves(proxy, service, trunk, 1)
    assert proxy.metric("proxy_trunk_protocol_errors_total") == sum(fault.ends == CONNECTION for fault in FRAME_FAULTS)


def test_each_fault_in_an_answer_ends_in_its_error_code(cluster: Cluster, start: Start) -> None:
    for fault, service, agent in start(ANSWER_FAULTS):
        print(fault)
        proxy = cluster.proxies[0]
        with agent.next_trunk() as trunk:
            client, _ = stream_of(proxy, service, trunk)
            judge(trunk, fault)
            assert_reset(client)
            if fault.ends != CONNECTION:
                assert_serves(proxy, service, trunk, 3)
            client.close()


def test_agent_that_does_not_begin_as_http2_is_told_so_and_dialled_again(cluster: Cluster, start: Start) -> None:
    for fault, service, agent in start(OPENING_FAULTS, greets=True):
        print(fault)
        with agent.next_trunk() as trunk:
            assert trunk.goaway_code() == fault.code
        with agent.next_trunk() as trunk:
            assert_serves(cluster.proxies[0], service, trunk, 1)


def test_every_2xx_answer_connects_after_interim_answers(cluster: Cluster, start: Start) -> None:
    interim = headers(1, field(":status", "103") + field("x", "y"))
    ((_, service, agent),) = start([Fault("none", b"", NOTHING)])
    proxy = cluster.proxies[0]
    with agent.next_trunk() as trunk:
        client, _ = stream_of(proxy, service, trunk)
        trunk.send(
            interim,
            interim,
            headers(1, field(":status", "201") + field("x", "y")),
            frame(h2.DATA, h2.PADDED, 1, b"\x03hello" + bytes(3)),
            data(1, b"", END_STREAM),
        )
        assert read_exactly(client, 6) == b"hello"
        client.sendall(b"bye")
        client.close()
        assert trunk.heard(lambda heard: heard.kind == h2.DATA and heard.payload).payload == b"bye"


def test_push_before_the_agent_knew_that_it_is_off_is_refused(cluster: Cluster, start: Start) -> None:
    ((_, service, agent),) = start([Fault("none", b"", NOTHING)])
    with agent.next_trunk() as trunk:
        client, _ = stream_of(cluster.proxies[0], service, trunk)
        trunk.send(_PUSH, headers(1, h2.OK_BLOCK), data(1, b"hello"))
        assert read_exactly(client, 5) == b"hello"
        trunk.is_alive()
        assert trunk.reset_codes(2) == [h2.CANCEL]
        client.close()
