"""A proxy or an agent that is asked to stop lets open connections finish, within limits."""

import pytest

from servers import EchoServer
from traffic import assert_echo
from waiting import eventually


@pytest.fixture
def start(cluster, servers):
    """start(drain_timeout) -> a proxy with one endpoint; agent and proxy drain for that long."""

    def start_with(drain_timeout):
        server = servers(EchoServer, unix_path=cluster.path("echo.sock"))
        cluster.add_controller({"echo": {}})
        cluster.add_agent("a", {"echo": server.address}, drain_timeout=drain_timeout)
        proxy = cluster.add_proxy(drain_timeout=drain_timeout)
        cluster.start()
        return proxy

    return start_with


def is_refused(proxy):
    try:
        proxy.connect("echo").close()
    except ConnectionRefusedError:
        return True
    return False


def is_left_alone(proxy, agent):
    """By what the agent or the controller said, whichever was faster."""
    if "asks for no new streams" in proxy.log():
        return True
    try:
        return proxy.metric("proxy_endpoint_weight", service="echo", endpoint=agent.name) == 0
    except LookupError:
        return True


def test_open_flow_finishes_and_new_ones_are_refused(start):
    proxy = start("60s")
    with proxy.connect("echo") as client:
        assert_echo(client, b"before")
        proxy.popen.terminate()
        eventually("new clients are refused", lambda: is_refused(proxy))
        for _ in range(10):
            assert_echo(client, b"after" * 1000)
        assert proxy.running
    # Long before the time-out.
    assert proxy.wait(10) == 0


def test_flow_that_does_not_end_is_reset_at_the_time_out(start):
    proxy = start("1s")
    with proxy.connect("echo") as client:
        assert_echo(client, b"before")
        proxy.popen.terminate()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert proxy.wait(10) == 0
    assert "1 flows did not end" in proxy.log()


def test_idle_proxy_stops_at_once(start):
    proxy = start("60s")
    assert proxy.end(5) == 0


def test_agent_lets_open_streams_finish(start, cluster):
    proxy = start("60s")
    agent = cluster.agents[0]
    with proxy.connect("echo") as client:
        assert_echo(client, b"before")
        agent.popen.terminate()
        eventually("the proxy sends no flows there", lambda: is_left_alone(proxy, agent))
        for _ in range(10):
            assert_echo(client, b"after" * 1000)
        assert agent.running
    assert agent.wait(10) == 0
