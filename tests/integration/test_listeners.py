"""Running proxies follow services that change their listen addresses, and report ports that another program holds."""

import socket
from collections.abc import Mapping
from typing import Any

import pytest

from cluster import BIN_DIR, Cluster, Config, Proxy, http_get
from ports import has_ipv6, reserve_port, reserve_port_of_both_families
from traffic import assert_echo
from waiting import eventually

# What a service listens on: an address, or a list.
Listen = str | list[str]


class Start:
    """Makes a proxy whose services share one endpoint.

    `listens` maps services to the addresses where they listen; `change` moves them later.
    """

    def __init__(self, cluster: Cluster, endpoint: Config) -> None:
        self._cluster = cluster
        self._endpoint = endpoint

    def __call__(self, listens: Mapping[str, Listen], **config: Any) -> Proxy:
        self._cluster.add_controller({})
        self._cluster.controller.config["services"] = self._services(listens)
        proxy = self._cluster.add_proxy(
            "p",
            handover_socket=str(self._cluster.path("p.sock")),
            admin_listen=f"127.0.0.1:{reserve_port()}",
            **config,
        )
        self._cluster.controller.start()
        return proxy

    def change(self, listens: Mapping[str, Listen]) -> None:
        self._cluster.controller.config["services"] = self._services(listens)
        assert self._cluster.controller.end() == 0
        self._cluster.controller.start()

    def reload(self, listens: Mapping[str, Listen]) -> None:
        """Changes them without a restart of the controller."""
        self._cluster.controller.config["services"] = self._services(listens)
        self._cluster.controller.write_config()
        self._cluster.ctl("reload")

    def _services(self, listens: Mapping[str, Listen]) -> list[Config]:
        return [
            {"name": name, "listen": listen, "mode": "direct", "endpoints": [self._endpoint]}
            for name, listen in listens.items()
        ]


@pytest.fixture
def endpoint(cluster: Cluster) -> Config:
    address = f"127.0.0.1:{reserve_port()}"
    server = cluster.add_process("server", [BIN_DIR / "echo_server", "--listen", address]).start()
    server.wait_for_line("listening")
    return {"endpoint_id": "server", "address": address}


@pytest.fixture
def start(cluster: Cluster, endpoint: Config) -> Start:
    return Start(cluster, endpoint)


def echoes(port: int, host: str = "127.0.0.1") -> bool:
    with socket.create_connection((host, port), timeout=30) as client:
        assert_echo(client, b"hello")
    return True


def refuses(port: int, host: str) -> bool:
    try:
        socket.create_connection((host, port), timeout=30).close()
    except ConnectionRefusedError:
        return True
    return False


