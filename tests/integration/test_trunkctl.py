"""Runs trunkctl against a live cluster, and checks its effect on real connections."""

import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import termios
import time
from typing import Any

import pytest

from cluster import BIN_DIR, Cluster, Proxy
from ports import reserve_port
from processes import run
from servers import EchoServer, ServerStarter
from traffic import ask_many, assert_echo, read_line
from waiting import SLOWNESS, eventually


@pytest.fixture
def proxy(cluster: Cluster, servers: ServerStarter) -> Proxy:
    cluster.add_controller({"echo": {}})
    for name in "ab":
        server = servers(EchoServer, name, cluster.path(f"{name}.sock"))
        cluster.add_agent(name, {"echo": server.address})
    proxy = cluster.add_proxy()
    cluster.start()
    return proxy


def weights(cluster: Cluster) -> dict[str, Any]:
    return {
        endpoint["endpoint_id"]: endpoint
        for endpoint in cluster.ctl_json("weights", "echo")["services"][0]["endpoints"]
    }


def read_terminal(terminal: int, until: bytes) -> bytes:
    """Returns what a program wrote to its terminal, up to the first time that it wrote `until`."""
    shown = b""
    deadline = time.monotonic() + 20 * SLOWNESS
    while until not in shown:
        ready, _, _ = select.select([terminal], [], [], max(0, deadline - time.monotonic()))
        assert ready, f"{until!r} did not appear; the program wrote {shown!r}"
        shown += os.read(terminal, 65536)
    return shown


def test_lists_describe_the_cluster(cluster: Cluster, proxy: Proxy) -> None:
    eventually("both report", lambda: all(e["state"] == "ENDPOINT_STATE_FRESH" for e in weights(cluster).values()))
    table = weights(cluster)
    assert sorted(table) == ["a", "b"]
    assert sum(endpoint["share"] for endpoint in table.values()) == pytest.approx(1, abs=0.01)
    endpoints = cluster.ctl_json("endpoints")["endpoints"]
    assert [(e["service"], e["agent_id"], e["reachable"]) for e in endpoints] == [
        ("echo", "a", True),
        ("echo", "b", True),
    ]
    assert endpoints[0]["weight"]["address"] == f"127.0.0.1:{cluster.agents[0].trunk_port}"
    (service,) = cluster.ctl_json("services")["services"]
    assert (service["name"], service["mode"], service["endpoints"]) == ("echo", "FORWARDING_MODE_TUNNEL", 2)
    eventually("the proxy has reported", lambda: cluster.ctl_json("proxies")["proxies"][0]["trunks"] >= 4)
    (listed,) = cluster.ctl_json("proxies")["proxies"]
    assert (listed["proxy_id"], listed["connected"], listed["workers"]) == ("p", True, 2)
    snapshot = cluster.ctl_json("snapshot")
    assert [e["endpoint_id"] for e in snapshot["services"][0]["endpoints"]] == ["a", "b"]
    # protobuf's JSON writes int64 as text.
    assert int(snapshot["id"]["version"]) >= int(listed["acked"]["version"]) > 0


def test_tables_are_readable(cluster: Cluster, proxy: Proxy) -> None:
    for command, words in [
        (["weights"], ["service echo", "WEIGHT", "fresh"]),
        (["endpoints"], ["ENDPOINT", "echo"]),
        (["services"], ["echo", "tunnel"]),
        (["proxies"], ["PROXY", "yes"]),
        (["snapshot"], ["snapshot", "echo"]),
        (["explain", "echo", "a"], ["theta", "slow_start"]),
    ]:

        def table() -> str | None:
            text = cluster.ctl(*command).stdout
            return text if all(word in text for word in words) else None

        print(eventually(f"{command} shows {words}", table))


def test_explain_multiplies_up_to_the_weight(cluster: Cluster, proxy: Proxy) -> None:
    eventually("both report", lambda: all(e["state"] == "ENDPOINT_STATE_FRESH" for e in weights(cluster).values()))
    explanation = cluster.ctl_json("explain", "echo", "a")
    terms = {term["name"]: term for term in explanation["terms"]}
    assert {"P", "theta", "memory", "slow_start", "admin"} <= set(terms)
    assert all(term["meaning"] for term in terms.values())
    assert explanation["weight"] > 0


def test_drain_lets_running_flows_finish_and_undrain_takes_it_back(cluster: Cluster, proxy: Proxy) -> None:
    kept = proxy.connect("echo")
    drained = read_line(kept)
    other = "b" if drained == "a" else "a"
    cluster.ctl("drain", "echo", drained)
    eventually("the proxy has it", lambda: proxy.metric("proxy_endpoint_weight", endpoint=drained) == 0)
    eventually("its workers have it", lambda: ask_many(proxy, 20) == {other: 20})
    assert ask_many(proxy, 100) == {other: 100}
    assert_echo(kept, b"still here")
    kept.close()
    assert weights(cluster)[drained]["draining"]
    cluster.ctl("undrain", "echo", drained)
    eventually("it is used again", lambda: drained in ask_many(proxy, 20))
    assert not weights(cluster)[drained]["draining"]
    assert proxy.metric("proxy_flow_errors_total") == 0


def test_pin_decides_the_shares_and_unpin_gives_them_back(cluster: Cluster, proxy: Proxy) -> None:
    cluster.ctl("pin", "echo", "a", "9")
    cluster.ctl("pin", "echo", "b", "1")
    for name, weight in [("a", 9), ("b", 1)]:
        eventually("the proxy has it", lambda: proxy.metric("proxy_endpoint_weight", endpoint=name) == weight)
        assert weights(cluster)[name]["pinned"]
    # With nothing in flight, a weighted draw decides: 9 of 10 flows go to the heavier endpoint.
    counts = ask_many(proxy, 300)
    assert counts["a"] > 240, counts
    cluster.ctl("unpin", "echo", "a")
    cluster.ctl("unpin", "echo", "b")
    eventually(
        "the policy decides again",
        lambda: all(not endpoint["pinned"] and endpoint["weight"] < 5 for endpoint in weights(cluster).values()),
        30,
    )


