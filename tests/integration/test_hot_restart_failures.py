"""When the successor of a hot restart dies or freezes, the predecessor serves on, and both logs say why."""

import signal

import pytest

from cluster import Cluster, Proxy
from hot_restart import Connects, add_replaceable_proxy, assert_serves, assert_serves_in_full, outcome, successor
from traffic import assert_echo


@pytest.fixture
def proxy(cluster: Cluster) -> Proxy:
    return add_replaceable_proxy(cluster)


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
