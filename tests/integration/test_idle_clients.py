"""Ten thousand connected, idle clients share a handful of trunks."""

import resource
import selectors
import socket
from collections.abc import Iterator

import pytest

from cluster import BIN_DIR, Cluster
from ports import reserve_port
from waiting import SANITIZER, SLOWNESS, eventually

_CLIENTS = 2_000 if SANITIZER else 10_000
_ENDPOINTS = 2
_MOST_TRUNKS_EACH = 4
# Each source address allows 28,000 ports; other tests use 127.0.0.1.
_SOURCES = [f"127.0.0.{2 + i}" for i in range(8)]
# Linux's IP_BIND_ADDRESS_NO_PORT, with which the kernel picks the port at connect, per destination.
_BIND_ADDRESS_NO_PORT = 24
# Connects in flight at once; an accept queue is finite.
_BATCH = 200


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Raises the soft limit of open files to the hard limit for this process and its children."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _CLIENTS + 500
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.fail(f"the hard limit of open files is {hard}; this test needs {needed}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def start_connect(port: int, number: int) -> socket.socket:
    client = socket.socket()
    client.setblocking(False)
    client.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
    client.bind((_SOURCES[number % len(_SOURCES)], 0))
    client.connect_ex(("127.0.0.1", port))
    return client


def exchange(clients: list[socket.socket], byte: bytes) -> int:
    """Lets each client send the byte once it is connected and await its echo; returns how many got it."""
    selector = selectors.DefaultSelector()
    for client in clients:
        selector.register(client, selectors.EVENT_WRITE)
    answered = 0
    while selector.get_map():
        events = selector.select(timeout=20 * SLOWNESS)
        assert events, f"{len(selector.get_map())} of {len(clients)} clients wait"
        for key, mask in events:
            peer = key.fileobj
            assert isinstance(peer, socket.socket)
            if mask & selectors.EVENT_WRITE:
                peer.send(byte)
                selector.modify(peer, selectors.EVENT_READ)
            else:
                assert peer.recv(2) == byte
                answered += 1
                selector.unregister(peer)
    selector.close()
    return answered


def test_ten_thousand_idle_clients(cluster: Cluster, descriptors: None) -> None:
    limits = {"max_clients": 2 * _CLIENTS}
    cluster.add_controller({"echo": {"limits": limits}})
    for i in range(_ENDPOINTS):
        echo_socket = cluster.path(f"echo{i}.sock")
        cluster.add_process(
            f"echo{i}",
            [BIN_DIR / "echo_server", "--listen", f"127.0.0.1:{reserve_port()}", "--listen", f"unix:{echo_socket}"],
        ).start()
        cluster.add_agent(f"a{i}", {"echo": f"unix:{echo_socket}"})
    proxy = cluster.add_proxy()
    cluster.start()
    port = proxy.port("echo")
    exchange([start_connect(port, 0)], b"w")
    before = proxy.resident_bytes()

    clients: list[socket.socket] = []
    while len(clients) < _CLIENTS:
        batch = [start_connect(port, len(clients) + i) for i in range(_BATCH)]
        exchange(batch, b"a")
        clients += batch
    eventually("all clients are counted", lambda: proxy.metric("proxy_clients") >= _CLIENTS)
    after = proxy.resident_bytes()
    trunks = int(proxy.metric("proxy_trunks"))
    print(
        f"{_CLIENTS} clients on {trunks} trunks; resident memory {before / 1e6:.1f} MB -> {after / 1e6:.1f} MB, "
        f"{(after - before) / _CLIENTS / 1000:.1f} kB a client; "
        + ", ".join(f"{agent.name} {agent.resident_bytes() / 1e6:.1f} MB" for agent in cluster.agents)
    )
    workers = proxy.config["workers"]
    assert trunks <= workers * _ENDPOINTS * _MOST_TRUNKS_EACH

    assert exchange(clients, b"b") == _CLIENTS
    per_endpoint = [proxy.metric("proxy_endpoint_active_flows", endpoint=agent.name) for agent in cluster.agents]
    print(f"flows at each endpoint: {per_endpoint}")
    assert min(per_endpoint) > 0.3 * _CLIENTS
    for client in clients:
        client.close()
    eventually("no client is left", lambda: proxy.metric("proxy_clients") == 0)
    for agent in cluster.agents:
        eventually("no stream is left", lambda: agent.metric("agent_active_streams") == 0)
    assert proxy.metric("proxy_flow_errors_total") == 0
