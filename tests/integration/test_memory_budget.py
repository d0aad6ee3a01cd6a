"""A proxy whose memory fills sheds clients that do not read, and never dies.

Clients that read go on, and new clients wait.
"""

import os
import pathlib
import resource
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from cluster import Cluster, Proxy, http_get, message_service
from servers import Server, ServerStarter
from traffic import read_exactly, read_line
from waiting import SANITIZER, eventually

_MIB = 1024 * 1024
_LIVE = 20
_MOST_STALLED = 800
# Bytes of the kernel's receive buffer of a client that does not read.
_RECEIVE_BUFFER = 4096
# The answers exceed what a proxy buffers for a client. In message mode a reply has at most 64 KiB.
_QUESTIONS = {"tunnel": b"1000000\n", "direct": b"1000000\n", "message": 3 * b"60000\n"}
# Budget beyond the memory of a proxy that has only live clients.
_ROOM_BYTES = 24 * _MIB

_keeps_what_is_freed = pytest.mark.skipif(bool(SANITIZER), reason="the sanitizer's allocator keeps what is freed")


def serve(connection: socket.socket) -> None:
    """Answers each line, which holds a number, with a line of that many bytes."""
    while question := read_line(connection):
        connection.sendall(b"x" * (int(question) - 1) + b"\n")


def assert_answer(client: socket.socket, size: int) -> None:
    client.sendall(b"%d\n" % size)
    answer = read_exactly(client, size)
    assert len(answer) == size and answer.endswith(b"x\n"), f"{len(answer)} of {size} bytes"


@pytest.fixture
def descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def make_proxy(cluster: Cluster, servers: ServerStarter, descriptors: None) -> Callable[[str], Proxy]:
    """Returns make_proxy(mode), which adds a proxy with one server and does not start it."""

    def make(mode: str) -> Proxy:
        server = servers(Server, serve)
        service = message_service({"delimiter": {"delimiter": "\n"}}, server.address)
        if mode == "direct":
            service = {"mode": "direct", "endpoints": service["endpoints"]}
        cluster.add_controller({"bulk": {} if mode == "tunnel" else service})
        if mode == "tunnel":
            cluster.add_agent("a", {"bulk": server.address})
        return cluster.add_proxy()

    return make


class LiveClients:
    """Clients that ask and read without pause until `stop`, which raises their first failure."""

    def __init__(self, proxy: Proxy) -> None:
        self._stopping = threading.Event()
        self._failures: list[BaseException] = []
        self.answers = 0
        self._clients = [proxy.connect("bulk") for _ in range(_LIVE)]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stopping.wait(0.02):
                for client in self._clients:
                    assert_answer(client, 20_000)
                    self.answers += 1
        except BaseException as failure:
            self._failures.append(failure)

    def wait_for_answers(self, count: int) -> None:
        goal = self.answers + count
        eventually(f"live clients have {count} more answers", lambda: self._failures or self.answers >= goal)
        if self._failures:
            raise self._failures[0]

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(60)
        for client in self._clients:
            client.close()
        if self._failures:
            raise self._failures[0]


