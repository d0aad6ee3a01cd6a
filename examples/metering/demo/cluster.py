"""Configures, starts and kills one controller, two proxies, and three storage servers with an agent each."""

import json
import os
import socket
import time
import urllib.error
import urllib.request

from children import Child, Children, Failure, Numbers
from cpu_limits import LimitMaker
from server_group import CgroupServerGroup, LedServerGroup, ServerGroup

ADAPTIVE = "readings"
ROUND_ROBIN = "readings-rr"
PROXY_HOSTS = ("127.0.0.1", "127.0.0.2")
WORKERS = 1
TRUNKS_PER_ENDPOINT = 4
# Shares of the servers' total CPU.
SERVER_SHARES = {"store-1": 10 / 18, "store-2": 5 / 18, "store-3": 3 / 18}
# Cost of a reading, about 1.4 ms of CPU on average.
COST_FLAGS = ["--cost", "0.5ms-2ms", "--upload-factor", "10", "--tail", "1%:10ms"]
SLOW_START = "4s"
DRAIN = "1s"  # short, because no flow is open at the end
START_SECONDS = 15


class ReservedPorts:
    """Picks free ports that no other program is given while the demo runs.

    Each port stays bound, without listening, until the demo's process ends: the kernel then neither uses it for one of
    the collectors' many connections nor hands it to another program. Trunkline's listeners set SO_REUSEADDR, so they
    may listen on it.
    """

    def __init__(self) -> None:
        self._reservations: list[socket.socket] = []

    def pick(self) -> int:
        reservation = socket.socket()
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # All addresses: both proxies listen on the same port, at different addresses of 127.0.0.0/8.
        reservation.bind(("0.0.0.0", 0))
        self._reservations.append(reservation)
        port: int = reservation.getsockname()[1]
        return port


class Proxy:
    def __init__(self, name: str, host: str, admin_port: int) -> None:
        self.name, self.host, self.admin_port = name, host, admin_port


class Server:
    def __init__(self, name: str, group: ServerGroup, ports: ReservedPorts, folder: str) -> None:
        self.name, self.group, self.cores = name, group, group.limit.cores
        self.socket_path = os.path.join(folder, f"{name}.sock")
        self.trunk_port, self.admin_port = ports.pick(), ports.pick()


class Cluster:
    def __init__(
        self, bin_folder: str, folder: str, children: Children, limits: LimitMaker, total_cores: float
    ) -> None:
        self._bin, self._folder, self._children = bin_folder, folder, children
        self._ports = ports = ReservedPorts()
        self.database = os.path.join(folder, "readings.db")
        self.grpc = f"127.0.0.1:{ports.pick()}"
        self.controller_admin_port = ports.pick()
        self.listen_ports = {ADAPTIVE: ports.pick(), ROUND_ROBIN: ports.pick()}
        self.proxies = [Proxy(f"proxy-{i + 1}", host, ports.pick()) for i, host in enumerate(PROXY_HOSTS)]
        self.servers = [
            Server(name, self._make_group(name, limits, share * total_cores), ports, folder)
            for name, share in SERVER_SHARES.items()
        ]
        self._controller: Child | None = None

    def _make_group(self, name: str, limits: LimitMaker, cores: float) -> ServerGroup:
        limit = limits.make(name, cores)
        if limits.kind == "process":
            return LedServerGroup(name, limit, self._children, self._folder)
        return CgroupServerGroup(name, limit, self._children)

    def program(self, name: str) -> str:
        return os.path.join(self._bin, name)

    def targets(self, service: str) -> list[str]:
        return [f"{proxy.host}:{self.listen_ports[service]}" for proxy in self.proxies]

    def connection_bound(self) -> int:
        """Returns the upper bound on long connections of one service."""
        return len(self.proxies) * WORKERS * len(self.servers) * TRUNKS_PER_ENDPOINT

    def start(self) -> None:
        for server in self.servers:
            self.start_server(server)
        self.start_controller()
        for server in self.servers:
            self._start_agent(server)
        for proxy in self.proxies:
            self._start_proxy(proxy)
        for server in self.servers:
            self._await_ready(f"the agent of {server.name}", server.admin_port)
        for proxy in self.proxies:
            self._await_ready(proxy.name, proxy.admin_port)

    def start_server(self, server: Server) -> None:
        server.group.start_server(
            [
                self.program("meterstore"),
                "--listen",
                f"unix:{server.socket_path}",
                "--database",
                self.database,
                "--idle",
                "10m",
                *COST_FLAGS,
            ]
        )

    def start_controller(self) -> None:
        config = self._write_config(
            "controller",
            {
                "grpc_listen": self.grpc,
                "admin_listen": f"127.0.0.1:{self.controller_admin_port}",
                "state_file": os.path.join(self._folder, "controller.state"),
                "slow_start": SLOW_START,
                "services": [
                    {
                        "name": ADAPTIVE,
                        "mode": "tunnel",
                        "policy": "adaptive",
                        "listen": f"127.0.0.1:{self.listen_ports[ADAPTIVE]}",
                    },
                    {
                        "name": ROUND_ROBIN,
                        "mode": "tunnel",
                        "policy": "round_robin",
                        "listen": f"127.0.0.1:{self.listen_ports[ROUND_ROBIN]}",
                    },
                ],
            },
        )
        self._controller = self._children.start(
            "controller", [self.program("trunkline-controller"), "--config", config]
        )

    def kill_controller(self) -> None:
        if self._controller:
            self._controller.kill()

    def _start_agent(self, server: Server) -> None:
        # All servers get the same capacity hint; the controller has to find out what they can do.
        settings = {"target": f"unix:{server.socket_path}", "capacity_hint": 1, **server.group.agent_settings()}
        config = self._write_config(
            f"{server.name}-agent",
            {
                "agent_id": server.name,
                "controller": self.grpc,
                "trunk_listen": f"127.0.0.1:{server.trunk_port}",
                "admin_listen": f"127.0.0.1:{server.admin_port}",
                "drain_timeout": DRAIN,
                "services": [{"service": service, **settings} for service in (ADAPTIVE, ROUND_ROBIN)],
            },
        )
        self._children.start(f"{server.name}-agent", [self.program("trunkline-agent"), "--config", config])

    def _start_proxy(self, proxy: Proxy) -> None:
        config = self._write_config(
            proxy.name,
            {
                "proxy_id": proxy.name,
                "controller": self.grpc,
                "bind_address": proxy.host,
                "admin_listen": f"127.0.0.1:{proxy.admin_port}",
                "workers": WORKERS,
                "drain_timeout": DRAIN,
                "max_trunks_per_endpoint": TRUNKS_PER_ENDPOINT,
                "snapshot_file": os.path.join(self._folder, f"{proxy.name}.snapshot"),
            },
        )
        self._children.start(proxy.name, [self.program("trunkline-proxy"), "--config", config])

    def _write_config(self, name: str, content: Numbers) -> str:
        """Writes a configuration file in JSON, which is a subset of YAML."""
        path = os.path.join(self._folder, f"{name}.yaml")
        with open(path, "w") as file:
            json.dump(content, file, indent=2)
        return path

    def _await_ready(self, name: str, port: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        why = "it does not answer"
        while time.monotonic() < deadline:
            self._children.check()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1):
                    return
            except urllib.error.HTTPError as error:
                why = error.read().decode(errors="replace").strip()
            except OSError as error:
                why = str(error)
            time.sleep(0.1)
        raise Failure(f"{name} was not ready within {START_SECONDS} s: {why}")
