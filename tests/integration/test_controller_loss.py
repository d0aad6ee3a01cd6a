"""Proxies and agents keep working while the controller is killed, frozen and restarted."""

import json
import signal
from typing import Any

import pytest

from cluster import Cluster, Proxy
from servers import EchoServer, ServerStarter
from traffic import Load, ask, ask_many, assert_echo, read_line
from waiting import eventually

# Controller ticks during which the weights must not change.
_TICKS = 12


@pytest.fixture
def proxies(cluster: Cluster, servers: ServerStarter) -> list[Proxy]:
    """Two proxies with two endpoints, a and b, where the operator configured a's weight as three times b's."""
    cluster.add_controller(
        {"echo": {"endpoints": [{"endpoint_id": "a", "weight": 3}, {"endpoint_id": "b", "weight": 1}]}}
    )
    for name in "ab":
        server = servers(EchoServer, name, cluster.path(f"{name}.sock"))
        cluster.add_agent(name, {"echo": server.address})
    cluster.add_proxy("p1")
    cluster.add_proxy("p2")
    cluster.start()
    return cluster.proxies


def weights(cluster: Cluster) -> dict[str, Any]:
    return {
        endpoint["endpoint_id"]: endpoint["weight"]
        for endpoint in cluster.ctl_json("weights", "echo")["services"][0]["endpoints"]
    }


def settled_weights(cluster: Cluster) -> dict[str, float]:
    """Returns the weights once they have stayed the same over several ticks of the controller."""

    def ticks() -> float:
        return cluster.controller.metric("controller_tick_duration_seconds_count")

    def unchanged() -> dict[str, float] | None:
        before, start = weights(cluster), ticks()
        eventually("some ticks pass", lambda: ticks() >= start + _TICKS)
        return before if weights(cluster) == before else None

    return eventually("weights settle", unchanged, 60)


def all_subscribed(proxies: list[Proxy]) -> bool:
    return all(proxy.metric("proxy_controller_connected") == 1 for proxy in proxies)


def test_killed_and_started_under_load(cluster: Cluster, proxies: list[Proxy]) -> None:
    with Load(proxies) as load:
        load.run_on(100)
        cluster.controller.kill()
        load.run_on(500)
        cluster.controller.start()
        eventually("proxies are subscribed", lambda: all_subscribed(proxies), 30)
        load.run_on(200)
    assert load.failures == []
    assert all(proxy.metric("proxy_flow_errors_total") == 0 for proxy in proxies)
    eventually(
        "agents report", lambda: all(agent.metric("agent_controller_connected") == 1 for agent in cluster.agents), 30
    )


def test_restarted_without_its_state_under_load(cluster: Cluster, servers: ServerStarter) -> None:
    # With a tick far above connect_timeout, a client that had to wait for one would fail.
    controller = cluster.add_controller({"echo": {}}, tick_interval="10s")
    del controller.config["state_file"]
    for name in "abc":
        cluster.add_agent(name, {"echo": servers(EchoServer, name, cluster.path(f"{name}.sock")).address})
    proxy = cluster.add_proxy()
    cluster.start()
    with Load([proxy]) as load:
        load.run_on(100)
        assert controller.end() == 0
        controller.start()
        eventually("the proxy is subscribed", lambda: all_subscribed([proxy]), 30)
        load.run_on(200)
    assert load.failures == []
    assert proxy.metric("proxy_flow_errors_total") == 0
    assert {ask(proxy) for _ in range(50)} == {"a", "b", "c"}


def test_frozen_and_thawed_under_load(cluster: Cluster, proxies: list[Proxy]) -> None:
    with Load(proxies) as load:
        load.run_on(100)
        cluster.controller.send(signal.SIGSTOP)
        load.run_on(800)
        cluster.controller.send(signal.SIGCONT)
        load.run_on(100)
    assert load.failures == []
    # The thawed controller continues with its old state.
    cluster.ctl("pin", "echo", "a", "5")
    for proxy in proxies:
        eventually("the pin arrives", lambda: proxy.metric("proxy_endpoint_weight", endpoint="a") == 5, 30)


def test_weights_stay_until_reports_are_back(cluster: Cluster, proxies: list[Proxy]) -> None:
    eventually("weights follow the configuration", lambda: weights(cluster)["a"] > 1.4)
    cluster.ctl("drain", "echo", "b")
    cluster.ctl("undrain", "echo", "b")
    eventually("b is back", lambda: weights(cluster)["b"] > 0)
    before = settled_weights(cluster)
    version = cluster.controller.metric("controller_snapshot_version")
    epoch = cluster.controller.metric("controller_snapshot_epoch")
    cluster.controller.kill()
    # Frozen agents send no reports.
    for agent in cluster.agents:
        agent.send(signal.SIGSTOP)
    cluster.controller.start()
    eventually(
        "it computed some times", lambda: cluster.controller.metric("controller_tick_duration_seconds_count") > _TICKS
    )
    assert weights(cluster) == before
    newer = [
        cluster.controller.metric("controller_snapshot_epoch"),
        cluster.controller.metric("controller_snapshot_version"),
    ]
    assert newer >= [epoch, version]
    for agent in cluster.agents:
        agent.send(signal.SIGCONT)
    eventually(
        "both report again",
        lambda: all(
            endpoint["weight"]["state"] == "ENDPOINT_STATE_FRESH"
            for endpoint in cluster.ctl_json("endpoints", "echo")["endpoints"]
        ),
        30,
    )
    assert weights(cluster) == pytest.approx(before, rel=0.1)
    cluster.wait_ready()
    assert ask(proxies[0]) in ("a", "b")


