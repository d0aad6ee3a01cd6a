"""Checks that a proxy and an agent say what came back from a controller that refuses them, or from another program."""

import socket

import pytest

from cluster import Agent, Cluster, Program, Proxy, http_get
from servers import Server, ServerStarter
from waiting import eventually


def shows(program: Program, text: str, status: int) -> bool:
    code, body = http_get(program.http_port, "/readyz")
    return code == status and text in body


def start_proxy(cluster: Cluster, controller: str, proxy_id: str = "p") -> Proxy:
    proxy = cluster.add(Proxy(cluster.folder, "p", controller))
    proxy.config["proxy_id"] = proxy_id
    return proxy.start()


def start_agent(cluster: Cluster, controller: str, agent_id: str = "a") -> Agent:
    agent = cluster.add(Agent(cluster.folder, "a", controller, {"echo": f"unix:{cluster.path('echo.sock')}"}))
    agent.config["agent_id"] = agent_id
    return agent.start()


def test_refused_proxy_says_why(cluster: Cluster) -> None:
    controller = cluster.add_controller({"echo": {}}).start()
    proxy = start_proxy(cluster, controller.address, "proxy 1")
    proxy.wait_for_line(r"warn .*controller \S+ refuses proxy proxy 1: .*proxy_id")
    eventually("/readyz has the reason", lambda: shows(proxy, "proxy_id", 503))
    # Attempts repeat within a second; the log does not.
    eventually("more attempts", lambda: controller.log().count("proxy_id") >= 3)
    assert proxy.log().count(" refuses ") == 1


def test_refused_agent_says_why(cluster: Cluster) -> None:
    controller = cluster.add_controller({"other": {}}).start()
    agent = start_agent(cluster, controller.address)
    agent.wait_for_line(r"warn .*controller \S+ refuses the load reports of agent a: .*echo")
    # Trunks work without a controller.
    eventually("/readyz has the reason", lambda: shows(agent, "refuses the load reports", 200))


def greet(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
    while connection.recv(4096):
        pass


def be_silent(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


@pytest.mark.parametrize("serve", [greet, be_silent])
def test_other_program_on_the_port_is_noticed(cluster: Cluster, servers: ServerStarter, serve: object) -> None:
    address = servers(Server, serve).address
    proxy, agent = start_proxy(cluster, address), start_agent(cluster, address)
    for program, status in ((proxy, 503), (agent, 200)):
        line = program.wait_for_line(rf"warn .*controller {address} is unreachable: (\S.*) \(gRPC status 14\)")
        assert line.group(1)
        eventually("/readyz has the reason", lambda: shows(program, f"controller {address} is unreachable", status))


def test_proxy_with_a_saved_snapshot_is_ready_and_shows_the_failure(cluster: Cluster) -> None:
    controller = cluster.add_controller({"echo": {}}).start()
    proxy = cluster.add_proxy().start()
    eventually("the proxy is ready", proxy.ready)
    assert http_get(proxy.http_port, "/readyz")[1] == "ok\n"
    controller.kill()
    eventually("/readyz has the reason", lambda: shows(proxy, "is unreachable", 200))
    controller.start()
    eventually("the note is gone", lambda: http_get(proxy.http_port, "/readyz") == (200, "ok\n"))
