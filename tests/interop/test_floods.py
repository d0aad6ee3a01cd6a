"""Peers that waste the other end's work or memory are disconnected, within bounded memory, and other trunks are
unaffected.
"""

import contextlib
import threading
import time
from collections.abc import Iterator

import pytest

import raw_http2 as h2
from cluster import Agent, Cluster, Program
from fake_agent import FakeAgent
from processes import tool
from raw_http2 import END_HEADERS, RawTrunk, connect, data, field, frame, headers, settings
from servers import EchoServer, ServerStarter
from traffic import Load, assert_echo, read_line, reset
from waiting import SANITIZER, eventually

# Growth of a process's resident memory that a flood may cause.
_MEMORY_BYTES = 16 * 1024 * 1024
# Exceeds the burst allowed for any kind of frame except resets.
_FLOOD_FRAMES = 20_000
# Resets that the clients of a busy proxy may cause at once.
_RESET_BURST = 50_000
_PIECE_FRAMES = 500


@pytest.fixture
def agent(cluster: Cluster, servers: ServerStarter) -> Agent:
    path = cluster.path("redis.sock")
    cluster.add_process("redis", [tool("redis-server"), "--port", 0, "--unixsocket", path, "--save", ""]).start()
    eventually("redis listens", path.exists)
    cluster.add_controller({"echo": {}, "redis": {}})
    agent = cluster.add_agent("a", {"echo": servers(EchoServer, "a").address, "redis": f"unix:{path}"})
    cluster.add_proxy()
    cluster.start()
    return agent


def flood(trunk: RawTrunk, frames: list[bytes]) -> list[int]:
    """Sends all frames while reading the answers to the end of the connection; returns the codes of its GOAWAYs."""
    pieces = [b"".join(frames[at : at + _PIECE_FRAMES]) for at in range(0, len(frames), _PIECE_FRAMES)]

    def say() -> None:
        for piece in pieces:
            if not trunk.send(piece):
                return

    speaker = threading.Thread(target=say, daemon=True)
    speaker.start()
    try:
        return trunk.goaway_codes()
    finally:
        speaker.join()


def _hpack_bomb(stream: int) -> bytes:
    """Returns a block that adds a field of 3,000 bytes to HPACK's table and repeats it: 16 KiB that expand to 38 MB."""
    block = connect("echo") + b"\x40\x01x\x7f\xb9\x16" + b"v" * 3000
    return headers(stream, block + b"\xbe" * (16 * 1024 - len(block)))


def _priority(stream: int) -> bytes:
    """Returns a PRIORITY frame of an idle stream that depends on the one before."""
    return frame(h2.PRIORITY, 0, stream, (stream - 2).to_bytes(4, "big") + b"\x10")


def _rapid_resets(first: int, count: int) -> list[bytes]:
    return [headers(stream, connect("redis")) + h2.reset(stream) for stream in range(first, first + 2 * count, 2)]


_STREAMS = range(3, 3 + 2 * _FLOOD_FRAMES, 2)
_UNFINISHED = [headers(3, connect("echo"), flags=0)]
FLOODS = {
    "PING": lambda: [h2.ping()] * _FLOOD_FRAMES,
    "SETTINGS": lambda: [settings((h2.INITIAL_WINDOW_SIZE, 70_000))] * _FLOOD_FRAMES,
    "PRIORITY": lambda: [_priority(stream) for stream in _STREAMS],
    "DATA without bytes": lambda: [data(1)] * _FLOOD_FRAMES,
    "CONTINUATION": lambda: _UNFINISHED + [frame(h2.CONTINUATION, 0, 3, field("x", "y"))] * _FLOOD_FRAMES,
    "CONTINUATION without bytes": lambda: _UNFINISHED + [frame(h2.CONTINUATION, 0, 3)] * _FLOOD_FRAMES,
    "malformed requests": lambda: [headers(stream, field(":method", "CONNECT")) for stream in _STREAMS],
    "HPACK bombs": lambda: [_hpack_bomb(stream) for stream in _STREAMS[:1000]],
    "rapid resets": lambda: _rapid_resets(3, 8 * _RESET_BURST),
}


