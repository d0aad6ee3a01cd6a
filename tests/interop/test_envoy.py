"""Envoy at one end of a trunk: it tunnels TCP by CONNECT to an agent, and ends the CONNECTs of a proxy."""

import socket
import threading
from collections.abc import Callable

import pytest

import peers
from cluster import Cluster, Config
from envoy import Envoy, ends_tunnels_for, tunnels_to
from processes import run, tool
from servers import Server, ServerStarter
from traffic import ByteStream, assert_echo, read_exactly, receive_digest, reset
from waiting import eventually

# Starts both ends in front of a server's address and returns the port for clients.
Front = Callable[[Cluster, str], int]

_STREAM_BYTES = 32 * 1024 * 1024
_PARALLEL = 200
_REQUESTS = 20_000


class Tunnel:
    """A server behind a trunk with Envoy at one end."""

    def __init__(self, cluster: Cluster, servers: ServerStarter, front: Front) -> None:
        # The server uses TCP, because a unix socket has no reset.
        self.server = servers(Server, self._serve)
        self.port = front(cluster, self.server.address)
        # Bytes that arrived after the server's half-close.
        self.heard: list[bytes] = []

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def _serve(self, connection: socket.socket) -> None:
        """Behaves as the first byte says."""
        kind = connection.recv(1)
        if kind == b"e":  # echo
            while data := connection.recv(65536):
                connection.sendall(data)
        if kind == b"c":  # count to the end, then answer
            count, digest = receive_digest(connection)
            connection.sendall(f"{count} {digest}".encode())
        if kind == b"f":  # answer, half-close, and read on
            connection.sendall(b"first")
            connection.shutdown(socket.SHUT_WR)
            self.heard.append(read_exactly(connection, 100))
        if kind == b"r":  # answer, then reset
            connection.sendall(b"first")
            connection.recv(1)
            reset(connection)


def _start_envoy(cluster: Cluster, resources: Config) -> Envoy:
    return cluster.add(Envoy(cluster.folder, "envoy", resources)).start()


def _front_envoy(cluster: Cluster, target: str) -> int:
    cluster.add_controller({"s": {}})
    agent = cluster.add_agent("a", {"s": target}).start()
    return _start_envoy(cluster, tunnels_to(f"127.0.0.1:{agent.trunk_port}", "s")).port


def _front_proxy(cluster: Cluster, target: str) -> int:
    envoy = _start_envoy(cluster, ends_tunnels_for(target))
    cluster.add_controller({"s": {"endpoints": [{"endpoint_id": "e", "address": f"127.0.0.1:{envoy.port}"}]}})
    proxy = cluster.add_proxy()
    cluster.start()
    eventually("each worker has a trunk to Envoy", lambda: proxy.metric("proxy_trunks") == proxy.config["workers"])
    return proxy.port("s")


@pytest.fixture(params=[_front_envoy, _front_proxy], ids=["Envoy to agent", "proxy to Envoy"])
def front(request: pytest.FixtureRequest) -> Front:
    """Returns front(cluster, target), which starts both ends and returns the port for clients."""
    peers.envoy()
    print(f"Envoy {peers.ENVOY_VERSION}")
    return request.param


@pytest.fixture
def tunnel(cluster: Cluster, servers: ServerStarter, front: Front) -> Tunnel:
    return Tunnel(cluster, servers, front)


def test_bytes_arrive_whole_both_ways(tunnel: Tunnel) -> None:
    stream = ByteStream(7, _STREAM_BYTES)
    with tunnel.connect() as client:
        client.sendall(b"e")
        sender = threading.Thread(target=stream.send, args=(client,), daemon=True)
        sender.start()
        assert receive_digest(client, _STREAM_BYTES) == (_STREAM_BYTES, stream.digest())
        sender.join()


def test_half_close_of_the_client_leaves_the_server_talking(tunnel: Tunnel) -> None:
    stream = ByteStream(8, 1_000_000)
    with tunnel.connect() as client:
        client.sendall(b"c")
        stream.send(client)
        client.shutdown(socket.SHUT_WR)
        assert read_exactly(client, 1000).decode() == f"{stream.size} {stream.digest()}"


def test_half_close_of_the_server_loses_nothing(tunnel: Tunnel, front: Front) -> None:
    with tunnel.connect() as client:
        client.sendall(b"f")
        assert read_exactly(client, 6) == b"first"
        if front is _front_proxy:
            # Envoy ends both directions when its server ends one: END_STREAM, then RST_STREAM(NO_ERROR).
            return
        client.sendall(b"second")
        client.shutdown(socket.SHUT_WR)
        eventually("the server has it all", lambda: tunnel.server.all_ended)
    assert tunnel.heard == [b"second"]


def test_reset_of_the_server_is_no_clean_end(tunnel: Tunnel, front: Front) -> None:
    with tunnel.connect() as client:
        client.sendall(b"r")
        assert read_exactly(client, 5) == b"first"
        client.sendall(b"x")
        if front is _front_envoy:
            # Envoy turns RST_STREAM(CONNECT_ERROR) into a FIN.
            assert client.recv(1) == b""
            return
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_reset_of_the_client_ends_the_servers_connection(tunnel: Tunnel) -> None:
    client = tunnel.connect()
    client.sendall(b"e")
    assert_echo(client, b"hello")
    reset(client)
    eventually("the server's connection ended", lambda: tunnel.server.all_ended)


def test_many_connections_in_parallel_stay_apart(tunnel: Tunnel) -> None:
    clients = [tunnel.connect() for _ in range(_PARALLEL)]
    for round_number in range(5):
        for number, client in enumerate(clients):
            text = f"{number} in round {round_number}".encode()
            client.sendall((b"e" if round_number == 0 else b"") + text)
        for number, client in enumerate(clients):
            text = f"{number} in round {round_number}".encode()
            assert read_exactly(client, len(text)) == text
    for client in clients:
        client.close()
    eventually("all ended", lambda: tunnel.server.all_ended)
    assert tunnel.server.accepted == _PARALLEL


def test_redis_benchmark_passes(cluster: Cluster, front: Front) -> None:
    path = cluster.path("redis.sock")
    cluster.add_process("redis", [tool("redis-server"), "--port", 0, "--unixsocket", path, "--save", ""]).start()
    eventually("redis listens", path.exists)
    port = front(cluster, f"unix:{path}")
    # -k 0 uses one connection per request.
    for options in (["-c", 50, "-n", _REQUESTS, "-P", 4], ["-c", 20, "-n", _REQUESTS // 10, "-k", 0]):
        report = run([tool("redis-benchmark"), "-p", port, "-t", "set,get", "-d", 1000, "-q", *options])
        print(report.stdout)
        assert "error" not in (report.stdout + report.stderr).lower(), report
