"""Transfers a gibibyte through one flow, checked by hash, and runs a small flow beside bulk ones."""

import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Self

import pytest

from cluster import Cluster, Proxy
from servers import EchoServer, Serve, Server, ServerStarter
from traffic import ByteStream, assert_echo, receive_digest
from waiting import SANITIZER

_MIB = 1024 * 1024
_DOWN_BYTES = (64 if SANITIZER else 1024) * _MIB
_UP_BYTES = (64 if SANITIZER else 256) * _MIB
_BOTH_BYTES = (16 if SANITIZER else 128) * _MIB
_SECONDS = 60


@pytest.fixture
def serve(cluster: Cluster, servers: ServerStarter) -> Callable[[Serve], Proxy]:
    def start(function: Serve) -> Any:
        server = servers(Server, function, cluster.path("bulk.sock"))
        echo = servers(EchoServer, unix_path=cluster.path("echo.sock"))
        cluster.add_controller({"bulk": {}, "echo": {}})
        cluster.add_agent("a", {"bulk": server.address, "echo": echo.address})
        proxy = cluster.add_proxy(workers=1)
        cluster.start()
        return proxy

    return start


class Stopwatch:
    def __init__(self, what: str, size: int) -> None:
        self._what = what
        self._size = size

    def __enter__(self) -> Self:
        self._start = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._start
        print(
            f"{self._what}: {self._size / _MIB:.0f} MiB in {self.seconds:.1f} s, "
            f"{self._size / _MIB / self.seconds:.0f} MiB/s"
        )


def test_download_of_a_gibibyte(serve: Callable[[Serve], Proxy]) -> None:
    stream = ByteStream(seed=1, size=_DOWN_BYTES)
    proxy = serve(stream.send)
    with Stopwatch("download", stream.size) as watch, proxy.connect("bulk") as client:
        received = receive_digest(client)
    assert received == (stream.size, stream.digest())
    assert watch.seconds < _SECONDS


def test_upload(serve: Callable[[Serve], Proxy]) -> None:
    stream = ByteStream(seed=2, size=_UP_BYTES)

    def hash_and_answer(connection: socket.socket) -> None:
        connection.sendall(receive_digest(connection, stream.size)[1].encode())

    proxy = serve(hash_and_answer)
    with Stopwatch("upload", stream.size) as watch, proxy.connect("bulk") as client:
        stream.send(client)
        answer = client.recv(1024).decode()
    assert answer == stream.digest()
    assert watch.seconds < _SECONDS


def test_both_ways_at_once(serve: Callable[[Serve], Proxy]) -> None:
    up = ByteStream(seed=3, size=_BOTH_BYTES)
    down = ByteStream(seed=4, size=_BOTH_BYTES)
    uploaded = []

    def serve_both(connection: socket.socket) -> None:
        if not connection.recv(1, socket.MSG_PEEK):
            return  # the agent's probe of the listening process
        sender = threading.Thread(target=down.send, args=(connection,))
        sender.start()
        uploaded.append(receive_digest(connection, up.size))
        sender.join()

    proxy = serve(serve_both)
    with Stopwatch("both ways", up.size + down.size), proxy.connect("bulk") as client:
        sender = threading.Thread(target=up.send, args=(client,))
        sender.start()
        assert receive_digest(client) == (down.size, down.digest())
        sender.join()
    assert uploaded == [(up.size, up.digest())]


def test_small_flow_beside_readers_that_stopped(serve: Callable[[Serve], Proxy]) -> None:
    stream = ByteStream(seed=5, size=64 * _MIB)
    proxy = serve(stream.send)
    stalled = [proxy.connect("bulk") for _ in range(20)]
    for client in stalled:
        assert client.recv(1) == b"\0"  # the transfer has started; the client reads no further
    with proxy.connect("echo") as small:
        for _ in range(50):
            assert_echo(small, b"x" * 1000)
    # The stalled transfers were paused, and no byte is lost.
    rest = receive_digest(stalled[0])[0]
    assert rest == stream.size - 1
    for client in stalled:
        client.close()
    resident = proxy.resident_bytes()
    print(f"resident memory of the proxy: {resident / _MIB:.1f} MiB")
