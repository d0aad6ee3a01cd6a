"""Checks what clients see when an agent or its server goes away and when it comes back."""

import signal
import socket
import threading
import time

import pytest

from cluster import Agent, Cluster, Proxy
from servers import EchoServer, Server, ServerStarter
from traffic import Load, ask, ask_many, assert_echo, read_line
from waiting import SLOWNESS, eventually


@pytest.fixture
def two_servers(cluster: Cluster, servers: ServerStarter) -> tuple[Proxy, dict[str, EchoServer]]:
    """Returns (proxy, {name: server}) with two endpoints, a and b, whose servers greet with their names."""
    started = {name: servers(EchoServer, name, cluster.path(f"{name}.sock")) for name in "ab"}
    cluster.add_controller({"echo": {}})
    for name, server in started.items():
        cluster.add_agent(name, {"echo": server.address})
    proxy = cluster.add_proxy()
    cluster.start()
    return proxy, started


def agent_of(cluster: Cluster, name: str) -> Agent:
    return next(agent for agent in cluster.agents if agent.name == name)


def connect_to(proxy: Proxy, name: str) -> socket.socket:
    """Connects clients until one is served by `name`, and returns that one."""
    while True:
        client = proxy.connect("echo")
        if read_line(client) == name:
            return client
        client.close()


def test_both_endpoints_are_used(two_servers: tuple[Proxy, dict[str, EchoServer]]) -> None:
    proxy, _ = two_servers
    counts = ask_many(proxy, 200)
    assert counts["a"] > 50 and counts["b"] > 50, counts


def test_killed_agent_resets_its_flows_only(cluster: Cluster, two_servers: tuple[Proxy, dict[str, EchoServer]]) -> None:
    proxy, _ = two_servers
    doomed = [connect_to(proxy, "b") for _ in range(5)]
    safe = [connect_to(proxy, "a") for _ in range(5)]
    eventually("no others are open", lambda: proxy.metric("proxy_endpoint_active_flows") == 10)
    agent_of(cluster, "b").kill()
    for client in doomed:
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert ask_many(proxy, 100) == {"a": 100}
    for client in safe:
        assert_echo(client, b"still here")
        client.close()
    assert proxy.metric("proxy_flow_errors_total", cause="trunk_lost") == 5
    agent_of(cluster, "b").start()
    eventually("b is used again", lambda: ask(proxy) == "b", 30)
    assert proxy.metric("proxy_flow_errors_total") == 5


def test_agent_killed_in_the_middle_of_a_transfer_never_looks_like_an_end(
    cluster: Cluster, servers: ServerStarter
) -> None:
    def send_for_ever(connection: socket.socket) -> None:
        while True:
            connection.sendall(b"z" * 100_000)

    bulk = servers(Server, send_for_ever, cluster.path("bulk.sock"))
    cluster.add_controller({"bulk": {}})
    cluster.add_agent("a", {"bulk": bulk.address})
    proxy = cluster.add_proxy()
    cluster.start()
    results = []

    def read_to_the_end(client: socket.socket) -> None:
        try:
            while client.recv(100_000):
                pass
            results.append("a clean end")
        except ConnectionResetError:
            results.append("reset")

    clients = [proxy.connect("bulk") for _ in range(4)]
    for client in clients:
        assert client.recv(1)
    threads = [threading.Thread(target=read_to_the_end, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    cluster.agents[0].kill()
    for thread in threads:
        thread.join()
    assert results == ["reset"] * 4


def test_trunks_to_a_frozen_agent_time_out(cluster: Cluster, two_servers: tuple[Proxy, dict[str, EchoServer]]) -> None:
    proxy, _ = two_servers
    doomed = connect_to(proxy, "b")
    agent_of(cluster, "b").send(signal.SIGSTOP)
    start = time.monotonic()
    with pytest.raises(ConnectionResetError):
        doomed.recv(1)
    seconds = time.monotonic() - start
    print(f"given up after {seconds:.1f} s")
    # The proxy of these tests sends a PING after 1 s of silence and gives up 2 s later.
    assert seconds < 4 * SLOWNESS
    eventually("both workers know", lambda: proxy.metric("proxy_trunk_ping_timeouts_total") >= 2)
    assert ask_many(proxy, 100) == {"a": 100}
    agent_of(cluster, "b").send(signal.SIGCONT)
    eventually("b is used again", lambda: ask(proxy) == "b", 30)


def test_stopped_server_costs_no_connection(cluster: Cluster, two_servers: tuple[Proxy, dict[str, EchoServer]]) -> None:
    proxy, servers = two_servers
    ask_many(proxy, 20)
    servers["b"].close()
    # The refused connects are retried at the other endpoint.
    assert ask_many(proxy, 300) == {"a": 300}
    assert proxy.metric("proxy_retries_total") > 0
    eventually("the agent says so", lambda: agent_of(cluster, "b").metric("agent_reachable", service="echo") == 0)
    assert ask_many(proxy, 100) == {"a": 100}
    assert proxy.metric("proxy_flow_errors_total") == 0
    servers["b"].start()
    eventually("b is used again", lambda: ask(proxy) == "b", 60)
    assert proxy.metric("proxy_flow_errors_total") == 0


def test_clients_are_reset_when_no_server_is_left(
    cluster: Cluster, two_servers: tuple[Proxy, dict[str, EchoServer]]
) -> None:
    proxy, servers = two_servers
    for server in servers.values():
        server.close()
    for _ in range(20):
        with pytest.raises(ConnectionResetError), proxy.connect("echo") as client:
            client.recv(1)
    for server in servers.values():
        server.start()
    eventually("a server answers again", lambda: ask(proxy) in ("a", "b"), 60)


def test_agent_that_is_asked_to_stop_loses_no_connection(
    cluster: Cluster, two_servers: tuple[Proxy, dict[str, EchoServer]]
) -> None:
    proxy, _ = two_servers
    agent = agent_of(cluster, "b")
    with Load([proxy]) as load:
        load.run_on(100)
        assert agent.end() == 0
        load.run_on(200)
        agent.start()
        load.run_on(100)
        eventually("b is used again", lambda: ask(proxy) == "b", 30)
    assert load.failures == []
