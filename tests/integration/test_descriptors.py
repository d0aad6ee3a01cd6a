"""A proxy with fewer file descriptors than clients resets no client and blames no endpoint.

Clients that do not fit wait until others leave.
"""

import os
import resource
import selectors
import socket
from collections.abc import Iterator

import pytest

from cluster import Cluster, Proxy, message_service
from servers import EchoServer, ServerStarter
from traffic import assert_echo
from waiting import SANITIZER, eventually

_CLIENTS = 400
_DESCRIPTORS = 600
# Fewer than the proxy planned for at its start, and fewer than two per client that it would admit.
_LOWERED = 280
_LEAVE_AT_ONCE = 20
_ENDPOINTS = 2

_SHARED = b"get it\n"
_OWN = b"watch it\n"
_WAYS = {
    "tunnel": ("tunnel", _OWN),
    "direct": ("direct", _OWN),
    "shared": ("message", _SHARED),
    "dedicated": ("message", _OWN),
}

_no_sanitizer = pytest.mark.skipif(bool(SANITIZER), reason="the sanitizers need descriptors themselves")


class Clients:
    """Clients that all connect at once, ask when told to, and wait for the answer. Any other end fails the test."""

    def __init__(self, port: int, question: bytes, silent: bool = False) -> None:
        self._question = question
        self._selector = selectors.DefaultSelector()
        self.answered: list[socket.socket] = []
        self._waiting: list[socket.socket] = []
        self._clients: list[socket.socket] = []
        for _ in range(_CLIENTS):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
            self._waiting.append(client)
            self._clients.append(client)
        if not silent:
            self.ask()

    def ask(self) -> None:
        for client in self._waiting:
            self._selector.register(client, selectors.EVENT_WRITE)
        self._waiting = []

    def turn(self) -> None:
        for key, mask in self._selector.select(timeout=0):
            client = key.fileobj
            assert isinstance(client, socket.socket)
            if mask & selectors.EVENT_WRITE:
                client.send(self._question)
                self._selector.modify(client, selectors.EVENT_READ)
                continue
            assert client.recv(100) == self._question, "an end in place of an answer"
            self._selector.unregister(client)
            self.answered.append(client)

    def some_are_answered(self) -> bool:
        self.turn()
        return bool(self.answered)

    def all_are_answered(self) -> bool:
        """Lets answered clients leave, some at a time; returns whether all were answered."""
        self.turn()
        while len(self.answered) > _LEAVE_AT_ONCE or (self.answered and not self._selector.get_map()):
            self.answered.pop().close()
        for client in self.answered[:_LEAVE_AT_ONCE]:
            client.close()
        del self.answered[:_LEAVE_AT_ONCE]
        return not self._selector.get_map()

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self._selector.close()


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Raises the soft limit of open files to the hard limit for this process and its children."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def start_proxy(cluster: Cluster, servers: ServerStarter, way: str) -> Proxy:
    mode, _ = _WAYS[way]
    echo = [servers(EchoServer) for _ in range(_ENDPOINTS)]
    service = {}
    if mode != "tunnel":
        codec = {"delimiter": {"delimiter": "\n", "shared_prefixes": ["get "]}}
        service = message_service(codec, *(server.address for server in echo))
    if mode == "direct":
        service = {"mode": "direct", "endpoints": service["endpoints"]}
    # Admitted clients may wait for a server connection longer than the test takes.
    service["limits"] = {"connect_timeout": "60s"}
    cluster.add_controller({"echo": service})
    if mode == "tunnel":
        for i, server in enumerate(echo):
            cluster.add_agent(f"a{i}", {"echo": server.address})
    proxy = cluster.add_proxy()
    proxy.command = ["prlimit", f"--nofile={_DESCRIPTORS}:{_DESCRIPTORS}", *proxy.command]
    cluster.start()
    return proxy


def lower_limit(proxy: Proxy) -> int:
    """Returns the new limit, an odd number above the open files: the last client of `direct` finds none for its server."""
    limit = _LOWERED + (_LOWERED - open_files(proxy) + 1) % 2
    resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, (limit, _DESCRIPTORS))
    return limit


def open_files(proxy: Proxy) -> int:
    return len(os.listdir(f"/proc/{proxy.pid}/fd"))


def serve_all(proxy: Proxy, question: bytes, clients: Clients, old_client: socket.socket) -> None:
    assert 0 < len(clients.answered) < _CLIENTS
    assert_echo(old_client, question)
    eventually("all are answered", clients.all_are_answered, seconds=40)
    assert_echo(old_client, question)
    old_client.close()
    eventually("no client is left", lambda: proxy.metric("proxy_clients") == 0)
    assert proxy.metric("proxy_flow_errors_total") == 0
    assert proxy.metric("proxy_endpoint_connect_refused_total") == 0
    assert proxy.metric("proxy_endpoint_ejecting_workers") == 0
    assert "refused" not in proxy.log() and "cannot be reached" not in proxy.log()
    eventually("no worker lacks sockets", lambda: proxy.metric("proxy_socket_exhausted_workers") == 0)


@pytest.mark.parametrize("way", _WAYS)
def test_clients_that_do_not_fit_wait(cluster: Cluster, servers: ServerStarter, descriptors: None, way: str) -> None:
    proxy = start_proxy(cluster, servers, way)
    _, question = _WAYS[way]
    old_client = proxy.connect("echo")
    assert_echo(old_client, question)
    clients = Clients(proxy.port("echo"), question)

    def full() -> bool:
        clients.turn()
        return proxy.metric("proxy_listener_pauses_total") > 0 and len(clients.answered) + 1 == proxy.metric(
            "proxy_clients"
        )

    try:
        eventually("the proxy is full and serves those that are in", full)
        print(f"{way}: {len(clients.answered)} of {_CLIENTS} fit, {open_files(proxy)} of {_DESCRIPTORS} descriptors")
        assert proxy.metric("proxy_connect_shortages_total") == 0
        serve_all(proxy, question, clients, old_client)
    finally:
        clients.close()


@_no_sanitizer
@pytest.mark.parametrize("way", _WAYS)
def test_admitted_clients_wait_when_descriptors_run_out(
    cluster: Cluster, servers: ServerStarter, descriptors: None, way: str
) -> None:
    proxy = start_proxy(cluster, servers, way)
    _, question = _WAYS[way]
    old_client = proxy.connect("echo")
    assert_echo(old_client, question)
    limit = lower_limit(proxy)
    # In message mode all clients ask for a dedicated connection at the same time.
    late = way == "dedicated"
    clients = Clients(proxy.port("echo"), question, silent=late)

    def full() -> bool:
        clients.turn()
        # A thread inside accept() holds a descriptor that /proc does not show yet.
        return open_files(proxy) >= limit - 1

    try:
        if late:
            eventually("the proxy accepts no client", lambda: proxy.metric("proxy_listener_pauses_total") > 0)
            clients.ask()
        eventually("all descriptors are in use", full)
        eventually("some are answered", clients.some_are_answered)
        print(f"{way}: {len(clients.answered)} of {_CLIENTS} answered with {limit} descriptors")
        serve_all(proxy, question, clients, old_client)
        if way in ("direct", "dedicated"):
            assert proxy.metric("proxy_connect_shortages_total", resource="socket") > 0
    finally:
        clients.close()
