"""Checks that a proxy and an agent say what came back from a controller that refuses them, or from another program."""

import pathlib
import socket

import pytest

from cluster import Agent, Cluster, Program, Proxy, http_get
from servers import Server, ServerStarter
from waiting import eventually
from wall_clock import WallClock, needs_shim

_YEAR_NANOS = 365 * 24 * 3600 * 10**9


def shows(program: Program, text: str, status: int) -> bool:
    code, body = http_get(program.http_port, "/readyz")
    return code == status and text in body


def start_proxy(cluster: Cluster, controller: str) -> Proxy:
    return cluster.add(Proxy(cluster.folder, "p", controller)).start()


def start_agent(cluster: Cluster, controller: str, agent_id: str = "a") -> Agent:
    agent = cluster.add(Agent(cluster.folder, "a", controller, {"echo": f"unix:{cluster.path('echo.sock')}"}))
    agent.config["agent_id"] = agent_id
    return agent.start()


@needs_shim
def test_refused_proxy_says_why(cluster: Cluster) -> None:
    # The clock of the controller's host was wrong, so the proxy holds a snapshot from the future. Then the host was set up
    # anew.
    clock = WallClock(cluster.path("clock"))
    clock.step(2 * _YEAR_NANOS)
    controller = cluster.add_controller({"echo": {}})
    controller.env = clock.env()
    controller.start()
    proxy = start_proxy(cluster, controller.address)
    eventually("the proxy has a snapshot", proxy.ready)
    controller.kill()
    pathlib.Path(controller.config["state_file"]).unlink()
    controller.env = {}
    controller.start()
    proxy.wait_for_line(r"warn .*controller \S+ refuses proxy p: .*hello.have.epoch")
    eventually("/readyz has the reason", lambda: shows(proxy, "hello.have.epoch", 200))
    # Attempts repeat within a second; the log does not.
    eventually("more attempts", lambda: controller.log().count("hello.have.epoch") >= 3)
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