def stall(port: int, mode: str) -> socket.socket:
    """Connects a client that asks for much and reads nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    client.settimeout(30)
    client.connect(("127.0.0.1", port))
    client.sendall(_QUESTIONS[mode])
    return client


def shed(proxy: Proxy) -> float:
    return proxy.metric("proxy_flow_errors_total", cause="memory")


def stall_until_some_are_shed(proxy: Proxy, mode: str) -> list[socket.socket]:
    stalled: list[socket.socket] = []
    port = proxy.port("bulk")

    def some_are_shed() -> bool:
        if len(stalled) < _MOST_STALLED:
            stalled.extend(stall(port, mode) for _ in range(10))
        return shed(proxy) > 0

    try:
        eventually("some are shed", some_are_shed, seconds=60)
    except AssertionError:
        print(
            f"{len(stalled)} stalled, {proxy.metric('proxy_to_client_buffered_bytes')} bytes buffered, "
            f"{proxy.resident_bytes()} resident"
        )
        raise
    return stalled


@_keeps_what_is_freed
@pytest.mark.parametrize("mode", ["tunnel", "direct", "message"])
def test_stalled_readers_are_shed_and_live_clients_are_not(
    cluster: Cluster, make_proxy: Callable[[str], Proxy], mode: str
) -> None:
    proxy = make_proxy(mode)
    cluster.start()
    live = LiveClients(proxy)
    live.wait_for_answers(10 * _LIVE)
    steady = proxy.resident_bytes()
    live.stop()
    proxy.end()
    budget = steady + _ROOM_BYTES
    proxy.config["memory_budget_bytes"] = budget
    proxy.start()
    cluster.wait_ready()

    live = LiveClients(proxy)
    live.wait_for_answers(_LIVE)
    stalled = stall_until_some_are_shed(proxy, mode)
    live.wait_for_answers(20 * _LIVE)
    eventually("it is below 95 % again", lambda: proxy.resident_bytes() < 0.95 * budget)
    gone = shed(proxy)
    print(
        f"{mode}: {len(stalled)} stalled, {gone:.0f} of them reset; resident {proxy.resident_bytes() / _MIB:.1f} MiB, "
        f"budget {budget / _MIB:.1f} MiB, before {steady / _MIB:.1f} MiB"
    )
    assert gone < 0.6 * len(stalled), "no more than it takes"
    assert proxy.metric("proxy_memory_used_bytes", scope="process") <= budget
    assert proxy.metric("proxy_memory_budget_bytes", scope="process") == budget
    # New clients are served again.
    with proxy.connect("bulk") as client:
        assert_answer(client, 1000)
    live.stop()
    for client in stalled:
        client.close()
    assert "memory is short" in proxy.log()


def test_full_proxy_lets_new_clients_wait_and_says_so(cluster: Cluster, make_proxy: Callable[[str], Proxy]) -> None:
    proxy = make_proxy("tunnel")
    # Less than the proxy uses before its first client.
    proxy.config["memory_budget_bytes"] = "8MiB"
    for program in [cluster.controller, *cluster.agents, proxy]:
        program.start()
    eventually("trunks are up", lambda: proxy.has_trunks_to(cluster.agents))
    eventually("all workers are full", lambda: proxy.metric("proxy_memory_paused_workers") == proxy.config["workers"])
    assert "few clients fit" in proxy.log()
    assert http_get(proxy.http_port, "/readyz") == (503, "memory is full: new clients wait\n")

    # A full proxy without clients admits one, because no client could leave and make room.
    first = proxy.connect("bulk")
    assert_answer(first, 1000)
    second = proxy.connect("bulk")
    second.sendall(b"10\n")
    pauses = proxy.metric("proxy_listener_pauses_total")
    cpu = proxy.metric("process_cpu_seconds_total")
    eventually("the listener waits for room", lambda: proxy.metric("proxy_listener_pauses_total") >= pauses + 25)
    assert proxy.metric("proxy_clients") == 1
    print(f"CPU in 25 pauses of 20 ms: {proxy.metric('process_cpu_seconds_total') - cpu:.2f} s")
    assert_answer(first, 1000)
    first.close()
    assert read_exactly(second, 10) == b"xxxxxxxxx\n"
    second.close()
    assert shed(proxy) == 0


class MemoryGroup:
    """A control group, of version 1 or 2, with a memory limit for one process."""

    def __init__(self, name: str) -> None:
        v1 = pathlib.Path("/sys/fs/cgroup/memory")
        self._v1 = v1.is_dir()
        self._folder = (v1 if self._v1 else v1.parent) / name
        try:
            self._folder.mkdir()
        except OSError as error:
            pytest.skip(f"no control group can be made: {error}")
        if not self._file("usage").exists():
            self._folder.rmdir()
            pytest.skip("control groups have no memory controller here")

    def _file(self, what: str) -> pathlib.Path:
        names = {"usage": ("memory.usage_in_bytes", "memory.current"), "limit": ("memory.limit_in_bytes", "memory.max")}
        return self._folder / names[what][0 if self._v1 else 1]

    def command_inside(self, command: list[str]) -> list[str]:
        return ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(self._folder), *command]

    def limit(self, size: float) -> None:
        self._file("limit").write_text(str(int(size)))

    def used(self) -> int:
        """Returns used bytes as the proxy counts them: without inactive file pages."""
        stat = dict(line.split() for line in (self._folder / "memory.stat").read_text().splitlines())
        return int(self._file("usage").read_text()) - int(stat["total_inactive_file" if self._v1 else "inactive_file"])

    def kills(self) -> int:
        file = self._folder / ("memory.oom_control" if self._v1 else "memory.events")
        counts = dict(line.split() for line in file.read_text().splitlines())
        return int(counts["oom_kill"])

    def removed(self) -> bool:
        """Removes the group; raises OSError while a process is in it."""
        self._folder.rmdir()
        return True


@pytest.fixture
def group(request: pytest.FixtureRequest) -> Iterator[MemoryGroup]:
    made = MemoryGroup(f"trunkline-test-{os.getpid()}")
    yield made
    # The cluster fixture has ended the proxy before.
    eventually("the group is empty", made.removed)


@_keeps_what_is_freed
@pytest.mark.parametrize("mode", ["tunnel", "direct", "message"])
def test_proxy_in_a_control_group_is_never_killed(
    group: MemoryGroup, cluster: Cluster, make_proxy: Callable[[str], Proxy], mode: str
) -> None:
    group.limit(1024 * _MIB)
    proxy = make_proxy(mode)
    proxy.command = [str(part) for part in group.command_inside(proxy.command)]
    cluster.start()
    assert "control group limit 1024 MiB" in proxy.log()
    live = LiveClients(proxy)
    live.wait_for_answers(10 * _LIVE)
    steady = group.used()
    limit = max(1.5 * steady, steady + 28 * _MIB)
    group.limit(limit)

    pid = proxy.pid
    port = proxy.port("bulk")
    silent = [proxy.connect("bulk") for _ in range(200)]
    # Version 1 does not charge pipe buffers to a group, so direct mode may find room for all clients.
    stalled = [] if mode == "direct" else stall_until_some_are_shed(proxy, mode)
    stalled += [stall(port, mode) for _ in range(300)]
    live.wait_for_answers(20 * _LIVE)
    print(
        f"{mode}: steady {steady / _MIB:.1f} MiB, limit {limit / _MIB:.1f} MiB, used {group.used() / _MIB:.1f} MiB; "
        f"{len(stalled)} stalled, {shed(proxy):.0f} of them reset"
    )
    for client in stalled + silent:
        client.close()
    eventually("only live clients are left", lambda: proxy.metric("proxy_clients") == _LIVE, seconds=60)
    with proxy.connect("bulk") as client:
        assert_answer(client, 1000)
    live.stop()
    assert proxy.running and proxy.pid == pid
    assert group.kills() == 0
