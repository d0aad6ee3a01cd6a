"""Checks that SIGHUP and `trunkctl reload` put a new configuration of the controller into service, and stop no program."""

import signal

import pytest

from cluster import Cluster
from servers import EchoServer, ServerStarter
from traffic import Load, ask
from waiting import eventually


def start_whole(cluster: Cluster, servers: ServerStarter) -> None:
    cluster.add_controller({"echo": {}})
    cluster.add_agent("a", {"echo": servers(EchoServer, "a", cluster.path("a.sock")).address})
    cluster.add_proxy()
    cluster.start()


def add_service(cluster: Cluster, name: str, address: str) -> None:
    cluster.controller.config["services"].append(
        {
            "name": name,
            "listen": "127.0.0.1:0",
            "mode": "direct",
            "endpoints": [{"endpoint_id": "e", "address": address}],
        }
    )
    cluster.controller.write_config()


def reloads(cluster: Cluster, result: str) -> float:
    return cluster.controller.metric("controller_config_reloads_total", result=result)


@pytest.mark.parametrize("way", ["SIGHUP", "trunkctl"])
def test_new_service_is_served_without_a_restart(way: str, cluster: Cluster, servers: ServerStarter) -> None:
    start_whole(cluster, servers)
    controller, proxy = cluster.controller, cluster.proxies[0]
    cluster.ctl("drain", "echo", "a")
    add_service(cluster, "second", servers(EchoServer, "direct").address)
    if way == "SIGHUP":
        controller.send(signal.SIGHUP)
    else:
        assert "is in effect from snapshot" in cluster.ctl("reload").stdout
    assert ask(proxy, "second") == "direct"  # waits until the proxy listens for it
    assert reloads(cluster, "success") == 1 and reloads(cluster, "failure") == 0
    assert controller.metric("controller_config_last_reload_successful") == 1
    # The drain and the agent are still there.
    assert cluster.ctl_json("endpoints", "echo")["endpoints"][0]["weight"]["draining"]
    cluster.ctl("undrain", "echo", "a")
    eventually("the agent is back", lambda: controller.metric("controller_connected_agents") == 1)
    eventually("its endpoint has weight", lambda: proxy.metric("proxy_endpoint_weight", endpoint="a") > 0)
    assert ask(proxy, "echo") == "a"


# Far above connect_timeout, so that a client which had to wait for a tick would fail.
_LONG_TICK = "10s"


@pytest.mark.parametrize("before, after", [("direct", "tunnel"), ("tunnel", "direct")])
def test_clients_do_not_notice_a_switch_of_the_mode(
    before: str, after: str, cluster: Cluster, servers: ServerStarter
) -> None:
    cluster.add_controller({"echo": {"mode": before}}, tick_interval=_LONG_TICK)
    for name in "abc":
        cluster.add_agent(name, {"echo": servers(EchoServer, name).address})
    proxy = cluster.add_proxy()
    for program in [cluster.controller, *cluster.agents, proxy]:
        program.start()
    eventually(
        "all endpoints have weight",
        lambda: all(proxy.metric("proxy_endpoint_weight", endpoint=name) > 0 for name in "abc"),
    )
    with Load([proxy]) as load:
        load.run_on(100)
        cluster.controller.config["services"][0]["mode"] = after
        cluster.controller.write_config()
        cluster.ctl("reload")
        load.run_on(500)
    assert load.failures == []
    assert proxy.metric("proxy_flow_errors_total") == 0


def test_bad_file_changes_nothing_and_is_named(cluster: Cluster, servers: ServerStarter) -> None:
    start_whole(cluster, servers)
    controller, proxy = cluster.controller, cluster.proxies[0]
    controller.config_path.write_text("colour: blue\n")
    refused = cluster.ctl("reload", check=False)
    assert refused.returncode == 1 and "colour: unknown field" in refused.stderr
    controller.wait_for_line(r"error .*previous one stays in effect: .*colour: unknown field")
    assert reloads(cluster, "failure") == 1
    assert controller.metric("controller_config_last_reload_successful") == 0
    assert ask(proxy) == "a"
    # Rules between fields are checked as well.
    add_service(cluster, "echo", "127.0.0.1:1")
    refused = cluster.ctl("reload", check=False)
    assert refused.returncode == 1 and "expected a unique name" in refused.stderr
    controller.config["services"].pop()
    controller.write_config()
    cluster.ctl("reload")
    assert controller.metric("controller_config_last_reload_successful") == 1


def test_field_that_needs_a_restart_is_named(cluster: Cluster) -> None:
    controller = cluster.add_controller({}).start()
    controller.config["admin_listen"] = "127.0.0.1:1"
    controller.write_config()
    cluster.ctl("reload")
    controller.wait_for_line(r"warn .*changes of admin_listen take effect at the next start")


def test_signals_of_other_daemons_end_no_program(cluster: Cluster, servers: ServerStarter) -> None:
    start_whole(cluster, servers)
    for program in cluster.programs:
        for number, name in ((signal.SIGHUP, "SIGHUP"), (signal.SIGUSR1, "SIGUSR1"), (signal.SIGUSR2, "SIGUSR2")):
            program.send(number)
            if (program, number) != (cluster.controller, signal.SIGHUP):
                program.wait_for_line(rf"warn .*{name} has no effect")
    assert ask(cluster.proxies[0]) == "a"
