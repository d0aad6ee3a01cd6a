"""When a hot restart cannot work, the successor says why and ends, and the running proxy serves on."""

import os
import pathlib
import shutil
import socket

import pytest

from cluster import Cluster, Proxy
from hot_restart import add_replaceable_proxy, assert_serves, assert_serves_in_full, outcome, successor
from ports import reserve_port
from processes import run
from waiting import eventually


@pytest.fixture
def proxy(cluster: Cluster) -> Proxy:
    return add_replaceable_proxy(cluster)


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


def test_successor_takes_over_without_a_controller(cluster: Cluster, proxy: Proxy) -> None:
    cluster.start()
    cluster.controller.kill()
    following = successor(cluster, proxy, "following")
    following.start()
    assert proxy.wait(60) == 0
    assert_serves(following)


def test_successor_without_a_controller_has_the_last_weights(cluster: Cluster, proxy: Proxy) -> None:
    cluster.start()
    cluster.ctl("pin", "echo", "server", "7")
    eventually("the proxy has it", lambda: proxy.metric("proxy_endpoint_weight", endpoint="server") == 7)
    cluster.controller.kill()
    following = successor(cluster, proxy, "following")
    following.start()
    assert proxy.wait(60) == 0
    assert following.metric("proxy_endpoint_weight", endpoint="server") == 7


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
