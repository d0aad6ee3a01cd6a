"""Runs a whole Trunkline on this machine: a controller, agents and proxies as real processes with real files.

    cluster.add_controller(services={"echo": {}})
    cluster.add_agent("a", {"echo": server.address})
    proxy = cluster.add_proxy("p")
    cluster.start()
    proxy.connect("echo")

`start` returns once every worker of every proxy has a trunk to every agent. Most configurations ask for port 0 and the
logs say which port was bound; ports that must survive a restart are reserved.
"""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any, Self, TypeVar

from ports import reserve_port
from processes import Process, run
from waiting import eventually

# A configuration file, or a part of one.
Config = dict[str, Any]
P = TypeVar("P", bound=Process)

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN_DIR = pathlib.Path(os.environ.get("TRUNKLINE_BIN_DIR", ROOT / "build" / "bin"))
# Holds the test peers that CMake builds.
TESTS_DIR = BIN_DIR.parent / "tests"
_METRIC_LINE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def http_get(port: int | str, path: str, seconds: float = 10) -> tuple[int, str]:
    """Returns (status, body) of a GET to 127.0.0.1."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=seconds) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as reply:
        return reply.code, reply.read().decode()


def message_service(codec: Config, *addresses: object, **options: Any) -> Config:
    """Returns a ServiceConfig in `message` mode with `codec` and the servers at `addresses`, without agents."""
    return {
        "mode": "message",
        "message": {**codec, **options},
        "endpoints": [{"endpoint_id": f"e{i}", "address": address} for i, address in enumerate(addresses)],
    }


class Program(Process):
    """One of Trunkline's processes. Each start writes its configuration file anew."""

    def __init__(self, folder: pathlib.Path, name: str, binary: str, config: Config) -> None:
        self.config_path = pathlib.Path(folder) / f"{name}.yaml"
        super().__init__(folder, name, [BIN_DIR / binary, "--config", self.config_path])
        self.config = config

    def write_config(self) -> None:
        """Writes the configuration file; a start does so too."""
        # JSON is a subset of YAML.
        self.config_path.write_text(json.dumps(self.config, indent=2) + "\n")

    def start(self) -> Self:
        self.write_config()
        super().start()
        self.wait_for_line(r"admin HTTP listens on \S+:\d+")
        return self

    @property
    def http_port(self) -> int:
        return int(self.wait_for_line(r"admin HTTP listens on \S+:(\d+)").group(1))

    def ready(self) -> bool:
        return http_get(self.http_port, "/readyz")[0] == 200

    def metric(self, name: str, **labels: str) -> float:
        """Returns the sum of the samples of trunkline_`name` with these labels; raises LookupError if there are none."""
        found = []
        for line in http_get(self.http_port, "/metrics")[1].splitlines():
            match = _METRIC_LINE.match(line)
            if match is None or match.group(1) != "trunkline_" + name:
                continue
            if labels.items() <= dict(_LABEL.findall(match.group(2) or "")).items():
                found.append(float(match.group(3)))
        if not found:
            raise LookupError(f"{self.name} has no trunkline_{name} with {labels}")
        return sum(found)


class Controller(Program):
    def __init__(self, folder: pathlib.Path, services: dict[str, Config]) -> None:
        self.grpc_port = reserve_port()
        super().__init__(
            folder,
            "controller",
            "trunkline-controller",
            {
                "grpc_listen": f"127.0.0.1:{self.grpc_port}",
                "admin_listen": "127.0.0.1:0",
                "state_file": str(pathlib.Path(folder) / "controller.state"),
                # Faster than the defaults by the same factor, so that the rules between them still hold.
                "report_interval": "250ms",
                "tick_interval": "125ms",
                "slow_start": "1s",
                "services": [
                    {"name": name, "listen": "127.0.0.1:0", "mode": "tunnel", **config}
                    for name, config in services.items()
                ],
            },
        )

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"


class Agent(Program):
    def __init__(
        self, folder: pathlib.Path, name: str, controller: str, targets: dict[str, Any], **config: Any
    ) -> None:
        self.trunk_port = reserve_port()
        self.services = list(targets)
        super().__init__(
            folder,
            name,
            "trunkline-agent",
            {
                "agent_id": name,
                "controller": controller,
                "trunk_listen": f"127.0.0.1:{self.trunk_port}",
                "admin_listen": "127.0.0.1:0",
                "drain_timeout": "1s",
                "services": [
                    {"service": service, **(target if isinstance(target, dict) else {"target": target})}
                    for service, target in targets.items()
                ],
                **config,
            },
        )


