"""A real redis-server through `tunnel`, by unix socket and by TCP, with redis's own client and benchmark."""

import re
import subprocess
from collections.abc import Sequence
from typing import Any

import pytest

from cluster import Cluster, Proxy
from ports import reserve_port
from processes import run, tool
from traffic import read_exactly, read_line
from waiting import SANITIZER, eventually


@pytest.fixture
def redis(cluster: Cluster) -> tuple[Proxy, list[object]]:
    """Returns (proxy, direct):

    a proxy with the services redis-unix and redis-tcp, and redis-cli's options for bypassing it.
    """
    socket_path = cluster.path("redis.sock")
    port = reserve_port()
    cluster.add_process(
        "redis-server",
        [
            tool("redis-server"),
            "--port",
            port,
            "--bind",
            "127.0.0.1",
            "--unixsocket",
            socket_path,
            "--save",
            "",
            "--appendonly",
            "no",
            "--daemonize",
            "no",
            "--dir",
            cluster.folder,
        ],
    ).start()
    direct = ["-s", socket_path]
    eventually("redis answers", lambda: "PONG" in redis_cli(direct, "ping", check=False).stdout)
    cluster.add_controller({"redis-unix": {}, "redis-tcp": {}})
    cluster.add_agent(
        "a", {"redis-unix": {"target": f"unix:{socket_path}", "observe_port": port}, "redis-tcp": f"127.0.0.1:{port}"}
    )
    proxy = cluster.add_proxy()
    cluster.start()
    return proxy, direct


def redis_cli(where: Sequence[object], *command: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return run([tool("redis-cli"), *where, *command], **options)


def through(proxy: Proxy, service: str) -> list[object]:
    return ["-h", "127.0.0.1", "-p", proxy.port(service)]


@pytest.mark.parametrize("service", ["redis-unix", "redis-tcp"])
def test_set_get_and_pipelines(redis: tuple[Proxy, list[object]], service: str) -> None:
    proxy, direct = redis
    where = through(proxy, service)
    assert redis_cli(where, "set", "meter", "4711").stdout.strip() == "OK"
    assert redis_cli(where, "get", "meter").stdout.strip() == "4711"
    # This value exceeds every buffer on the path.
    big = "v" * (3 * 1024 * 1024)
    redis_cli(where, "-x", "set", "big", input=big)
    assert redis_cli(where, "get", "big").stdout.rstrip("\n") == big
    commands = "".join(f"SET key:{i} {i}\r\n" for i in range(20_000))
    report = redis_cli(where, "--pipe", input=commands).stdout
    assert "errors: 0, replies: 20000" in report, report
    assert redis_cli(direct, "get", "key:19999").stdout.strip() == "19999"


@pytest.mark.parametrize("service", ["redis-unix", "redis-tcp"])
def test_benchmark(redis: tuple[Proxy, list[object]], service: str) -> None:
    proxy, direct = redis
    # A multiple of the pipeline's depth, because redis-benchmark fills the last pipeline.
    requests = 400 * 16 if SANITIZER else 4_000 * 16
    redis_cli(direct, "config", "resetstat")
    # First pipelined on 50 connections, then with one connection per request.
    report = run(
        [
            tool("redis-benchmark"),
            *through(proxy, service),
            "-t",
            "set,get",
            "-n",
            requests,
            "-c",
            50,
            "-P",
            16,
            "--csv",
        ]
    ).stdout
    report += run(
        [
            tool("redis-benchmark"),
            *through(proxy, service),
            "-t",
            "ping_mbulk",
            "-n",
            requests // 10,
            "-c",
            20,
            "-k",
            0,
            "--csv",
        ]
    ).stdout
    print(report)
    assert all(name in report for name in ['"SET"', '"GET"', '"PING_MBULK"'])
    served = redis_cli(direct, "info", "commandstats").stdout
    calls = {name: int(count) for name, count in re.findall(r"cmdstat_(\w+):calls=(\d+)", served)}
    assert calls["set"] == requests and calls["get"] == requests
    assert calls["ping"] == requests // 10


def test_subscriber_on_a_long_connection(redis: tuple[Proxy, list[object]]) -> None:
    proxy, direct = redis
    with proxy.connect("redis-unix") as subscriber:
        subscriber.sendall(b"SUBSCRIBE news\r\n")
        assert [read_line(subscriber).strip() for _ in range(6)] == ["*3", "$9", "subscribe", "$4", "news", ":1"]
        for i in range(100):
            publisher = direct if i % 2 else through(proxy, "redis-tcp")
            assert redis_cli(publisher, "publish", "news", f"number {i:3}").stdout.strip() == "1"
            message = b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$10\r\nnumber %3d\r\n" % i
            assert read_exactly(subscriber, len(message)) == message