@contextlib.contextmanager
def others_are_served(cluster: Cluster, victim: Program, lost: int = 0) -> Iterator[None]:
    """Checks that clients of another trunk are served meanwhile and the victim's memory stays bounded.

    `lost` is the number of clients of the flood's own trunk.
    """
    (proxy,) = cluster.proxies
    with proxy.connect("echo") as kept:
        assert read_line(kept) == "a"
        with Load([proxy]) as load:
            load.run_on(50)
            before = victim.resident_bytes()
            start = time.monotonic()
            yield
            grown = victim.resident_bytes() - before
            print(f"{time.monotonic() - start:.2f} s, {grown / 1e6:+.1f} MB, {load.done} connections meanwhile")
            load.run_on(50)
        assert load.failures == []
        assert_echo(kept, b"still here")
    assert proxy.metric("proxy_flow_errors_total", cause="trunk_lost") == lost
    if not SANITIZER:
        assert grown <= _MEMORY_BYTES


@pytest.mark.parametrize("name", FLOODS)
def test_flood_is_disconnected_and_others_are_served(cluster: Cluster, agent: Agent, name: str) -> None:
    frames = FLOODS[name]()
    with others_are_served(cluster, agent), RawTrunk.dial(agent.trunk_port) as trunk:
        # The GOAWAY is lost if more of the flood arrives while the kernel still has to send it.
        assert set(flood(trunk.open(1, "echo"), frames)) <= {h2.ENHANCE_YOUR_CALM}
    assert agent.metric("agent_trunk_protocol_errors_total") == 1


def test_burst_of_resets_is_no_attack_and_others_are_served(cluster: Cluster, agent: Agent) -> None:
    frames = _rapid_resets(3, _RESET_BURST)
    with others_are_served(cluster, agent), RawTrunk.dial(agent.trunk_port) as trunk:
        trunk.open(1, "echo").send(*frames)
        trunk.is_alive()
        assert [heard for heard in trunk.frames if heard.kind == h2.GOAWAY] == []


def test_clients_that_abort_never_cost_a_trunk(cluster: Cluster, agent: Agent) -> None:
    (proxy,) = cluster.proxies
    trunks = agent.metric("agent_trunks_accepted_total")
    for _ in range(3000):
        client = proxy.connect("echo")
        client.sendall(b"and away")
        reset(client)
    eventually("no client is left", lambda: proxy.metric("proxy_clients") == 0)
    assert agent.metric("agent_trunks_accepted_total") == trunks
    assert proxy.metric("proxy_flow_errors_total", cause="trunk_lost") == 0


# The peer makes the agent send, and never reads.
@pytest.mark.parametrize("name", ["PING", "streams that are refused"])
def test_peer_that_never_reads_costs_no_memory(cluster: Cluster, agent: Agent, name: str) -> None:
    said = {
        "PING": lambda _: h2.ping(),
        "streams that are refused": lambda stream: headers(stream, connect("nobody"), h2.END_STREAM | END_HEADERS),
    }[name]
    frames = [said(stream) for stream in range(3, 400_000, 2)]
    with others_are_served(cluster, agent), RawTrunk.dial(agent.trunk_port) as trunk:
        # The agent reads all of it, or disconnects the peer.
        trunk.send(*frames)


AGENT_FLOODS = {
    **{name: FLOODS[name] for name in ["PING", "SETTINGS", "PRIORITY", "DATA without bytes"]},
    "interim answers": lambda: [headers(1, field(":status", "103"))] * _FLOOD_FRAMES,
    "CONTINUATION": lambda: [headers(1, h2.OK_BLOCK, flags=0)] + [frame(h2.CONTINUATION, 0, 1)] * _FLOOD_FRAMES,
    "pushes": lambda: [
        frame(h2.PUSH_PROMISE, END_HEADERS, 1, (stream - 1).to_bytes(4, "big") + connect("echo")) for stream in _STREAMS
    ],
}


@pytest.mark.parametrize("name", AGENT_FLOODS)
def test_flood_of_an_agent_is_disconnected_and_others_are_served(
    cluster: Cluster, servers: ServerStarter, name: str
) -> None:
    fake = servers(FakeAgent)
    cluster.add_controller({"echo": {}, "flood": {"endpoints": [{"endpoint_id": "fake", "address": fake.address}]}})
    cluster.add_agent("a", {"echo": servers(EchoServer, "a").address})
    # With one worker, the flood and the other trunks share it.
    proxy = cluster.add_proxy(workers=1)
    cluster.start()
    frames = AGENT_FLOODS[name]()
    with others_are_served(cluster, proxy, lost=1), fake.next_trunk() as trunk, proxy.connect("flood"):
        trunk.answer(1)
        if name == "DATA without bytes":
            trunk.send(headers(1, h2.OK_BLOCK))
        assert set(flood(trunk, frames)) <= {h2.ENHANCE_YOUR_CALM}
    assert proxy.metric("proxy_trunk_protocol_errors_total") == 1
