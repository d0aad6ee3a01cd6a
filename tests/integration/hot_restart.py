"""A proxy that a successor can replace in a hot restart, and its successors."""

import socket
import subprocess
import threading
from typing import Any, Self

from cluster import BIN_DIR, Cluster, Proxy
from ports import reserve_port
from processes import run
from traffic import assert_echo
from waiting import eventually

_PAUSE_SECONDS = 0.005


def add_replaceable_proxy(cluster: Cluster) -> Proxy:
    """Adds a replaceable proxy, not started yet, with an echo server behind a `direct` service."""
    server = reserve_port()
    echo = cluster.add_process("server", [BIN_DIR / "echo_server", "--listen", f"127.0.0.1:{server}"])
    echo.start()
    echo.wait_for_line("listening")
    cluster.add_controller(
        {
            "echo": {
                "mode": "direct",
                "listen": f"0.0.0.0:{reserve_port()}",
                "endpoints": [{"endpoint_id": "server", "address": f"127.0.0.1:{server}"}],
            }
        }
    )
    return cluster.add_proxy(
        "p",
        bind_address="127.0.0.1",
        handover_socket=str(cluster.path("p.sock")),
        admin_listen=f"127.0.0.1:{reserve_port()}",
        drain_timeout="20s",
    )


def successor(cluster: Cluster, proxy: Proxy, name: str, **changes: Any) -> Proxy:
    """Adds another proxy with the same file except for `changes`."""
    config = {key: value for key, value in proxy.config.items() if key != "controller"}
    return cluster.add_proxy(name, **{**config, **changes})


def outcome(failing: Proxy) -> subprocess.CompletedProcess[str]:
    """Runs a proxy that must end by itself with an error."""
    failing.write_config()
    ended = run(failing.command, check=False)
    assert ended.returncode != 0, ended.stderr
    return ended


def assert_serves(proxy: Proxy, count: int = 20) -> None:
    assert proxy.running
    for _ in range(count):
        with proxy.connect("echo") as client:
            assert_echo(client, b"hello")


def assert_serves_in_full(proxy: Proxy) -> None:
    """Checks clients, the admin port, the controller's stream, and that a successor can take over."""
    assert_serves(proxy)
    eventually("it is ready", proxy.ready)
    eventually("it has its subscription", lambda: proxy.metric("proxy_controller_connected") == 1, 30)


class Connects:
    """Makes a few hundred connects per second inside a with block, and records those that fail."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.done = 0
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_PAUSE_SECONDS):
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=30).close()
            except OSError as error:
                self.failures.append(f"after {self.done} connects: {error!r}")
            self.done += 1
