"""A storage server and, at times, a noisy neighbour, under one CPU limit.

There are two forms with the same methods: a control group contains the processes directly; under a process limit they
are children of a group leader, which the agent watches.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Sequence

from children import Child, Children, Failure, Numbers
from cpu_limits import Limit

START_SECONDS = 10
_HERE = os.path.dirname(os.path.abspath(__file__))


def _neighbour_arguments(cores: float) -> list[str]:
    return [sys.executable, "-S", os.path.join(_HERE, "neighbour.py"), str(cores)]


class CgroupServerGroup:
    def __init__(self, name: str, limit: Limit, children: Children) -> None:
        self.limit = limit
        self._name = name
        self._children = children
        self._server: Child | None = None
        self._neighbour: Child | None = None

    def agent_settings(self) -> Numbers:
        return self.limit.agent_settings()

    def start_server(self, arguments: Sequence[object]) -> None:
        server = self._server = self._children.start(self._name, arguments)
        self.limit.add(server.pid)

    def kill_server(self) -> None:
        if self._server:
            self._server.kill()

    def start_neighbour(self, cores: float) -> None:
        neighbour = self._neighbour = self._children.start(f"{self._name}-neighbour", _neighbour_arguments(cores))
        self.limit.add(neighbour.pid)

    def stop_neighbour(self) -> None:
        if self._neighbour:
            self._neighbour.kill()


class LedServerGroup:
    def __init__(self, name: str, limit: Limit, children: Children, folder: str) -> None:
        self.limit = limit
        self._name = name
        self._folder = folder
        self._orders_path = os.path.join(folder, f"{name}.orders")
        os.mkfifo(self._orders_path)
        self._leader = children.start(
            f"{name}-leader", [sys.executable, os.path.join(_HERE, "group_leader.py"), self._orders_path]
        )
        self._orders = open(self._orders_path, "w")  # noqa: SIM115  the leader reads it until the demo ends
        self._pids: dict[str, int] = {}

    def agent_settings(self) -> Numbers:
        pid_file = os.path.join(self._folder, f"{self._name}-leader.pid")
        with open(pid_file, "w") as file:
            file.write(str(self._leader.pid))
        return {**self.limit.agent_settings(), "pid_file": pid_file}

    def start_server(self, arguments: Sequence[object]) -> None:
        self._start(self._name, arguments)

    def kill_server(self) -> None:
        self._kill(self._name)

    def start_neighbour(self, cores: float) -> None:
        self._start(f"{self._name}-neighbour", _neighbour_arguments(cores))

    def stop_neighbour(self) -> None:
        self._kill(f"{self._name}-neighbour")

    def _start(self, what: str, arguments: Sequence[object]) -> None:
        pid_file = os.path.join(self._folder, f"{what}.pid")
        order = {
            "arguments": [str(a) for a in arguments],
            "pid_file": pid_file,
            "log": os.path.join(self._folder, f"{what}.log"),
        }
        self._orders.write(json.dumps(order) + "\n")
        self._orders.flush()
        deadline = time.monotonic() + START_SECONDS
        while not os.path.exists(pid_file):
            if time.monotonic() > deadline:
                raise Failure(f"{what} was not started within {START_SECONDS} s")
            time.sleep(0.02)
        with open(pid_file) as file:
            self._pids[what] = int(file.read())
        os.unlink(pid_file)
        self.limit.add(self._pids[what])

    def _kill(self, what: str) -> None:
        pid = self._pids.pop(what)
        os.kill(pid, signal.SIGKILL)
        while os.path.exists(f"/proc/{pid}"):  # until the leader has reaped it
            time.sleep(0.01)


ServerGroup = CgroupServerGroup | LedServerGroup
