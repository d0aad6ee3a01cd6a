"""A draining proxy or agent lets open connections finish, within limits."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from cluster import Agent, Cluster, Proxy, message_service
from servers import Server, ServerStarter
from traffic import assert_echo, read_exactly
from waiting import eventually

StartProxy = Callable[[str, str], tuple[Proxy, "LineServer"]]

_DRAIN_SECONDS = 1

_ECHOING = 5
_LONG_REPLY = os.urandom(512 * 1024).hex().encode() + b"\n"


class LineServer(Server):
    """Echoes each line, and answers `long` with a reply whose second half waits for `may_go_on`."""

    def __init__(self, unix_path: os.PathLike[str] | None = None) -> None:
        self.may_go_on = threading.Event()
        super().__init__(self._tell, unix_path)

    def close(self) -> None:
        self.may_go_on.set()
        super().close()

    def _tell(self, connection: socket.socket) -> None:
        half = len(_LONG_REPLY) // 2
        with connection.makefile("rb") as lines:
            for line in lines:
                if line == b"long\n":
                    connection.sendall(_LONG_REPLY[:half])
                    self.may_go_on.wait()
                    connection.sendall(_LONG_REPLY[half:])
                else:
                    connection.sendall(line)


@pytest.fixture(params=["tunnel", "message", "direct"])
def mode(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def start(cluster: Cluster, servers: ServerStarter) -> Any:
    """Returns start(mode, drain_timeout), which starts a proxy with one endpoint and returns it with the server."""

    def start_with(mode: str, drain_timeout: str) -> Any:
        if mode == "tunnel":
            server = servers(LineServer, unix_path=cluster.path("echo.sock"))
            cluster.add_controller({"echo": {}})
            cluster.add_agent("a", {"echo": server.address}, drain_timeout=drain_timeout)
        else:
            server = servers(LineServer)
            # One request in flight per connection, so that no request waits behind the long reply.
            service = message_service(
                {"delimiter": {"delimiter": "\n"}},
                server.address,
                max_message_bytes=2 * len(_LONG_REPLY),
                max_in_flight=1,
                shared_connections=2 * _ECHOING,
            )
            if mode == "direct":
                service = {"mode": "direct", "endpoints": service["endpoints"]}
            cluster.add_controller({"echo": service})
        proxy = cluster.add_proxy(drain_timeout=drain_timeout)
        cluster.start()
        return proxy, server

    return start_with


def connect_all(proxy: Proxy, stack: contextlib.ExitStack) -> tuple[list[socket.socket], socket.socket, bytes]:
    """Returns answered clients, one client in the middle of its reply, and the bytes that it has."""
    echoing = [stack.enter_context(proxy.connect("echo")) for _ in range(_ECHOING)]
    for client in echoing:
        assert_echo(client, b"before\n")
    listener = stack.enter_context(proxy.connect("echo"))
    listener.sendall(b"long\n")
    heard = read_exactly(listener, len(_LONG_REPLY) // 2)
    return echoing, listener, heard


def is_refused(proxy: Proxy) -> bool:
    try:
        proxy.connect("echo").close()
    except ConnectionRefusedError:
        return True
    return False


def is_left_alone(proxy: Proxy, agent: Agent) -> bool:
    """Returns whether the proxy stopped sending flows to the agent, by the agent's or the controller's word."""
    if "asks for no new streams" in proxy.log():
        return True
    try:
        return proxy.metric("proxy_endpoint_weight", service="echo", endpoint=agent.name) == 0
    except LookupError:
        return True


def test_open_flows_finish_and_new_ones_are_refused(start: StartProxy, mode: str) -> None:
    proxy, server = start(mode, "60s")
    with contextlib.ExitStack() as stack:
        echoing, listener, heard = connect_all(proxy, stack)
        proxy.popen.terminate()
        eventually("new clients are refused", lambda: is_refused(proxy))
        for number in range(10):
            for client in echoing:
                assert_echo(client, b"%d after" % number * 1000 + b"\n")
        server.may_go_on.set()
        assert heard + read_exactly(listener, len(_LONG_REPLY) - len(heard)) == _LONG_REPLY
        # The client can ask again.
        assert_echo(listener, b"after\n")
        assert proxy.running
    # The proxy ends long before the timeout.
    assert proxy.wait(10) == 0
    assert "did not end" not in proxy.log()


def test_flows_that_do_not_end_are_ended_at_the_timeout_and_not_before(start: StartProxy, mode: str) -> None:
    proxy, _ = start(mode, f"{_DRAIN_SECONDS}s")
    with contextlib.ExitStack() as stack:
        echoing, listener, heard = connect_all(proxy, stack)
        assert _LONG_REPLY.startswith(heard)
        # This client half-closes.
        echoing[0].shutdown(socket.SHUT_WR)
        assert echoing.pop(0).recv(1) == b""
        begin = time.monotonic()
        proxy.popen.terminate()
        ends = []
        for client in [*echoing, listener]:
            if mode == "message" and client is not listener:
                assert client.recv(1) == b"", "between two messages nothing is missing"
            else:
                with pytest.raises(ConnectionResetError):
                    client.recv(1)
            ends.append(time.monotonic() - begin)
        assert min(ends) >= _DRAIN_SECONDS
    assert proxy.wait(10) == 0
    assert f"{_ECHOING} flows did not end" in proxy.log()


def test_clients_that_go_on_asking_are_served_until_the_timeout(start: StartProxy, mode: str) -> None:
    proxy, _ = start(mode, f"{_DRAIN_SECONDS}s")
    with contextlib.ExitStack() as stack:
        echoing, *_ = connect_all(proxy, stack)
        begin = time.monotonic()
        proxy.popen.terminate()
        left = set(echoing)
        while left:
            for client in list(left):
                try:
                    client.sendall(b"still\n")
                    reply = read_exactly(client, len(b"still\n"))
                except ConnectionError:
                    reply = None
                if reply == b"still\n":
                    continue
                assert time.monotonic() - begin >= _DRAIN_SECONDS
                assert reply is None or (mode == "message" and reply == b""), reply
                left.discard(client)
    assert proxy.wait(10) == 0


def test_proxy_without_clients_stops_at_once(start: StartProxy, mode: str) -> None:
    proxy, _ = start(mode, "60s")
    # Idle shared connections do not keep the proxy from stopping.
    with proxy.connect("echo") as client:
        assert_echo(client, b"before\n")
    eventually("the client has gone", lambda: proxy.metric("proxy_clients") == 0)
    assert proxy.end(5) == 0


def test_agent_lets_open_streams_finish(start: StartProxy, cluster: Cluster) -> None:
    proxy, server = start("tunnel", "60s")
    agent = cluster.agents[0]
    with contextlib.ExitStack() as stack:
        echoing, listener, heard = connect_all(proxy, stack)
        agent.popen.terminate()
        eventually("the proxy sends no flows there", lambda: is_left_alone(proxy, agent))
        for _ in range(10):
            for client in echoing:
                assert_echo(client, b"after" * 1000 + b"\n")
        server.may_go_on.set()
        assert heard + read_exactly(listener, len(_LONG_REPLY) - len(heard)) == _LONG_REPLY
        assert agent.running
    assert agent.wait(10) == 0
