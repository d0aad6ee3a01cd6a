"""The connection log of a running proxy: lines of real clients, and a reader that stops."""

import collections
import json
import os
import pathlib
import re
import select

import pytest

from cluster import BIN_DIR, Cluster, Proxy, message_service
from crowd import Crowd
from processes import run
from redis_server import RedisServer
from servers import EchoServer, ServerStarter
from traffic import ask_many
from waiting import eventually


class LogFifo:
    """A FIFO in the proxy's folder whose reader the test plays."""

    def __init__(self, path: pathlib.Path) -> None:
        os.mkfifo(path)
        # A reader that also counts as a writer never sees the end of the stream.
        self._end = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._text = b""

    def fill(self) -> None:
        """Leaves no room for another byte."""
        for size in (4096, 1):
            try:
                while True:
                    os.write(self._end, b"." * size)
            except BlockingIOError:
                pass

    def read(self) -> str:
        """Returns everything that was read so far, without the filling."""
        while select.select([self._end], [], [], 0)[0]:
            self._text += os.read(self._end, 65536)
        return self._text.decode().lstrip(".")

    def close(self) -> None:
        os.close(self._end)


def start(cluster: Cluster, servers: ServerStarter, **log: object) -> Proxy:
    server = servers(EchoServer, "a", cluster.path("echo.sock"))
    cluster.add_controller({"echo": {}})
    cluster.add_agent("a", {"echo": server.address})
    proxy = cluster.add_proxy(connection_log=log)
    cluster.start()
    return proxy


def test_every_connection_leaves_one_line_in_the_file(cluster: Cluster, servers: ServerStarter) -> None:
    path = cluster.path("connections.log")
    proxy = start(cluster, servers, file=str(path), format="json", fields=["proxy", "service", "endpoint", "end"])
    ask_many(proxy, 50)
    eventually("all flows ended", lambda: proxy.metric("proxy_clients") == 0)
    assert proxy.end() == 0
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [{"proxy": "p", "service": "echo", "endpoint": "a", "end": "clean"}] * 50


def test_connections_go_to_standard_error_by_default(cluster: Cluster, servers: ServerStarter) -> None:
    proxy = start(cluster, servers)
    ask_many(proxy, 1)
    line = proxy.wait_for_line(
        r"(?m)^time=\S+ type=connection proxy=p service=echo mode=tunnel .* end=clean ended_by=\w+ phase=data$"
    )
    assert re.search(r" to_server_bytes=128 to_client_bytes=130 ", line.group())


def test_connections_are_not_logged_unless_asked(cluster: Cluster, servers: ServerStarter) -> None:
    server = servers(EchoServer, "a", cluster.path("echo.sock"))
    cluster.add_controller({"echo": {}})
    cluster.add_agent("a", {"echo": server.address})
    proxy = cluster.add_proxy()
    cluster.start()
    ask_many(proxy, 5)
    assert proxy.end() == 0
    assert "ended_by" not in proxy.log()


