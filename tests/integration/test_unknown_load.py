"""Checks that load that an agent cannot read is unknown everywhere, and never looks idle."""

import os
from typing import Any

import pytest

from cluster import Agent, Cluster, http_get
from servers import EchoServer, ServerStarter
from waiting import eventually

_POSTMASTER_PID = "{}\n/var/lib/postgresql\n1767323045\n5432\n/run/postgresql\nlocalhost\n  5432001  0\nready   \n"


def endpoint(cluster: Cluster) -> Any:
    return cluster.ctl_json("endpoints", "echo")["endpoints"][0]["weight"]


def readiness(agent: Agent) -> str:
    status, body = http_get(agent.http_port, "/readyz")
    assert status == 200
    return body


def unreadable(agent: Agent, source: str) -> float:
    return agent.metric("agent_source_unreadable", source=source)


def test_pid_file_that_is_missing_is_unknown_until_it_is_there(cluster: Cluster, servers: ServerStarter) -> None:
    pid_file = cluster.path("postmaster.pid")
    server = servers(EchoServer, "a")
    cluster.add_controller({"echo": {}})
    agent = cluster.add_agent(
        "a", {"echo": {"target": server.address, "cpu_source": "processes", "pid_file": str(pid_file)}}
    )
    cluster.add_proxy()
    cluster.start()
    agent.wait_for_line(r"CPU is unknown and not reported: pid_file: .*postmaster\.pid")
    eventually("the controller has reports", lambda: endpoint(cluster)["state"] == "ENDPOINT_STATE_FRESH")
    assert "utilization" not in endpoint(cluster) and "cpu_utilization" not in endpoint(cluster)
    assert endpoint(cluster)["weight"] > 0
    assert "service echo: CPU is unknown: pid_file: " in readiness(agent)
    assert unreadable(agent, "cpu") == 1
    with pytest.raises(LookupError):
        agent.metric("agent_cpu_utilization")
    with pytest.raises(LookupError):
        cluster.controller.metric("controller_endpoint_utilization_ratio")

    pid_file.write_text(_POSTMASTER_PID.format(os.getpid()))
    eventually("the controller knows the utilization", lambda: "utilization" in endpoint(cluster))
    agent.wait_for_line("CPU is readable again")
    assert "CPU is unknown" not in readiness(agent)
    assert unreadable(agent, "cpu") == 0
    assert agent.metric("agent_cpu_utilization") >= 0


def test_misspelled_interface_is_named(cluster: Cluster, servers: ServerStarter) -> None:
    server = servers(EchoServer, "a", cluster.path("a.sock"))
    cluster.add_controller({"echo": {}}).start()
    agent = cluster.add_agent("a", {"echo": server.address}, nic="eht0").start()
    agent.wait_for_line("network load is unknown and not reported: .*no interface eht0")
    eventually("/readyz has it", lambda: "network load is unknown" in readiness(agent))
    assert unreadable(agent, "network") == 1


def test_load_without_a_source_is_absent_and_not_zero(cluster: Cluster, servers: ServerStarter) -> None:
    """The server has no port and no limit of connections, and the interface does not exist."""
    server = servers(EchoServer, "a", cluster.path("a.sock"))
    cluster.add_controller({"echo": {"endpoints": [{"endpoint_id": "a"}, {"endpoint_id": "absent"}]}})
    agent = cluster.add_agent("a", {"echo": server.address}, nic="eht0")
    cluster.add_proxy()
    cluster.start()
    eventually("the controller has reports", lambda: endpoint(cluster)["state"] == "ENDPOINT_STATE_FRESH")
    assert agent.metric("agent_memory_utilization") > 0
    for name in ("connections", "connection_utilization", "nic_bytes_per_second", "nic_utilization"):
        with pytest.raises(LookupError):
            agent.metric(f"agent_{name}")
    absent = cluster.ctl_json("endpoints", "echo")["endpoints"][1]
    assert absent["weight"]["endpoint_id"] == "absent"
    assert not {"reachable", "cores", "successes_per_second", "errors_per_second", "bytes_per_second"} & set(absent)
    assert "active_streams" not in absent["weight"]
    assert "connections" not in endpoint(cluster)
    terms = {term["name"]: term for term in cluster.ctl_json("explain", "echo", "a")["terms"]}
    assert "value" not in terms["nic"] and "value" not in terms["connections"]