def test_drains_and_pins_survive_a_restart(cluster: Cluster, proxies: list[Proxy]) -> None:
    cluster.ctl("drain", "echo", "b")
    cluster.ctl("pin", "echo", "a", "2.5")
    cluster.controller.kill()
    cluster.controller.start()
    assert weights(cluster)["a"] == 2.5
    for proxy in proxies:
        eventually("the proxy holds it", lambda: proxy.metric("proxy_controller_connected") == 1, 30)
        # The drain may have reached only the state file before the controller was killed.
        eventually("its workers have it", lambda: ask_many(proxy, 20) == {"a": 20})
        assert ask_many(proxy, 50) == {"a": 50}


def test_proxy_starts_with_no_controller(cluster: Cluster, proxies: list[Proxy]) -> None:
    cluster.controller.end()
    proxy = proxies[0]
    assert proxy.end() == 0
    proxy.start()
    eventually("it serves its saved snapshot", proxy.ready)
    proxy.wait_for_line("serving the saved snapshot")
    eventually("trunks are up", lambda: proxy.has_trunks_to(cluster.agents))
    assert set(ask_many(proxy, 100)) == {"a", "b"}
    assert proxy.metric("proxy_controller_connected") == 0


def test_proxy_with_neither_controller_nor_snapshot_says_so(cluster: Cluster, proxies: list[Proxy]) -> None:
    cluster.controller.end()
    proxy = proxies[0]
    assert proxy.end() == 0
    cluster.path("p1.snapshot").unlink()
    proxy.start()
    assert not proxy.ready()
    cluster.controller.start()
    eventually("it is ready once the controller is", proxy.ready, 30)


def test_service_that_is_added_needs_no_restart_of_proxies(
    cluster: Cluster, proxies: list[Proxy], servers: ServerStarter
) -> None:
    pids = [proxy.pid for proxy in proxies]
    kept = proxies[0].connect("echo")
    read_line(kept)
    config = cluster.controller.config
    config["services"].append({"name": "second", "listen": "127.0.0.1:0", "mode": "tunnel"})
    assert cluster.controller.end() == 0
    cluster.controller.start()
    second = servers(EchoServer, "second", cluster.path("second.sock"))
    cluster.add_agent("c", {"second": second.address}).start()
    for proxy in proxies:
        proxy.wait_for_line("service second on ", 30)
        eventually("the new service answers", lambda: ask(proxy, "second") == "second", 30)
        assert ask(proxy) in ("a", "b")
    # The proxy stops listening for a removed service.
    del config["services"][-1]
    assert cluster.controller.end() == 0
    cluster.controller.start()

    def refused() -> bool:
        try:
            proxies[0].connect("second").close()
        except ConnectionRefusedError:
            return True
        return False

    eventually("the service's listener is gone", refused, 30)
    assert_echo(kept, b"through all of it")
    kept.close()
    assert [proxy.pid for proxy in proxies] == pids


def fail_as_second(cluster: Cluster, **changes: object) -> str:
    """Starts a second controller with `changes` to the configuration of the first, and returns its log."""
    config = cluster.path("second.yaml")
    config.write_text(json.dumps({**cluster.controller.config, **changes}))
    second = cluster.add_process("second-controller", [*cluster.controller.command[:-1], config])
    second.start()
    assert second.wait() == 1
    return second.log()


def test_a_second_controller_on_the_same_port_fails_loudly(cluster: Cluster, proxies: list[Proxy]) -> None:
    eventually("proxies are subscribed", lambda: all_subscribed(proxies), 30)
    log = fail_as_second(cluster, state_file=str(cluster.path("second.state")))
    assert cluster.controller.address in log
    assert all_subscribed(proxies)


def test_a_second_controller_with_the_same_state_file_fails_loudly(cluster: Cluster, proxies: list[Proxy]) -> None:
    eventually("proxies are subscribed", lambda: all_subscribed(proxies), 30)
    log = fail_as_second(cluster, grpc_listen="127.0.0.1:0")
    assert f"state_file {cluster.controller.config['state_file']}: another controller uses it" in log
    assert all_subscribed(proxies)
