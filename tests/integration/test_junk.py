"""Sends invalid bytes to every port of every process: all processes survive and other clients are served."""

import contextlib
import random
import secrets
import socket
import struct
from collections.abc import Iterator

import pytest

from cluster import Cluster, http_get
from servers import EchoServer, ServerStarter
from traffic import ask_many, assert_echo, read_line
from waiting import eventually

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_EMPTY_SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
_CLIENT_HELLO = (
    bytes.fromhex("16030100a5010000a10303")
    + bytes(32)
    + bytes.fromhex("20")
    + bytes(32)
    + bytes.fromhex("000613011302130301000052")
)


def frame(length: int, kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Returns an HTTP/2 frame whose length field says `length`, regardless of the payload."""
    return struct.pack("!I", length)[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def junk(rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Yields (description, bytes)."""
    yield "nothing", b""
    yield "one byte", b"\x00"
    for size in (10, 1000, 100_000):
        yield f"{size} random bytes", rng.randbytes(size)
    yield "zeros", bytes(50_000)
    yield "HTTP/1.1", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    yield "a long HTTP/1.1 header", b"GET / HTTP/1.1\r\nX: " + b"y" * 200_000 + b"\r\n\r\n"
    yield "HTTP/1.1 with a body that never comes", b"POST /metrics HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n"
    yield "a TLS ClientHello", _CLIENT_HELLO
    yield "half a preface", _PREFACE[:12]
    yield "a preface and silence", _PREFACE + _EMPTY_SETTINGS
    yield "an oversized frame", _PREFACE + frame(0xFFFFFF, 0, 0, 1, b"z" * 100_000)
    yield "an oversized SETTINGS", _PREFACE + frame(60_000, 4, 0, 0, bytes(60_000))
    yield "DATA on a stream that is not open", _PREFACE + _EMPTY_SETTINGS + frame(5, 0, 0, 9, b"hello")
    yield "HEADERS that are no HPACK", _PREFACE + _EMPTY_SETTINGS + frame(64, 1, 4, 1, rng.randbytes(64))
    yield "CONTINUATION without HEADERS", _PREFACE + _EMPTY_SETTINGS + frame(8, 9, 0, 1, bytes(8))
    yield (
        "HEADERS without an end",
        _PREFACE + _EMPTY_SETTINGS + frame(1, 1, 0, 1, b"\x82") + frame(1, 9, 0, 1, b"\x82") * 500,
    )
    yield "PING flood", _PREFACE + _EMPTY_SETTINGS + frame(8, 6, 0, 0, bytes(8)) * 3000
    yield "SETTINGS flood", _PREFACE + _EMPTY_SETTINGS * 3000
    yield "a window that overflows", _PREFACE + _EMPTY_SETTINGS + frame(4, 8, 0, 0, b"\x7f\xff\xff\xff") * 2
    yield (
        "frames of every kind and random content",
        _PREFACE
        + _EMPTY_SETTINGS
        + b"".join(
            frame(n, rng.randrange(16), rng.randrange(256), rng.randrange(8), rng.randbytes(n))
            for n in [rng.randrange(64) for _ in range(200)]
        ),
    )


def throw(port: int, data: bytes) -> socket.socket:
    """Connects, sends and returns the open connection. The other side may close it at any time."""
    client = socket.create_connection(("127.0.0.1", port), timeout=2)
    with contextlib.suppress(OSError):
        client.sendall(data)
    return client


@pytest.fixture
def ports(cluster: Cluster, servers: ServerStarter) -> dict[str, int]:
    server = servers(EchoServer, "a", cluster.path("echo.sock"))
    cluster.add_controller({"echo": {}})
    agent = cluster.add_agent("a", {"echo": server.address})
    proxy = cluster.add_proxy()
    cluster.start()
    return {
        "controller gRPC": cluster.controller.grpc_port,
        "controller HTTP": cluster.controller.http_port,
        "proxy HTTP": proxy.http_port,
        "proxy's listener": proxy.port("echo"),
        "agent HTTP": agent.http_port,
        "agent's trunk port": agent.trunk_port,
    }


def test_junk_on_every_port_disturbs_no_client(cluster: Cluster, ports: dict[str, int]) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    proxy = cluster.proxies[0]
    kept = proxy.connect("echo")
    assert read_line(kept) == "a"
    thrown = []
    for name, port in ports.items():
        for what, data in junk(rng):
            print(f"{what} to {name}")
            thrown.append(throw(port, data))
            assert all(process.running for process in cluster.processes)
        # All junk connections are still open here.
        assert_echo(kept, b"still here")
        assert ask_many(proxy, 5) == {"a": 5}
    for program in cluster.programs:
        assert http_get(program.http_port, "/healthz")[0] == 200
        assert program.ready()
    eventually(
        "the agent reports",
        lambda: cluster.ctl_json("weights")["services"][0]["endpoints"][0]["state"] == "ENDPOINT_STATE_FRESH",
    )
    for client in thrown:
        client.close()
    assert_echo(kept, b"still here")
    kept.close()
    assert ask_many(proxy, 50) == {"a": 50}
    assert proxy.metric("proxy_flow_errors_total", cause="trunk_lost") == 0
    assert proxy.metric("proxy_controller_connected") == 1
    assert cluster.agents[0].metric("agent_controller_connected") == 1


def test_agent_is_no_open_proxy(cluster: Cluster, ports: dict[str, int]) -> None:
    secret = EchoServer("secret")
    rejected = cluster.agents[0].metric("agent_unknown_service_total")
    # HPACK literals without indexing: :method CONNECT, and :authority with the server's address.
    authority = secret.address.encode()
    headers = b"\x02\x07CONNECT" + b"\x01" + bytes([len(authority)]) + authority
    with socket.create_connection(("127.0.0.1", ports["agent's trunk port"]), timeout=20) as client:
        client.sendall(_PREFACE + _EMPTY_SETTINGS + frame(len(headers), 1, 4, 1, headers))
        received = b""
        # The answer is a HEADERS frame (type 1).
        while not any(kind == 1 for kind, _ in frames(received)):
            data = client.recv(65536)
            assert data, "closed without an answer"
            received += data
    assert b"secret" not in received
    assert secret.accepted == 0
    assert cluster.agents[0].metric("agent_unknown_service_total") == rejected + 1
    secret.close()


def frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields (kind, payload) of each complete frame in `data`."""
    while len(data) >= 9:
        length = int.from_bytes(data[:3], "big")
        if len(data) < 9 + length:
            return
        yield data[3], data[9 : 9 + length]
        data = data[9 + length :]