class Proxy(Program):
    def __init__(self, folder: pathlib.Path, name: str, controller: str, **config: Any) -> None:
        super().__init__(
            folder,
            name,
            "trunkline-proxy",
            {
                "proxy_id": name,
                "controller": controller,
                "admin_listen": "127.0.0.1:0",
                "workers": 2,
                "snapshot_file": str(pathlib.Path(folder) / f"{name}.snapshot"),
                "drain_timeout": "1s",
                "ping_after": "1s",
                "ping_timeout": "2s",
                **config,
            },
        )

    def port(self, service: str) -> int:
        """Returns the port on which the proxy listens for the service's clients."""
        return int(self.wait_for_line(rf"service {service} on \S+:(\d+)").group(1))

    def connect(self, service: str, seconds: float = 30) -> socket.socket:
        """Connects a client of the service, whose operations time out after `seconds`."""
        return socket.create_connection(("127.0.0.1", self.port(service)), timeout=seconds)

    def has_trunks_to(self, agents: list[Agent]) -> bool:
        """Returns whether every worker has a trunk to each of `agents` and every endpoint has weight."""
        for agent in agents:
            for service in agent.services:
                if self.metric("proxy_endpoint_weight", service=service, endpoint=agent.name) <= 0:
                    return False
        return self.metric("proxy_trunks") >= self.config["workers"] * len(agents)


class Cluster:
    def __init__(self) -> None:
        # Unix sockets live here, so the path must be short. Servers that run as another user need to traverse it.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="trunkline-"))
        self.folder.chmod(0o755)
        self.processes: list[Process] = []
        self._controller: Controller | None = None
        self.agents: list[Agent] = []
        self.proxies: list[Proxy] = []

    def path(self, name: str) -> pathlib.Path:
        return self.folder / name

    @property
    def controller(self) -> Controller:
        assert self._controller is not None, "the cluster has no controller: add_controller comes first"
        return self._controller

    def add_controller(self, services: dict[str, Config], **config: Any) -> Controller:
        """Adds the controller. `services` maps names to ServiceConfigs without name and listen."""
        self._controller = self.add(Controller(self.folder, services))
        self.controller.config.update(config)
        return self.controller

    def add_agent(self, name: str, targets: dict[str, Any], **config: Any) -> Agent:
        """Adds an agent. `targets` maps services to addresses or to AgentServiceConfigs without the service's name."""
        self.agents.append(self.add(Agent(self.folder, name, self.controller.address, targets, **config)))
        return self.agents[-1]

    def add_proxy(self, name: str = "p", **config: Any) -> Proxy:
        self.proxies.append(self.add(Proxy(self.folder, name, self.controller.address, **config)))
        return self.proxies[-1]

    def add_process(self, name: str, command: Sequence[object], **options: Any) -> Process:
        """Adds a server or client of the test, which ends with the cluster."""
        return self.add(Process(self.folder, name, command, **options))

    def add(self, process: P) -> P:
        """Adds any process, which ends with the cluster."""
        self.processes.append(process)
        return process

    def start(self) -> Self:
        for program in [self.controller, *self.agents, *self.proxies]:
            program.start()
        self.wait_ready()
        return self

    def wait_ready(self, seconds: float = 30) -> None:
        for proxy in self.proxies:
            eventually(f"{proxy.name} is ready", proxy.ready, seconds)
            eventually(f"{proxy.name} has trunks to all agents", lambda: proxy.has_trunks_to(self.agents), seconds)

    @property
    def programs(self) -> list[Program]:
        return [process for process in self.processes if isinstance(process, Program)]

    def ctl(self, *arguments: str, check: bool = True, seconds: float = 20) -> subprocess.CompletedProcess[str]:
        """Runs trunkctl against the cluster's controller."""
        return run(
            [BIN_DIR / "trunkctl", "--controller", self.controller.address, *arguments], seconds=seconds, check=check
        )

    def ctl_json(self, *arguments: str) -> Any:
        return json.loads(self.ctl("--json", *arguments).stdout)

    def close(self) -> list[str]:
        """Ends all processes; returns descriptions of those that did not end cleanly."""
        problems = []
        for process in reversed(self.processes):
            try:
                code = process.end()
            except AssertionError as error:
                problems.append(str(error))
                continue
            # A Trunkline process must exit with 0, whether the test stopped it or it ended by itself.
            if isinstance(process, Program) and code != 0 and not process.killed:
                problems.append(f"{process.name} exited with {code}")
        for process in self.processes:
            report = process.sanitizer_report()
            if report:
                problems.append(report)
        return problems

    def logs(self) -> list[tuple[str, str]]:
        return [(process.name, process.log_tail()) for process in self.processes]

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
