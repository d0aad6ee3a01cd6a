"""The connection log of a running proxy: lines of real clients, and a reader that stops."""

import json
import os
import pathlib
import re
import select

import pytest

from cluster import BIN_DIR, Cluster, Proxy
from processes import run
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
    line = proxy.wait_for_line(r"(?m)^time=\S+ proxy=p service=echo mode=tunnel .* end=clean ended_by=\w+ phase=data$")
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
        ({"fields": ["time", "colour"]}, r"connection_log\.fields\[1\]: expected time, proxy, service"),
        ({"fields": ["time", "end", "time"]}, r"connection_log\.fields\[2\]: expected each field once; got \"time\""),
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
