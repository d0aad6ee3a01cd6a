"""Checks that a standard error that accepts nothing stops neither traffic nor the end of a program."""

import os
import select
import threading

import pytest

from cluster import BIN_DIR, Cluster, Program
from processes import Process
from servers import EchoServer, ServerStarter
from traffic import ask_many
from waiting import eventually


class LogPipe:
    """A pipe as a process's standard error. It is copied to the process's log until `stall` fills it."""

    def __init__(self) -> None:
        self._read_end, self._write_end = os.pipe()
        self._woken, self._wake = os.pipe()
        self._copying: threading.Thread | None = None

    def connect(self, process: Process) -> None:
        """Makes the pipe the standard error of the next start."""
        process.stderr = self._write_end
        self._process = process

    def copy(self) -> None:
        """Copies from now on."""
        self._copying = threading.Thread(target=self._copy, daemon=True)
        self._copying.start()

    def stall(self) -> None:
        """Stops copying and leaves no room for another byte."""
        if self._copying is not None:
            os.write(self._wake, b"x")
            self._copying.join()
            os.read(self._woken, 1)
        # A description of its own, because O_NONBLOCK would affect the process as well.
        filler = os.open(f"/proc/self/fd/{self._write_end}", os.O_WRONLY | os.O_NONBLOCK)
        for size in (4096, 1):
            try:
                while True:
                    os.write(filler, b"." * size)
            except BlockingIOError:
                pass
        os.close(filler)

    def close(self) -> None:
        if self._copying is not None and self._copying.is_alive():
            os.write(self._wake, b"x")
            self._copying.join()
        for end in (self._read_end, self._write_end, self._woken, self._wake):
            os.close(end)

    def _copy(self) -> None:
        while self._woken not in select.select([self._read_end, self._woken], [], [])[0]:
            data = os.read(self._read_end, 65536)
            with open(self._process.log_path, "ab") as log:
                log.write(data)


def start_whole(cluster: Cluster, servers: ServerStarter, piped: str) -> tuple[Program, LogPipe]:
    """Starts a controller, agents a and b, and a proxy p. Returns the one named `piped` and its standard error."""
    cluster.add_controller({"echo": {}})
    for name in ("a", "b"):
        cluster.add_agent(name, {"echo": servers(EchoServer, name, cluster.path(f"{name}.sock")).address})
    cluster.add_proxy()
    program = next(program for program in cluster.programs if program.name == piped)
    pipe = servers(LogPipe)
    pipe.connect(program)
    pipe.copy()
    cluster.start()
    return program, pipe


@pytest.mark.parametrize("name", ["controller", "a", "p"])
def test_program_ends_although_stderr_accepts_nothing(name: str, cluster: Cluster, servers: ServerStarter) -> None:
    program, pipe = start_whole(cluster, servers, name)
    pipe.stall()
    ask_many(cluster.proxies[0], 20)
    assert program.end() == 0


def test_warning_that_stderr_does_not_accept_blocks_no_worker(cluster: Cluster, servers: ServerStarter) -> None:
    proxy, pipe = start_whole(cluster, servers, "p")
    pipe.stall()
    lost, kept = cluster.agents
    lost.kill()  # every worker logs the loss of its trunk
    eventually("the trunks to a are gone", lambda: proxy.metric("proxy_trunk_dial_failures_total") > 0)
    assert ask_many(cluster.proxies[0], 50) == {kept.name: 50}
    pipe.copy()
    proxy.wait_for_line("trunk to .* lost")
    assert proxy.metric("log_lines_dropped_total") == 0


@pytest.mark.parametrize("name", ["trunkline-controller", "trunkline-proxy", "trunkline-agent"])
def test_wrong_configuration_ends_a_program_although_stderr_accepts_nothing(
    name: str, cluster: Cluster, servers: ServerStarter
) -> None:
    path = cluster.path("broken.yaml")
    path.write_text("colour: blue\n")
    program = cluster.add_process("broken", [BIN_DIR / name, "--config", path])
    pipe = servers(LogPipe)
    pipe.connect(program)
    pipe.stall()
    assert program.start().wait() == 2
