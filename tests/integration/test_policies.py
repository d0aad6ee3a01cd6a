"""Each policy picks endpoints as it promises, by real proxies before real servers."""

import collections
import socket

import pytest

from cluster import Cluster, Proxy
from ports import reserve_port
from servers import EchoServer, ServerStarter
from traffic import ask_many, assert_echo, read_line
from waiting import eventually

_NAMES = ["a", "b", "c"]


def start(cluster: Cluster, servers: ServerStarter, policy: str, weights: list[float]) -> list[Proxy]:
    """Starts two proxies of one worker, each on an address of its own, and a service in direct mode."""
    endpoints = [
        {"endpoint_id": name, "address": servers(EchoServer, name).address, "weight": weight}
        for name, weight in zip(_NAMES, weights, strict=True)
    ]
    port = reserve_port()
    cluster.add_controller(
        {"echo": {"mode": "direct", "policy": policy, "listen": f"0.0.0.0:{port}", "endpoints": endpoints}}
    )
    proxies = [
        cluster.add_proxy(name, workers=1, bind_address=address)
        for name, address in [("p", "127.0.0.1"), ("q", "127.0.0.2")]
    ]
    cluster.start()
    for proxy in proxies:
        eventually("it is ready", proxy.ready)
    return proxies


def ask_from(source: str, address: tuple[str, int]) -> str:
    """Makes one short connection from the address `source`, and returns the server's name."""
    with socket.create_connection(address, timeout=30, source_address=(source, 0)) as client:
        name = read_line(client)
        assert_echo(client, b"x" * 128)
        return name


def test_round_robin_gives_each_server_every_third_client(cluster: Cluster, servers: ServerStarter) -> None:
    proxies = start(cluster, servers, "round_robin", [5, 1, 1])
    assert ask_many(proxies[0], 30) == dict.fromkeys(_NAMES, 10)


def test_static_follows_the_weights_exactly(cluster: Cluster, servers: ServerStarter) -> None:
    proxies = start(cluster, servers, "static", [3, 2, 1])
    assert ask_many(proxies[0], 60) == {"a": 30, "b": 20, "c": 10}


def test_maglev_sends_an_address_to_one_server_through_any_proxy(cluster: Cluster, servers: ServerStarter) -> None:
    proxies = start(cluster, servers, "maglev", [1, 1, 1])
    port = proxies[0].port("echo")
    homes = {}
    for host in range(10, 50):
        source = f"127.0.1.{host}"
        reached = {ask_from(source, (address, port)) for address in ["127.0.0.1", "127.0.0.2"] for _ in range(3)}
        assert len(reached) == 1, source
        homes[source] = reached.pop()
    counts = collections.Counter(homes.values())
    assert sorted(counts) == _NAMES, counts
    cluster.ctl("drain", "echo", "a")
    eventually("both have it", lambda: all(p.metric("proxy_endpoint_weight", endpoint="a") == 0 for p in proxies))
    for source, home in homes.items():
        now = ask_from(source, ("127.0.0.2", port))
        assert now != "a"
        # A few of the others move as well: about one in a hundred places of the table.
        if home == "a":
            assert now == ask_from(source, ("127.0.0.1", port)), "all proxies chose the same one"


@pytest.mark.parametrize("policy", ["least_request", "least_time", "random"])
def test_policy_uses_all_servers_and_none_that_drains(cluster: Cluster, servers: ServerStarter, policy: str) -> None:
    proxies = start(cluster, servers, policy, [1, 1, 1])
    eventually("all are used", lambda: sorted(ask_many(proxies[0], 60)) == _NAMES)
    cluster.ctl("drain", "echo", "a")
    eventually("it has it", lambda: proxies[0].metric("proxy_endpoint_weight", endpoint="a") == 0)
    assert "a" not in ask_many(proxies[0], 60)


def test_least_request_avoids_the_server_with_more_clients(cluster: Cluster, servers: ServerStarter) -> None:
    proxy = start(cluster, servers, "least_request", [1, 1, 1])[0]
    kept: dict[str, list[socket.socket]] = {name: [] for name in _NAMES}
    for _ in range(30):
        client = proxy.connect("echo")
        kept[read_line(client)].append(client)
    # Each connection has just had bytes and counts as load, so all three have as many.
    assert {name: len(clients) for name, clients in kept.items()} == dict.fromkeys(_NAMES, 10)
    for clients in kept.values():
        for client in clients:
            client.close()
