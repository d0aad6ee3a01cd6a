"""Shared by the benchmarks: processes on chosen cores, their CPU time, reserved ports and statistics."""

import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterable
from typing import Any, Self

# The load generator's output, or a row of the results.
Result = dict[str, Any]
# (busy, total) clock ticks by the number of a core.
CoreTimes = dict[int, tuple[float, float]]

# Sockets that hold reserved ports; the kernel closes them when the process ends.
_reservations: list[socket.socket] = []


def reserve_ports(names: Iterable[str], host: str = "127.0.0.1") -> dict[str, int]:
    """Returns a port of `host` for each name that no other program is given until the benchmark ends.

    The ports stay bound, without listening. The programs that are compared set SO_REUSEADDR, so they may listen on them.
    """
    ports = {}
    for name in names:
        reservation = socket.socket()
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reservation.bind((host, 0))
        _reservations.append(reservation)
        ports[name] = reservation.getsockname()[1]
    return ports


def cpu_seconds(pid: int) -> float:
    """Returns the CPU seconds of all threads of a process, from the scheduler's nanosecond clock."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def median(values: Iterable[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def core_times() -> CoreTimes:
    """Returns (busy, total) clock ticks of each core."""
    times: CoreTimes = {}
    for line in pathlib.Path("/proc/stat").read_text().splitlines():
        name, *columns = line.split()
        if name.startswith("cpu") and name != "cpu":
            ticks = [int(tick) for tick in columns[:8]]  # guest time is included in the first two columns
            times[int(name[3:])] = (sum(ticks) - ticks[3] - ticks[4], sum(ticks))
    return times


def busy_share(before: CoreTimes, after: CoreTimes, core: int) -> float:
    """Returns the share of the core that any process used between two core_times()."""
    work, total = (after[core][i] - before[core][i] for i in (0, 1))
    return work / total if total else 0.0


class Processes:
    """Starts processes in a folder, and ends each of them by its id when the context is left."""

    def __init__(self, folder: str) -> None:
        self.folder = pathlib.Path(folder)
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.dispensable: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(list(self.running.values())):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start(self, name: str, command: Iterable[object], core: int | str) -> int:
        with open(self.folder / f"{name}.log", "wb") as log:
            self.running[name] = subprocess.Popen(
                ["taskset", "-c", str(core), *map(str, command)],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
        return self.running[name].pid

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def may_end(self, name: str) -> None:
        """Lets the process end without failing the benchmark."""
        self.dispensable.add(name)

    def is_alive(self, name: str) -> bool:
        return name in self.running and self.running[name].poll() is None

    def check_alive(self) -> None:
        for name, process in self.running.items():
            if process.poll() is not None and name not in self.dispensable:
                raise SystemExit(f"{name} ended with {process.returncode}:\n{self.log(name)}")

    def wait_for(self, what: str, condition: Callable[[], bool], seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.check_alive()
            if condition():
                return
            time.sleep(0.05)
        raise SystemExit(f"{what} did not happen within {seconds} s")


def accepts_at(host: str, port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex((host, port)) == 0


def accepts(port: int) -> bool:
    return accepts_at("127.0.0.1", port)


def http_ok(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as reply:
            return reply.status == 200
    except OSError:
        return False


def metrics_page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as reply:
        return reply.read().decode()


def metric(url: str, name: str) -> float:
    for line in metrics_page(url).splitlines():
        if line.startswith(name + " "):
            return float(line.split()[1])
    return 0.0


def connection_tables() -> tuple[int, int]:
    """Returns the numbers of TIME_WAIT sockets and conntrack entries.

    A full table stalls short connections for seconds.
    """
    time_wait = 0
    for line in pathlib.Path("/proc/net/sockstat").read_text().splitlines():
        if line.startswith("TCP:"):
            time_wait = int(line.split("tw ")[1].split()[0])
    conntrack = pathlib.Path("/proc/sys/net/netfilter/nf_conntrack_count")
    return time_wait, int(conntrack.read_text()) if conntrack.exists() else 0


def bin_dir() -> pathlib.Path:
    root = pathlib.Path(__file__).resolve().parents[2]
    return pathlib.Path(os.environ.get("TRUNKLINE_BIN_DIR", root / "build" / "bin"))


def resident_bytes(pid: int) -> int:
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0
