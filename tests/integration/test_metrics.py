"""Checks the pages /metrics, /healthz and /readyz of all three programs."""

import pathlib
import re

import pytest

from cluster import Cluster, http_get
from ports import reserve_port
from processes import run, tool
from servers import EchoServer, ServerStarter
from traffic import ask_many
from waiting import eventually

# Families on which dashboards and alerts depend.
_FAMILIES = {
    "controller": [
        "build_info",
        "controller_endpoint_weight",
        "controller_endpoint_capacity",
        "controller_endpoint_utilization_ratio",
        "controller_endpoint_report_age_seconds",
        "controller_endpoint_state",
        "controller_snapshot_version",
        "controller_snapshot_epoch",
        "controller_connected_agents",
        "controller_connected_proxies",
        "controller_reports_total",
        "controller_tick_duration_seconds",
    ],
    "p": [
        "build_info",
        "proxy_clients",
        "proxy_clients_accepted_total",
        "proxy_trunks",
        "proxy_trunk_dials_total",
        "proxy_trunk_read_bytes_total",
        "proxy_trunk_written_bytes_total",
        "proxy_flow_errors_total",
        "proxy_to_client_buffered_bytes",
        "proxy_retries_total",
        "proxy_endpoint_flows_total",
        "proxy_endpoint_active_flows",
        "proxy_endpoint_sent_bytes_total",
        "proxy_endpoint_received_bytes_total",
        "proxy_endpoint_weight",
        "proxy_controller_connected",
        "proxy_snapshot_version",
        "proxy_snapshot_epoch",
        "proxy_pick_latency_seconds",
        "proxy_connect_latency_seconds",
        "proxy_first_byte_seconds",
        "proxy_inband_subscriptions",
        "proxy_inband_reports_total",
        "proxy_endpoint_load_flows",
        "proxy_trunk_tls_failures_total",
    ],
    "a": [
        "build_info",
        "agent_cpu_utilization",
        "agent_memory_utilization",
        "agent_connections",
        "agent_active_streams",
        "agent_streams_total",
        "agent_stream_successes_total",
        "agent_stream_errors_total",
        "agent_stream_bytes_total",
        "agent_trunks",
        "agent_controller_connected",
        "agent_reports_sent_total",
        "agent_connect_latency_seconds",
        "agent_load_streams",
        "agent_inband_subscribers",
        "agent_inband_reports_total",
        "agent_trunk_tls_failures_total",
    ],
}


@pytest.fixture
def running(cluster: Cluster, servers: ServerStarter) -> Cluster:
    server = servers(EchoServer, "a", cluster.path("echo.sock"))
    cluster.add_controller({"echo": {}})
    agent = cluster.add_agent("a", {"echo": {"target": server.address, "observe_port": reserve_port()}})
    cluster.add_proxy()
    cluster.start()
    ask_many(cluster.proxies[0], 100)
    eventually("connections are counted", lambda: "agent_connections" in http_get(agent.http_port, "/metrics")[1])
    return cluster


def test_promtool_accepts_every_page(running: Cluster) -> None:
    for program in running.programs:
        status, page = http_get(program.http_port, "/metrics")
        assert status == 200
        verdict = run([tool("promtool"), "check", "metrics"], input=page, check=False)
        assert (verdict.returncode, verdict.stdout, verdict.stderr) == (0, "", ""), program.name


def test_inband_load_reports_are_shown(running: Cluster) -> None:
    for family in ["proxy_endpoint_server_load_streams", "proxy_endpoint_server_utilization_ratio"]:
        eventually(
            f"{family} is there",
            lambda: f"# TYPE trunkline_{family} " in http_get(running.proxies[0].http_port, "/metrics")[1],
        )


def test_required_families_are_present(running: Cluster) -> None:
    for name, families in _FAMILIES.items():
        program = next(process for process in running.programs if process.name == name)
        page = http_get(program.http_port, "/metrics")[1]
        missing = [family for family in families if f"# TYPE trunkline_{family} " not in page]
        assert not missing, f"{name} lacks {missing}"


def test_every_family_is_documented(running: Cluster) -> None:
    page = pathlib.Path(__file__).parents[2] / "docs" / "metrics.md"
    described = set(re.findall(r"^\| `(trunkline_\w+)` \|", page.read_text(), re.MULTILINE))
    for program in running.programs:
        shown = set(re.findall(r"^# TYPE (\w+) ", http_get(program.http_port, "/metrics")[1], re.MULTILINE))
        assert shown, program.name
        assert shown <= described, f"{program.name} shows families that {page.name} does not describe"


def test_metrics_of_proxy_and_agent_agree(running: Cluster) -> None:
    proxy, agent = running.proxies[0], running.agents[0]
    assert proxy.metric("proxy_clients_accepted_total") == 100
    assert proxy.metric("proxy_endpoint_flows_total", service="echo", endpoint="a") == 100
    eventually("all flows ended", lambda: proxy.metric("proxy_clients") == 0)
    assert proxy.metric("proxy_endpoint_sent_bytes_total") == 100 * 128
    assert proxy.metric("proxy_endpoint_received_bytes_total") == 100 * (128 + len("a\n"))
    assert proxy.metric("proxy_connect_latency_seconds_count") == 100
    assert proxy.metric("proxy_first_byte_seconds_count", service="echo", mode="tunnel") == 100
    assert proxy.metric("proxy_flow_errors_total") == 0
    assert agent.metric("agent_streams_total", service="echo") == 100
    eventually("all streams ended", lambda: agent.metric("agent_active_streams") == 0)
    assert agent.metric("agent_stream_successes_total", service="echo") == 100
    assert agent.metric("agent_stream_errors_total") == 0
    eventually("both ends count the same trunks", lambda: agent.metric("agent_trunks") == proxy.metric("proxy_trunks"))
    controller = running.controller
    assert controller.metric("controller_connected_agents") == 1
    assert controller.metric("controller_connected_proxies") == 1
    eventually(
        "the controller has heard of it",
        lambda: (
            controller.metric("controller_reports_total") > 1
            and controller.metric("controller_endpoint_weight", endpoint="a") > 0
        ),
    )


def test_health_and_readiness(running: Cluster) -> None:
    for program in running.programs:
        assert http_get(program.http_port, "/healthz")[0] == 200
        assert http_get(program.http_port, "/readyz")[0] == 200
        assert http_get(program.http_port, "/nothing-here")[0] == 404
