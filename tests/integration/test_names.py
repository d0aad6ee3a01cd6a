"""Host names in addresses: of an agent's server, and of an endpoint without an agent."""

from cluster import Cluster, http_get
from servers import EchoServer, ServerStarter
from traffic import assert_echo
from waiting import eventually


def by_name(address: str) -> str:
    """Returns the address with "localhost", which often resolves to ::1 first, where no test server listens."""
    return f"localhost:{address.rpartition(':')[2]}"


def test_servers_are_reached_by_name_in_every_mode(cluster: Cluster, servers: ServerStarter) -> None:
    server = servers(EchoServer)
    endpoints = [{"endpoint_id": "e", "address": by_name(server.address)}]
    cluster.add_controller(
        {
            "tunnel": {},
            "direct": {"mode": "direct", "endpoints": endpoints},
            "message": {"mode": "message", "message": {"delimiter": {"delimiter": "\n"}}, "endpoints": endpoints},
        }
    )
    cluster.add_agent("a", {"tunnel": by_name(server.address)})
    proxy = cluster.add_proxy()
    cluster.start()
    for service in ("tunnel", "direct", "message"):
        for _ in range(3):
            with proxy.connect(service) as client:
                assert_echo(client, b"hello\n")
    assert proxy.metric("proxy_flow_errors_total") == 0
    assert proxy.metric("proxy_name_lookups_total") > 0


def test_agent_starts_before_the_name_of_its_server_is_known(cluster: Cluster, servers: ServerStarter) -> None:
    server = servers(EchoServer)
    cluster.add_controller({"known": {}, "unknown": {}})
    # Reserved by RFC 6761: never resolves.
    agent = cluster.add_agent("a", {"known": server.address, "unknown": "no-such-host.invalid:1"})
    proxy = cluster.add_proxy()
    cluster.start()
    with proxy.connect("known") as client:
        assert_echo(client, b"hello")
    agent.wait_for_line("no-such-host.invalid:1 does not resolve")
    assert http_get(agent.http_port, "/readyz")[0] == 200
    sample = 'trunkline_agent_name_unresolved{name="no-such-host.invalid:1"} 1'
    eventually("the metric names it", lambda: sample in http_get(agent.http_port, "/metrics")[1])
