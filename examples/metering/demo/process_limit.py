"""A CPU limit without control groups: processes are stopped while they are ahead of their allowance.

One thread a limit looks each 10 ms at the CPU time of its processes, and lets them run (SIGCONT) or stops them
(SIGSTOP) so that their use stays at `cores`. It is coarser than a quota of the kernel, and fair to look at only on a
scale of tenths of a second. The processes of a limit are the children of one `group_leader`, so an agent that watches
the leader's process sees all of them.
"""

import contextlib
import os
import signal
import threading
import time

from children import Numbers

TICK_SECONDS = 0.01
# An idle group may save up this much and spend it at once: about what a quota's period allows.
BURST_SECONDS = 0.02


def cpu_seconds(pid: int) -> float:
    """Of one process, all threads; 0 when it is gone. From schedstat where there is one: the clock tick is coarse."""
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
        self._pids: dict[int, float] = {}  # pid -> CPU seconds when last looked at
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
        return {"cpu_source": "CPU_PROCESSES", "cpu_limit_cores": self.cores}

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
        """CPU seconds since the last look. A process that ended is forgotten with its last tick."""
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