def test_watch_prints_a_table_at_each_change(cluster: Cluster, proxy: Proxy) -> None:
    once = cluster.ctl("--json", "watch", "echo", "--count", "1").stdout
    assert len(once.splitlines()) == 1
    assert len(json.loads(once)["services"][0]["endpoints"]) == 2
    watcher = cluster.add_process(
        "watch", [BIN_DIR / "trunkctl", "--controller", cluster.controller.address, "--json", "watch", "--count", "500"]
    ).start()
    eventually("the first table", lambda: watcher.log().count("\n") >= 1)
    cluster.ctl("pin", "echo", "a", "7")
    eventually(
        "a table with the pin",
        lambda: any(
            endpoint["pinned"]
            for line in watcher.log().splitlines()
            if line.endswith("}")
            for endpoint in json.loads(line)["services"][0]["endpoints"]
        ),
    )
    watcher.end()


def test_watch_notices_a_frozen_controller(cluster: Cluster, proxy: Proxy) -> None:
    watcher = cluster.add_process(
        "watch", [BIN_DIR / "trunkctl", "--controller", cluster.controller.address, "--json", "watch"]
    ).start()
    eventually("the first table", lambda: watcher.log().count("\n") >= 1)
    cluster.controller.send(signal.SIGSTOP)
    try:
        assert watcher.wait(60) == 3, watcher.log_tail()
    finally:
        cluster.controller.send(signal.SIGCONT)
    assert "no controller answers" in watcher.log()


def test_top_prints_tables_where_nobody_watches_a_terminal(cluster: Cluster, proxy: Proxy) -> None:
    text = cluster.ctl("top", "echo", "--count", "2", "--interval", "0.1").stdout
    assert text.count("service echo") == 2 and text.count("IN FLIGHT") == 2, text
    assert "\x1b" not in text
    lines = cluster.ctl("--json", "top", "--count", "2", "--interval", "0.1").stdout.splitlines()
    assert [len(json.loads(line)["services"][0]["endpoints"]) for line in lines] == [2, 2]


def test_top_gives_the_terminal_back_as_it_was(cluster: Cluster, proxy: Proxy) -> None:
    for how_to_quit in (b"q", b"\x03"):
        terminal, program_side = pty.openpty()
        before = termios.tcgetattr(program_side)
        with subprocess.Popen(
            [BIN_DIR / "trunkctl", "--controller", cluster.controller.address, "top"],
            stdin=program_side,
            stdout=program_side,
            stderr=program_side,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        ) as top:
            shown = read_terminal(terminal, until=b"q quits")
            assert b"service echo" in shown
            os.write(terminal, b"w")
            read_terminal(terminal, until=b"by weight")
            os.write(terminal, how_to_quit)
            assert top.wait(20 * SLOWNESS) == 0
        assert read_terminal(terminal, until=b"\x1b[?1049l").endswith(b"\x1b[?1049l")
        assert termios.tcgetattr(program_side) == before
        os.close(program_side)
        os.close(terminal)


def test_history_has_a_line_of_bars_for_each_endpoint(cluster: Cluster, proxy: Proxy) -> None:
    eventually("the endpoints are recorded", lambda: len(cluster.ctl_json("history")["endpoints"]) == 2)
    text = cluster.ctl("history", "echo", "--of", "utilization").stdout
    assert "service echo" in text and "LAST 60 MINUTES" in text, text
    answer = cluster.ctl_json("history", "echo")
    assert answer["step_seconds"] == 30 and answer["age_seconds"] <= 31
    assert [endpoint["endpoint_id"] for endpoint in answer["endpoints"]] == ["a", "b"]
    assert all(endpoint["points"][-1]["weight"] > 0 for endpoint in answer["endpoints"])


def test_refusals_name_what_exists(cluster: Cluster, proxy: Proxy) -> None:
    for command, words in [
        (["drain", "echo", "zebra"], ["zebra", "a", "b"]),
        (["explain", "zebra", "a"], ["zebra", "echo"]),
        (["weights", "zebra"], ["zebra", "echo"]),
        (["top", "zebra"], ["zebra", "echo"]),
        (["history", "zebra"], ["zebra", "echo"]),
        (["history", "echo", "zebra"], ["zebra", "echo"]),
        (["pin", "echo", "a", "1000000"], ["10000"]),
    ]:
        result = cluster.ctl(*command, check=False)
        assert result.returncode == 1
        assert all(word in result.stderr for word in words), result.stderr


def test_no_controller_is_exit_code_3_and_says_what_to_do(cluster: Cluster) -> None:
    address = f"127.0.0.1:{reserve_port()}"
    for command in (["weights"], ["drain", "echo", "a"], ["watch"]):
        result = run([BIN_DIR / "trunkctl", "--controller", address, *command], check=False)
        assert result.returncode == 3, result
        assert address in result.stderr and "--controller" in result.stderr
    assert run([BIN_DIR / "trunkctl", "dance"], check=False).returncode == 2


def test_unknown_choice_names_the_known_ones() -> None:
    for command in (["top", "--by", "fame"], ["history", "echo", "--of", "fame"]):
        result = run([BIN_DIR / "trunkctl", *command], check=False)
        assert result.returncode == 2
        assert "fame" in result.stderr and "weight" in result.stderr, result.stderr
