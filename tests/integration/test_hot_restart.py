"""Replaces a proxy under load by another one with the same file; no connect may fail."""

import json
import os
import socket
import subprocess
from typing import Any

import pytest

from cluster import BIN_DIR, Cluster, Proxy
from ports import reserve_port
from traffic import assert_echo
from waiting import eventually

# Long runs by hand use 100.
RESTARTS = int(os.environ.get("TRUNKLINE_RESTARTS", "4"))
RATE = int(os.environ.get("TRUNKLINE_RESTART_RATE", "300" if os.environ.get("TRUNKLINE_SANITIZE") else "1500"))
# Longer than the restarts take; the test stops the load when they are done.
LOAD_SECONDS = 60 + 20 * RESTARTS


@pytest.fixture
def proxy(cluster: Cluster) -> Proxy:
    """A replaceable proxy with the same server behind a service of each mode."""
    server = reserve_port()
    echo = cluster.add_process("server", [BIN_DIR / "echo_server", "--listen", f"127.0.0.1:{server}"])
    echo.start()
    echo.wait_for_line("listening")
    endpoint = {"endpoint_id": "server", "address": f"127.0.0.1:{server}"}
    cluster.add_controller(
        {
            "tunnel": {"mode": "tunnel", "listen": f"127.0.0.1:{reserve_port()}"},
            "message": {
                "mode": "message",
                "listen": f"127.0.0.1:{reserve_port()}",
                "message": {"length_field": {"length": 4}},
                "endpoints": [endpoint],
            },
            "direct": {
                "mode": "direct",
                "listen": [f"127.0.0.1:{reserve_port()}", f"127.0.0.1:{reserve_port()}"],
                "endpoints": [endpoint],
            },
        }
    )
    cluster.add_agent("a", {"tunnel": f"127.0.0.1:{server}"})
    first = cluster.add_proxy(
        "p",
        handover_socket=str(cluster.path("p.sock")),
        drain_timeout="20s",
        admin_listen=f"127.0.0.1:{reserve_port()}",
    )
    cluster.start()
    return first


def successor(cluster: Cluster, proxy: Proxy, number: int, **changes: Any) -> Proxy:
    """Adds another proxy with the same file, as an operator would start it."""
    config = {key: value for key, value in proxy.config.items() if key != "controller"}
    return cluster.add_proxy(f"p{number}", **{**config, **changes})


def ports(proxy: Proxy) -> dict[str, int]:
    return {service: proxy.port(service) for service in ("tunnel", "message", "direct")}


def addresses(cluster: Cluster) -> dict[str, str]:
    """Returns each address on which a service listens, with a name for it."""
    found = {}
    for service in cluster.controller.config["services"]:
        listen = service["listen"] if isinstance(service["listen"], list) else [service["listen"]]
        found.update({f"{service['name']} {number}": address for number, address in enumerate(listen)})
    return found


def start_load(address: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            BIN_DIR / "bench_load",
            "open",
            "--target",
            address,
            "--rate",
            str(RATE / 4),
            "--seconds",
            str(LOAD_SECONDS),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )


def await_load(proxy: Proxy) -> None:
    """Waits until each service got half a second's worth of the clients of one address."""

    def has_come() -> bool:
        return all(
            proxy.metric("proxy_clients_accepted_total", service=service) >= RATE / 4 / 2 for service in ports(proxy)
        )

    eventually("clients come", has_come)


def test_no_connect_fails_over_many_restarts(cluster: Cluster, proxy: Proxy) -> None:
    loads = {name: start_load(address) for name, address in addresses(cluster).items()}
    try:
        await_load(proxy)
        for number in range(RESTARTS):
            following = successor(cluster, proxy, number)
            following.start()
            assert proxy.wait(60) == 0, "the old one ends by itself"
            eventually("the new one is ready", following.ready)
            proxy = following
            await_load(proxy)
        ended_early = [service for service, load in loads.items() if load.poll() is not None]
        assert not ended_early, f"connects were not tried to the end: {ended_early}"
        for load in loads.values():
            load.terminate()  # the generator finishes what is in flight, then prints its counts
        results = {service: json.loads(load.communicate()[0]) for service, load in loads.items()}
    finally:
        for load in loads.values():
            load.kill()
            load.wait()
    tried = sum(result["done"] + result["errors"] for result in results.values())
    seconds = max(result["seconds"] for result in results.values())
    print(f"{RESTARTS} restarts in {seconds:.0f} s under {tried / seconds:.0f} connections/s")
    for service, result in results.items():
        # In order of severity: not connected, broken after the connect, no reply in time.
        print(
            f"{service}: {result['done']} served, {result['connect_errors']} not connected, {result['broken']} broken, "
            f"{result['timeouts']} without a reply in 2 s, p99 {result['p99_us'] / 1000:.1f} ms"
        )
    for service, result in results.items():
        assert result["connect_errors"] == 0, f"{service}: {result}"
        assert result["errors"] == 0 and result["done"] > 0, f"{service}: {result}"


def test_open_connection_lives_on_in_the_old_process(cluster: Cluster, proxy: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", ports(proxy)["direct"]), timeout=30) as client:
        assert_echo(client, b"before")
        following = successor(cluster, proxy, 1)
        following.start()
        eventually("the old one has given up its HTTP port", following.ready)
        assert_echo(client, b"after")
        assert proxy.running
    assert proxy.wait(60) == 0


def test_fewer_workers_take_all_sockets(cluster: Cluster, proxy: Proxy) -> None:
    following = successor(cluster, proxy, 1, workers=1)
    following.start()
    assert proxy.wait(60) == 0
    eventually("the new one is ready", following.ready)
    # The kernel spreads connects over all listening sockets that the old process had.
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", ports(following)["direct"]), timeout=30) as client:
            assert_echo(client, b"hello")


def test_successor_that_dies_before_it_serves_changes_nothing(cluster: Cluster, proxy: Proxy) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dying:
        dying.connect(proxy.config["handover_socket"])
        dying.send(b"H2\n" + proxy.config["proxy_id"].encode())
        assert dying.recv(4096).startswith(b"W")
    proxy.wait_for_line("did not come up")
    with socket.create_connection(("127.0.0.1", ports(proxy)["direct"]), timeout=30) as client:
        assert_echo(client, b"still here")
    # The next successor can still take over.
    following = successor(cluster, proxy, 1)
    following.start()
    assert proxy.wait(60) == 0
