"""Steps the wall clock of running programs back by an hour: reports, snapshots and ends of programs do not wait for it."""

from cluster import Cluster
from servers import EchoServer, ServerStarter
from traffic import ask
from waiting import eventually
from wall_clock import WallClock, needs_shim

pytestmark = needs_shim

_HOUR_NANOS = 3600 * 10**9


def test_reports_and_snapshots_go_on_when_the_clock_steps_back(cluster: Cluster, servers: ServerStarter) -> None:
    clock = WallClock(cluster.path("clock"))
    server = servers(EchoServer, "a", cluster.path("echo.sock"))
    cluster.add_controller({"echo": {}})
    cluster.add_agent("a", {"echo": server.address})
    cluster.add_proxy()
    for program in cluster.programs:
        program.env = clock.env()
    cluster.start()
    controller, agent, proxy = cluster.controller, cluster.agents[0], cluster.proxies[0]
    clock.step(-_HOUR_NANOS)

    reports = agent.metric("agent_reports_sent_total")
    ticks = controller.metric("controller_tick_duration_seconds_count")
    eventually("the agent reports", lambda: agent.metric("agent_reports_sent_total") >= reports + 5)
    eventually("the controller ticks", lambda: controller.metric("controller_tick_duration_seconds_count") >= ticks + 5)
    with proxy.connect("echo"):
        eventually("the proxy reports a client", lambda: _clients(cluster) == 1)
    eventually("the proxy reports that the client left", lambda: _clients(cluster) == 0)

    cluster.ctl("drain", "echo", "a")
    eventually("the proxy has the new snapshot", lambda: proxy.metric("proxy_endpoint_weight", endpoint="a") == 0)
    cluster.ctl("undrain", "echo", "a")
    eventually("the endpoint is back", lambda: proxy.metric("proxy_endpoint_weight", endpoint="a") > 0)
    assert ask(proxy) == "a"
    # The programs did see the clock step; otherwise this test would prove nothing.
    times = [line.split()[0] for line in controller.log().splitlines()]
    assert times[-1] < times[0]

    controller.kill()
    eventually("the agent lost the controller", lambda: agent.metric("agent_controller_connected") == 0)
    controller.start()
    eventually("the agent is back", lambda: agent.metric("agent_controller_connected") == 1)
    eventually("the proxy is back", lambda: proxy.metric("proxy_controller_connected") == 1)


def _clients(cluster: Cluster) -> int:
    return sum(int(proxy["clients"]) for proxy in cluster.ctl_json("proxies")["proxies"])
