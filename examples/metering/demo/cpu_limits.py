"""Limits each server's CPU with a control group if possible, else with a process limit.

A limit has `cores`, adds processes (`add`), returns the CPU seconds used inside (`used_seconds`) and the settings with
which an agent measures it (`agent_settings`). `remove` leaves nothing behind.
"""

import contextlib
import glob
import os
import time
from collections.abc import Callable

import interrupts
from children import Numbers
from process_limit import ProcessLimit

GROUP_PREFIX = "trunkline-demo-"
# With short periods a server that has used up its quota waits milliseconds, not a tenth of a second.
PERIOD_US = 20_000
MIN_QUOTA_US = 1_000  # the kernel's minimum
# High priority, so that the quota and not other work on the machine limits a server.
V1_SHARES, V2_WEIGHT = 16 * 1024, 10_000
REMOVE_SECONDS = 5


def _write(path: str, text: object) -> None:
    """Writes to an existing file. It creates none, because a folder that is not a control group must stay as it is."""
    with open(os.open(path, os.O_WRONLY), "w") as file:
        file.write(str(text))


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()


def _remove_folder(path: str) -> None:
    """Removes a control group, which is possible once its last process has been reaped."""
    deadline = time.monotonic() + REMOVE_SECONDS
    while True:
        try:
            os.rmdir(path)
            return
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _quota_us(cores: float, period_us: int) -> int:
    return max(MIN_QUOTA_US, round(cores * period_us))


class CgroupV1Limit:
    """A limit in the version 1 hierarchies `cpu` (quota) and `cpuacct` (use), mounted together or apart."""

    def __init__(self, root: str, name: str, cores: float, period_us: int) -> None:
        self.cores = cores
        self._path = name
        self._folders = {c: os.path.join(root, c, name) for c in ("cpu", "cpuacct")}
        for folder in self._folders.values():
            os.makedirs(folder, exist_ok=True)
        _write(f"{self._folders['cpu']}/cpu.cfs_period_us", period_us)
        _write(f"{self._folders['cpu']}/cpu.cfs_quota_us", _quota_us(cores, period_us))
        _write(f"{self._folders['cpu']}/cpu.shares", V1_SHARES)

    def add(self, pid: int) -> None:
        for folder in self._folders.values():
            _write(f"{folder}/cgroup.procs", pid)

    def used_seconds(self) -> float:
        return int(_read(f"{self._folders['cpuacct']}/cpuacct.usage")) / 1e9

    def agent_settings(self) -> Numbers:
        return {"cpu_source": "cgroup", "cgroup_path": self._path}

    def remove(self) -> None:
        for folder in self._folders.values():
            _remove_folder(folder)


class CgroupV2Limit:
    def __init__(self, root: str, name: str, cores: float, period_us: int) -> None:
        self.cores = cores
        self._path = name
        self._folder = os.path.join(root, name)
        os.makedirs(self._folder, exist_ok=True)
        _write(f"{self._folder}/cpu.max", f"{_quota_us(cores, period_us)} {period_us}")
        _write(f"{self._folder}/cpu.weight", V2_WEIGHT)

    def add(self, pid: int) -> None:
        _write(f"{self._folder}/cgroup.procs", pid)

    def used_seconds(self) -> float:
        for line in _read(f"{self._folder}/cpu.stat").splitlines():
            if line.startswith("usage_usec "):
                return int(line.split()[1]) / 1e6
        return 0.0

    def agent_settings(self) -> Numbers:
        return {"cpu_source": "cgroup", "cgroup_path": self._path}

    def remove(self) -> None:
        _remove_folder(self._folder)


def _is_alive(pid: str) -> bool:
    try:
        return _read(f"/proc/{pid}/cmdline") != ""  # a zombie has no command line
    except OSError:
        return False


def _sweep(folder: str) -> None:
    """Removes groups of demos that were killed."""
    for path in glob.glob(f"{folder}/{GROUP_PREFIX}*"):
        owner = os.path.basename(path)[len(GROUP_PREFIX) :].split("-")[0]
        if owner.isdigit() and not _is_alive(owner):
            # A process may still be in the group, or another demo may have removed it.
            with contextlib.suppress(OSError):
                os.rmdir(path)


def _can_delegate_cpu(root: str) -> bool | None:
    """Returns whether `root` is a version 2 hierarchy whose children may have CPU limits."""
    try:
        if "cpu" not in _read(f"{root}/cgroup.controllers").split():
            return False
        if "cpu" not in _read(f"{root}/cgroup.subtree_control").split():
            _write(f"{root}/cgroup.subtree_control", "+cpu")
        return True
    except OSError:
        return False


Limit = CgroupV1Limit | CgroupV2Limit | ProcessLimit


class LimitMaker:
    """Makes limits of the best kind that this machine allows. `kind` is that kind."""

    def __init__(self, wanted: str = "auto", root: str = "/sys/fs/cgroup", period_us: int = PERIOD_US) -> None:
        self._root = root
        self._period_us = period_us
        self._prefix = f"{GROUP_PREFIX}{os.getpid()}"
        self._made: list[Limit] = []
        kinds = {"cgroup1": self._cgroup1_works, "cgroup2": self._cgroup2_works, "process": lambda: True}
        candidates = list(kinds) if wanted == "auto" else [wanted]
        self.kind = next((kind for kind in candidates if kinds[kind]()), None)
        if self.kind is None:
            raise ValueError(f"--limit {wanted}: this machine does not allow it")

    def make(self, name: str, cores: float) -> Limit:
        group = f"{self._prefix}-{name}"
        limit: Limit
        with interrupts.held():
            if self.kind == "cgroup1":
                limit = CgroupV1Limit(self._root, group, cores, self._period_us)
            elif self.kind == "cgroup2":
                limit = CgroupV2Limit(self._root, group, cores, self._period_us)
            else:
                limit = ProcessLimit(cores)
            self._made.append(limit)
        return limit

    def remove_all(self) -> None:
        while self._made:
            self._made.pop().remove()

    def _cgroup1_works(self) -> bool:
        return self._try(
            lambda: CgroupV1Limit(self._root, f"{self._prefix}-try", 0.5, self._period_us),
            [f"{self._root}/cpu", f"{self._root}/cpuacct"],
        )

    def _cgroup2_works(self) -> bool:
        if not _can_delegate_cpu(self._root):
            return False
        return self._try(lambda: CgroupV2Limit(self._root, f"{self._prefix}-try", 0.5, self._period_us), [self._root])

    def _try(self, make: Callable[[], Limit], folders: list[str]) -> bool:
        if not all(os.path.exists(f"{folder}/cgroup.procs") for folder in folders):
            return False
        for folder in folders:
            _sweep(folder)
        with interrupts.held():
            try:
                limit = make()
                limit.used_seconds()
            except OSError:
                for folder in folders:
                    if os.path.isdir(f"{folder}/{self._prefix}-try"):
                        os.rmdir(f"{folder}/{self._prefix}-try")
                return False
            limit.remove()
            return True
