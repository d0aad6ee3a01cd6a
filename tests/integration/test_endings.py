"""Every FIN, half-close and reset reaches the other side as it would on a direct connection."""

import socket
import threading
from typing import Protocol

import pytest

from cluster import Cluster, Proxy
from servers import Serve, Server, ServerStarter
from traffic import ByteStream, assert_echo, read_exactly, receive_digest, reset
from waiting import eventually


class StartServer(Protocol):
    """Puts a server behind a proxy."""

    is_tcp: bool

    def __call__(self, function: Serve) -> tuple[Server, Proxy]: ...


_DATA = b"question" * 16


@pytest.fixture(params=["tcp", "unix"])
def serve(request: pytest.FixtureRequest, cluster: Cluster, servers: ServerStarter) -> StartServer:
    """Returns serve(function), which puts a server behind a proxy and returns (server, proxy)."""

    class Start:
        is_tcp = bool(request.param == "tcp")

        def __call__(self, function: Serve) -> tuple[Server, Proxy]:
            server = servers(Server, function, None if self.is_tcp else cluster.path("server.sock"))
            cluster.add_controller({"ends": {}})
            cluster.add_agent("a", {"ends": server.address})
            proxy = cluster.add_proxy()
            cluster.start()
            return server, proxy

    return Start()


def test_late_answer_after_clients_half_close(serve: StartServer) -> None:
    seen_end = threading.Event()
    may_answer = threading.Event()

    def count_then_answer(connection: socket.socket) -> None:
        total = 0
        while data := connection.recv(65536):
            total += len(data)
        seen_end.set()
        may_answer.wait(30)
        connection.sendall(b"%d" % total)

    _, proxy = serve(count_then_answer)
    with proxy.connect("ends") as client:
        client.sendall(_DATA)
        client.shutdown(socket.SHUT_WR)
        assert seen_end.wait(20), "the server never saw the client's FIN"
        may_answer.set()
        assert read_exactly(client, 100) == b"%d" % len(_DATA)
        assert client.recv(1) == b""


def test_client_goes_on_after_servers_half_close(serve: StartServer) -> None:
    received = []
    done = threading.Event()

    def answer_then_listen(connection: socket.socket) -> None:
        connection.sendall(b"all there is")
        connection.shutdown(socket.SHUT_WR)
        while data := connection.recv(65536):
            received.append(data)
        done.set()

    _, proxy = serve(answer_then_listen)
    with proxy.connect("ends") as client:
        assert read_exactly(client, 100) == b"all there is"
        for _ in range(10):
            client.sendall(_DATA)
        client.shutdown(socket.SHUT_WR)
        assert done.wait(20)
        assert b"".join(received) == _DATA * 10


def test_half_close_without_any_data(serve: StartServer) -> None:
    def answer_at_end(connection: socket.socket) -> None:
        assert connection.recv(1) == b""
        connection.sendall(b"bye")

    _, proxy = serve(answer_at_end)
    with proxy.connect("ends") as client:
        client.shutdown(socket.SHUT_WR)
        assert read_exactly(client, 100) == b"bye"
        assert client.recv(1) == b""


# The first size exceeds all buffers; the second fits into them, so the server is gone before the client reads.
@pytest.mark.parametrize("size", [32 * 1024 * 1024 + 17, 200_017])
def test_close_of_server_with_a_long_answer_truncates_nothing(serve: StartServer, size: int) -> None:
    stream = ByteStream(seed=11, size=size)
    server, proxy = serve(stream.send)
    with proxy.connect("ends") as client:
        if size < 1_000_000:
            eventually("the server closed", lambda: server.all_ended)
        assert receive_digest(client) == (stream.size, stream.digest())


@pytest.mark.parametrize("answered", [False, True], ids=["before_data", "after_data"])
def test_reset_by_server_reaches_client(serve: StartServer, answered: bool) -> None:
    if not serve.is_tcp:
        pytest.skip("a unix socket has no reset")

    def break_off(connection: socket.socket) -> None:
        connection.recv(65536)
        if answered:
            connection.sendall(b"first")
            connection.recv(65536)
        reset(connection)

    server, proxy = serve(break_off)
    with proxy.connect("ends") as client:
        client.sendall(_DATA)
        if answered:
            assert read_exactly(client, 5) == b"first"
            client.sendall(_DATA)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert server.accepted == 1, "a request that may have been served was sent twice"


@pytest.mark.parametrize("answered", [False, True], ids=["before_answer", "after_answer"])
def test_reset_by_client_reaches_server(serve: StartServer, answered: bool) -> None:
    arrived = threading.Event()

    def wait_for_more(connection: socket.socket) -> None:
        data = connection.recv(65536)
        if answered:
            connection.sendall(data)
        arrived.set()
        while connection.recv(65536):
            pass

    server, proxy = serve(wait_for_more)
    client = proxy.connect("ends")
    client.sendall(_DATA)
    if answered:
        assert read_exactly(client, len(_DATA)) == _DATA
    assert arrived.wait(20)
    reset(client)
    eventually("the server's connection ends", lambda: server.all_ended)
    if serve.is_tcp:
        assert isinstance(server.ends[0], ConnectionResetError)


def test_client_that_leaves_at_once_disturbs_no_other_client(serve: StartServer) -> None:
    def echo(connection: socket.socket) -> None:
        while data := connection.recv(65536):
            connection.sendall(data)

    server, proxy = serve(echo)
    with proxy.connect("ends") as kept:
        assert_echo(kept, _DATA)
        for i in range(200):
            client = proxy.connect("ends")
            if i % 2:
                client.sendall(_DATA)
            reset(client) if i % 3 else client.close()
        assert_echo(kept, _DATA)
    eventually("no client is left", lambda: proxy.metric("proxy_clients") == 0)
    eventually("no server connection is left", lambda: server.all_ended)