def test_every_request_leaves_one_line_with_its_endpoint(cluster: Cluster) -> None:
    """The lines, the metrics and the servers themselves agree on where each of many pipelined requests went."""
    clients, rounds, depth = 8, 20, 10
    servers = [RedisServer(cluster, f"redis{i}") for i in range(2)]
    cluster.add_controller({"cache": message_service({"redis": {}}, *[server.address for server in servers])})
    path = cluster.path("connections.log")
    proxy = cluster.add_proxy(connection_log={"file": str(path), "format": "json", "requests": True})
    cluster.start()

    def ask(number: int) -> None:
        with proxy.connect("cache") as client, client.makefile("rb") as replies:
            for i in range(rounds):
                words = [f"{number}.{i}.{j}" for j in range(depth)]
                client.sendall("".join(f"ECHO {word}\r\n" for word in words).encode())
                expected = "".join(f"${len(word)}\r\n{word}\r\n" for word in words).encode()
                assert replies.read(len(expected)) == expected

    Crowd(clients, ask).join()
    eventually("all flows ended", lambda: proxy.metric("proxy_clients") == 0)
    by_metric = {f"e{i}": proxy.metric("proxy_endpoint_flows_total", endpoint=f"e{i}") for i in range(2)}
    assert proxy.end() == 0
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    requests = [line for line in lines if line["type"] == "request"]
    assert len(requests) == clients * rounds * depth
    assert {(line["end"], line["ended_by"], line["retries"]) for line in requests} == {("clean", "server", 0)}
    by_line = collections.Counter(line["endpoint"] for line in requests)
    assert by_line == by_metric
    assert by_line == {f"e{i}": server.calls().get("echo", 0) for i, server in enumerate(servers)}
    connections = {line["client"]: line for line in lines if line["type"] == "connection"}
    assert len(connections) == clients
    for client, connection in connections.items():
        mine = [line for line in requests if line["client"] == client]
        assert connection["requests"] == len(mine) == rounds * depth
        for bytes_field in ("to_server_bytes", "to_client_bytes"):
            assert connection[bytes_field] == sum(line[bytes_field] for line in mine)


def test_reader_that_stops_delays_no_client_and_costs_only_counted_lines(
    cluster: Cluster, servers: ServerStarter
) -> None:
    path = cluster.path("connections.fifo")
    fifo = servers(LogFifo, path)
    proxy = start(cluster, servers, file=str(path))
    ask_many(proxy, 1)
    eventually("the log works", lambda: "end=clean" in fifo.read())
    fifo.fill()
    written = proxy.metric("proxy_connection_log_lines_total")
    count = 0
    while proxy.metric("proxy_connection_log_lines_dropped_total") == 0:
        count += sum(ask_many(proxy, 500).values())
        assert count < 50_000, "the queue has no bound"
    eventually("all flows ended", lambda: proxy.metric("proxy_clients") == 0)
    assert proxy.metric("proxy_connection_log_lines_total") == written + count
    assert proxy.metric("proxy_flow_errors_total") == 0
    dropped = proxy.metric("proxy_connection_log_lines_dropped_total")
    eventually("the drops are reported", lambda: f" dropped_lines={int(dropped)}\n" in fifo.read())
    eventually("every other line arrives", lambda: fifo.read().count("end=clean") == written + count - dropped)


def test_reader_that_stops_does_not_keep_the_proxy_from_ending(cluster: Cluster, servers: ServerStarter) -> None:
    path = cluster.path("connections.fifo")
    fifo = servers(LogFifo, path)
    proxy = start(cluster, servers, file=str(path))
    fifo.fill()
    ask_many(proxy, 20)
    assert proxy.end() == 0


@pytest.mark.parametrize(
    ("log", "error"),
    [
        ({"file": "missing/connections.log"}, r"connection_log\.file: cannot open missing/connections\.log: No such"),
        ({"fields": ["time", "colour"]}, r"connection_log\.fields\[1\]: expected time, type, proxy, service"),
        ({"fields": ["time", "end", "time"]}, r"connection_log\.fields\[2\]: expected each field once; got \"time\""),
        ({"requests": "some"}, r"connection_log\.requests: expected true or false"),
        ({"sample": 2}, r"connection_log\.sample: expected a number from 0 to 1"),
        ({"services": ["a b"]}, r"connection_log\.services\[0\]"),
    ],
)
def test_wrong_configuration_is_refused(cluster: Cluster, log: dict[str, object], error: str) -> None:
    config = {"proxy_id": "p", "controller": "127.0.0.1:1", "connection_log": log}
    path = cluster.path("proxy.yaml")
    path.write_text(json.dumps(config))
    result = run([BIN_DIR / "trunkline-proxy", "--check-config", "--config", path], check=False, cwd=cluster.folder)
    assert result.returncode == 2
    assert re.search(error, result.stderr + result.stdout), result.stderr
