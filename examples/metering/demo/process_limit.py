"""A CPU limit without control groups: processes are stopped while they are ahead of their allowance.

One thread per limit reads the CPU time of its processes every 10 ms, and stops (SIGSTOP) or continues (SIGCONT) them so
that their use stays at `cores`. This is coarser than the kernel's quota and accurate only over tenths of a second. The
processes of a limit are children of one `group_leader`, so an agent that watches the leader sees all of them.
"""

import contextlib
import os
import signal
import threading
import time

from children import Numbers

TICK_SECONDS = 0.01
# An idle group may save up this much CPU and spend it at once, about as much as a quota's period allows.
BURST_SECONDS = 0.02


def cpu_seconds(pid: int) -> float:
    """Returns the CPU seconds of all threads of a process, or 0 if it is gone. The clock tick would be too coarse."""
    try:
        total = 0
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/schedstat") as file:
                total += int(file.read().split()[0])
        return total / 1e9
    except OSError:
        return 0.0


class ProcessLimit:
    def __init__(self, cores: float) -> None:
        self.cores = cores
        self._lock = threading.Lock()
        self._pids: dict[int, float] = {}  # CPU seconds at the last tick, by process id
        self._used = 0.0
        self._stopped = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._govern, daemon=True)
        self._thread.start()

    def add(self, pid: int) -> None:
        with self._lock:
            self._pids[pid] = cpu_seconds(pid)

    def used_seconds(self) -> float:
        with self._lock:
            return self._used

    def agent_settings(self) -> Numbers:
        return {"cpu_source": "processes", "cpu_limit_cores": self.cores}

    def remove(self) -> None:
        self._ended.set()
        self._thread.join()
        with self._lock:
            self._signal(signal.SIGCONT)

    def _govern(self) -> None:
        allowance, last = 0.0, time.monotonic()
        while not self._ended.wait(TICK_SECONDS):
            now = time.monotonic()
            with self._lock:
                allowance = min(BURST_SECONDS, allowance + (now - last) * self.cores)
                allowance -= self._look()
                if allowance < 0 and not self._stopped:
                    self._signal(signal.SIGSTOP)
                elif allowance >= 0 and self._stopped:
                    self._signal(signal.SIGCONT)
            last = now

    def _look(self) -> float:
        """Returns CPU seconds since the last tick. A process that ended is forgotten with its last tick."""
        spent = 0.0
        for pid, before in list(self._pids.items()):
            now = cpu_seconds(pid)
            if now < before or not os.path.exists(f"/proc/{pid}"):
                del self._pids[pid]
                continue
            spent += now - before
            self._pids[pid] = now
        self._used += spent
        return spent

    def _signal(self, which: signal.Signals) -> None:
        self._stopped = which == signal.SIGSTOP
        for pid in self._pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, which)