def taken(port: int, host: str = "127.0.0.1") -> socket.socket:
    """Listens as another program would, until the socket is closed."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen()
    return listener


def last_error(cluster: Cluster) -> str:
    return cluster.ctl_json("proxies")["proxies"][0].get("last_error", "")


def test_changed_and_renamed_listeners_are_followed(cluster: Cluster, start: Start) -> None:
    port = reserve_port()
    proxy = start({"db": f"0.0.0.0:{port}"})
    proxy.start()
    eventually("it is ready", proxy.ready)
    assert echoes(port, "127.0.0.2")
    start.change({"db": f"127.0.0.1:{port}"})
    eventually("the old listener is closed", lambda: refuses(port, "127.0.0.2"), 30)
    assert echoes(port)
    start.change({"store": f"127.0.0.1:{port}"})
    proxy.wait_for_line("service store on ", 30)
    assert echoes(port)
    assert proxy.ready()
    assert last_error(cluster) == ""
    # The restarted proxy serves its saved snapshot.
    assert proxy.end() == 0
    proxy.start()
    eventually("it is ready", proxy.ready)
    assert echoes(port)


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_bind_address_may_be_ipv6_with_and_without_brackets(start: Start, host: str) -> None:
    port = reserve_port()
    proxy = start({"db": f"127.0.0.1:{port}"}, bind_address=host)
    proxy.start()
    eventually("it is ready", proxy.ready)
    proxy.wait_for_line(rf"service db on \[::1\]:{port}")
    assert echoes(port, "::1")
    assert refuses(port, "127.0.0.1")


def test_port_of_another_program_is_reported_and_other_services_are_served(cluster: Cluster, start: Start) -> None:
    old, new, other = reserve_port(), reserve_port(), reserve_port()
    proxy = start({"db": f"127.0.0.1:{old}"})
    proxy.start()
    eventually("it is ready", proxy.ready)
    with taken(new):
        start.change({"db": f"127.0.0.1:{new}", "second": f"127.0.0.1:{other}"})
        eventually("the other service answers", lambda: echoes(other), 30)
        assert echoes(old)
        status, why = http_get(proxy.http_port, "/readyz")
        assert status == 503 and "service db" in why and str(new) in why
        assert proxy.metric("proxy_listeners_missing") == 1
        eventually("the controller knows", lambda: str(new) in last_error(cluster))
        assert proxy.metric("proxy_snapshots_rejected_total") == 0
        # A successor cannot bind the port either, and serves the other listeners.
        following = cluster.add_proxy(
            "p2", **{key: value for key, value in proxy.config.items() if key != "controller"}
        )
        following.start()
        assert proxy.wait(60) == 0
        assert echoes(old) and echoes(other)
    eventually("it listens as soon as the port is free", following.ready)
    assert echoes(new)
    assert following.metric("proxy_listeners_missing") == 0
    eventually("the controller knows", lambda: last_error(cluster) == "")


def test_proxy_that_starts_while_its_port_is_taken_listens_once_it_is_free(cluster: Cluster, start: Start) -> None:
    port = reserve_port()
    proxy = start({"db": f"127.0.0.1:{port}"})
    with taken(port):
        proxy.start()
        proxy.wait_for_line("service db has no listener")
        status, why = http_get(proxy.http_port, "/readyz")
        assert status == 503 and str(port) in why and "in use" in why
    eventually("it listens", proxy.ready)
    assert echoes(port)
    assert proxy.log().count("service db has no listener") == 1


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_addresses_of_both_families_come_and_go_one_by_one(cluster: Cluster, start: Start) -> None:
    port, more = reserve_port_of_both_families(), reserve_port()
    ipv4, ipv6, added = f"127.0.0.1:{port}", f"[::1]:{port}", f"127.0.0.1:{more}"
    proxy = start({"db": [ipv4, ipv6]})
    proxy.start()
    eventually("it is ready", proxy.ready)
    assert cluster.ctl_json("services")["services"][0]["listen"] == [ipv4, ipv6]
    assert f"{ipv4},{ipv6}" in cluster.ctl("services").stdout
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as through_ipv4,
        socket.create_connection(("::1", port), timeout=30) as through_ipv6,
    ):
        assert_echo(through_ipv4, b"before")
        assert_echo(through_ipv6, b"before")
        start.reload({"db": [ipv6, added]})
        eventually("the removed address is closed", lambda: refuses(port, "127.0.0.1"), 30)
        assert echoes(port, "::1") and echoes(more)
        # Its clients stay connected, and so do those of the address that remains.
        assert_echo(through_ipv4, b"after")
        assert_echo(through_ipv6, b"after")
        start.reload({"db": ipv6})
        eventually("the other one, too", lambda: refuses(more, "127.0.0.1"), 30)
        assert_echo(through_ipv6, b"at the end")
    assert proxy.ready()
    assert proxy.metric("proxy_listener_open") == 1
    assert proxy.log().count(f"service db on {ipv6}") == 1, "its socket was never replaced"


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_wildcards_of_both_families_listen_on_one_port(start: Start) -> None:
    port = reserve_port_of_both_families()
    proxy = start({"db": [f"0.0.0.0:{port}", f"[::]:{port}"]})
    proxy.start()
    eventually("it is ready", proxy.ready)
    assert echoes(port, "127.0.0.2") and echoes(port, "::1")
    start.reload({"db": [f"[::]:{port}"]})
    eventually("IPv4 is closed", lambda: refuses(port, "127.0.0.1"), 30)
    assert echoes(port, "::1")


def test_address_that_another_program_has_is_named_while_the_others_serve(cluster: Cluster, start: Start) -> None:
    free, held = reserve_port(), reserve_port()
    proxy = start({"db": [f"127.0.0.1:{free}", f"127.0.0.1:{held}"]})
    with taken(held):
        proxy.start()
        proxy.wait_for_line(f"service db listens on 1 of its 2 addresses: .*127.0.0.1:{held}")
        assert echoes(free)
        status, why = http_get(proxy.http_port, "/readyz")
        assert status == 503 and "service db" in why and str(held) in why and str(free) not in why
        assert proxy.metric("proxy_listeners_missing") == 1
        assert proxy.metric("proxy_listener_open", service="db", address=f"127.0.0.1:{free}") == 1
        assert proxy.metric("proxy_listener_open", service="db", address=f"127.0.0.1:{held}") == 0
        eventually("the controller knows", lambda: f"127.0.0.1:{held}" in last_error(cluster))
    eventually("it listens as soon as the port is free", proxy.ready)
    assert echoes(free) and echoes(held)
    assert proxy.metric("proxy_listener_open", service="db") == 2
    eventually("the controller knows", lambda: last_error(cluster) == "")


def test_successor_takes_over_every_address(cluster: Cluster, start: Start) -> None:
    one, other = reserve_port(), reserve_port()
    proxy = start({"db": [f"127.0.0.1:{one}", f"127.0.0.1:{other}"]})
    proxy.start()
    eventually("it is ready", proxy.ready)
    with (
        socket.create_connection(("127.0.0.1", one), timeout=30) as first,
        socket.create_connection(("127.0.0.1", other), timeout=30) as second,
    ):
        assert_echo(first, b"before")
        assert_echo(second, b"before")
        following = cluster.add_proxy("p2", **{k: value for k, value in proxy.config.items() if k != "controller"})
        following.start()
        eventually("it is ready", following.ready)
        assert echoes(one) and echoes(other)
        assert following.metric("proxy_clients_accepted_total", service="db") == 2
        assert_echo(first, b"still here")
        assert_echo(second, b"still here")
    assert proxy.wait(60) == 0
    assert echoes(one) and echoes(other)
