"""Whatever is wrong with the successor of a hot restart, the running proxy serves on, and both logs say why."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import threading
from typing import Any, Self

import pytest

from cluster import BIN_DIR, Cluster, Proxy
from ports import reserve_port
from processes import run
from traffic import assert_echo
from waiting import eventually

_PAUSE_SECONDS = 0.005


@pytest.fixture
def proxy(cluster: Cluster) -> Proxy:
    """A replaceable proxy, not started yet, with an echo server behind a `direct` service."""
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


def test_successor_without_an_admin_port_changes_nothing(cluster: Cluster, proxy: Proxy) -> None:
    cluster.start()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        ended = outcome(successor(cluster, proxy, "failing", admin_listen=address))
    for word in (address, "in use", f"the running proxy with pid {proxy.pid} keeps serving"):
        assert word in ended.stderr
    proxy.wait_for_line("did not come up, this proxy keeps serving: .*in use")
    assert_serves_in_full(proxy)


def test_admin_port_that_the_running_proxy_has_on_another_host_is_named(cluster: Cluster, proxy: Proxy) -> None:
    cluster.start()
    ended = outcome(successor(cluster, proxy, "failing", admin_listen=f"0.0.0.0:{proxy.http_port}"))
    assert f"the running proxy's is 127.0.0.1:{proxy.http_port}" in ended.stderr
    assert_serves_in_full(proxy)


def test_successor_with_another_admin_port_takes_over(cluster: Cluster, proxy: Proxy) -> None:
    cluster.start()
    before = proxy.http_port
    following = successor(cluster, proxy, "following", admin_listen=f"127.0.0.1:{reserve_port()}")
    following.start()
    assert proxy.wait(60) == 0
    assert_serves_in_full(following)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", before), timeout=30)


def test_directory_that_is_not_writable_is_no_obstacle(cluster: Cluster, proxy: Proxy) -> None:
    folder = cluster.path("run")
    folder.mkdir()
    data = cluster.path("data")
    data.mkdir()
    proxy.config["handover_socket"] = str(folder / "p.sock")
    proxy.config["snapshot_file"] = str(data / "snapshot")
    following = successor(cluster, proxy, "following")
    cluster.proxies.remove(following)
    if os.geteuid() == 0:  # root may write everywhere
        proxy.user = following.user = "daemon"
        shutil.chown(folder, "daemon")
        shutil.chown(data, "daemon")
    cluster.start()
    folder.chmod(0o555)
    if os.geteuid() == 0:
        shutil.chown(folder, "root")
    following.start()
    assert proxy.wait(60) == 0
    assert_serves_in_full(following)
    last = successor(cluster, following, "last")
    last.user = following.user
    last.start()
    assert following.wait(60) == 0
    assert_serves_in_full(last)


def test_other_proxy_with_a_copied_path_changes_nothing(cluster: Cluster, proxy: Proxy) -> None:
    cluster.start()
    other = successor(
        cluster, proxy, "other", proxy_id="q", bind_address="127.0.0.2", admin_listen=f"127.0.0.1:{reserve_port()}"
    )
    ended = outcome(other)
    for word in ("has proxy_id q, the running proxy p", proxy.config["handover_socket"], f"pid {proxy.pid}"):
        assert word in ended.stderr
    proxy.wait_for_line("refused, this proxy keeps serving: the successor has proxy_id q")
    assert_serves_in_full(proxy)


def test_successor_that_would_use_no_socket_changes_nothing(cluster: Cluster, proxy: Proxy) -> None:
    cluster.start()
    ended = outcome(successor(cluster, proxy, "other", bind_address="127.0.0.2"))
    assert "would use none of the running proxy's listening sockets" in ended.stderr
    proxy.wait_for_line("did not come up, this proxy keeps serving: .*would use none")
    assert_serves_in_full(proxy)


def test_proxy_serves_again_if_its_successor_is_killed(cluster: Cluster, proxy: Proxy) -> None:
    cluster.start()
    with Connects(proxy.port("echo")) as connects:
        for number in range(2):
            following = successor(cluster, proxy, f"killed{number}")
            following.start()
            proxy.wait_for_line(f"successor with pid {following.pid} is ready: this proxy stops accepting")
            following.kill()
            assert_serves(proxy)
            proxy.wait_for_line(f"pid {following.pid} ended within its grace time")
            assert_serves_in_full(proxy)
        last = successor(cluster, proxy, "last")
        last.start()
        assert proxy.wait(60) == 0
        assert_serves_in_full(last)
    assert connects.done > 0
    assert not connects.failures
    assert f"replaced by the successor with pid {last.pid}, which serves; stopping" in proxy.log()
    assert "SIGTERM" not in proxy.log()
    assert f"took over from the proxy with pid {proxy.pid}" in last.log()


def test_proxy_serves_again_if_its_successor_is_stopped(cluster: Cluster, proxy: Proxy) -> None:
    cluster.start()
    following = successor(cluster, proxy, "following")
    following.start()
    with Connects(proxy.port("echo")) as connects, following.connect("echo") as client:
        assert_echo(client, b"before")
        following.send(signal.SIGTERM)
        proxy.wait_for_line("ended within its grace time")
        assert_serves_in_full(proxy)
        assert_echo(client, b"after")
    assert not connects.failures
    assert following.wait(60) == 0


def test_stopped_proxy_leaves_its_sockets_to_its_successor(cluster: Cluster, proxy: Proxy) -> None:
    cluster.start()
    following = successor(cluster, proxy, "following")
    following.start()
    with Connects(following.port("echo")) as connects:
        assert proxy.end() == 0
        assert_serves_in_full(following)
    assert not connects.failures


def test_proxy_serves_again_if_its_successor_freezes(cluster: Cluster, proxy: Proxy) -> None:
    cluster.start()
    following = successor(cluster, proxy, "following")
    following.start()
    following.send(signal.SIGSTOP)
    with Connects(proxy.port("echo")) as connects:
        proxy.wait_for_line(f"pid {following.pid} did not answer in time", 60)
        assert_serves_in_full(proxy)
        following.send(signal.SIGCONT)
        assert following.wait(60) == 0
        assert_serves_in_full(proxy)
    assert not connects.failures
    assert f"the predecessor with pid {proxy.pid} took its sockets back" in following.log()


def test_third_proxy_waits_for_its_turn(cluster: Cluster, proxy: Proxy) -> None:
    cluster.start()
    second = successor(cluster, proxy, "second").start()
    third = successor(cluster, proxy, "third").start()
    with Connects(proxy.port("echo")) as connects:
        assert proxy.wait(60) == 0
        assert second.wait(60) == 0
        assert_serves_in_full(third)
    assert not connects.failures


def test_frozen_proxy_is_not_replaced(cluster: Cluster, proxy: Proxy) -> None:
    cluster.start()
    proxy.send(signal.SIGSTOP)
    ended = outcome(successor(cluster, proxy, "failing"))
    assert f"the process with pid {proxy.pid}" in ended.stderr
    assert "did not answer" in ended.stderr
    proxy.send(signal.SIGCONT)
    assert_serves_in_full(proxy)


def test_successor_takes_over_without_a_controller(cluster: Cluster, proxy: Proxy) -> None:
    cluster.start()
    cluster.controller.kill()
    following = successor(cluster, proxy, "following")
    following.start()
    assert proxy.wait(60) == 0
    assert_serves(following)


def test_path_of_a_regular_file_is_refused_and_the_file_is_kept(cluster: Cluster, proxy: Proxy) -> None:
    path = pathlib.Path(proxy.config["handover_socket"])
    path.write_text("precious")
    for arguments in ([], ["--check-config"]):
        proxy.write_config()
        ended = run([*proxy.command, *arguments], check=False)
        assert ended.returncode == 2
        assert f"{path} is a regular file" in ended.stderr
    assert path.read_text() == "precious"


def test_path_of_another_programs_socket_is_refused_and_the_socket_is_kept(cluster: Cluster, proxy: Proxy) -> None:
    path = proxy.config["handover_socket"]
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen()
        assert f"{path} is the socket of another program" in outcome(proxy).stderr
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)


def test_socket_of_a_killed_proxy_is_replaced(cluster: Cluster, proxy: Proxy) -> None:
    cluster.start()
    proxy.kill()
    proxy.start()
    eventually("it is ready", proxy.ready)
    following = successor(cluster, proxy, "following")
    following.start()
    assert proxy.wait(60) == 0
    assert_serves(following)
