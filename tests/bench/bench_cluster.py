"""Starts unequal servers under CPU quotas, with Trunkline and HAProxy in front of them, for `./dev bench balance`.

Four single-threaded servers take the same CPU time for each request. In the scene "capacities" their quotas are 4:2:1:1,
which nobody is told but HAProxy's second configuration, the oracle. In the others they are equal, and one is at fault.
Proxies, agents, controller and clients have core 0, the servers core 1. Several proxies of one kind listen on one port at
different addresses of 127.0.0.0/8.
"""

import json
import pathlib
import sys
from typing import Any

from bench_processes import Processes, accepts_at, bin_dir, http_ok, metric, reserve_ports

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "examples" / "metering" / "demo"))

from cpu_limits import LimitMaker  # noqa: E402

SERVERS = ("a", "b", "c", "d")
# Cores of all servers together, so that the rest of core 1 is free and their quotas limit them.
TOTAL_CORES = 0.8
COST_US = 1000
# As Docker limits containers: a server that has used up its quota waits for up to a tenth of a second.
PERIOD_US = 100_000
MODES = ("tunnel", "message", "direct")
PROXY_CORE, SERVER_CORE = "0", "1"
SLOW_START = "4s"

# A server that waits does about 33 requests per second, and uses no CPU while it waits.
WAIT_MS = 30


class Scene:
    """Shares of the servers' CPU, and what is wrong with server "a": its agent's control group, or the server."""

    def __init__(self, shares: tuple[int, int, int, int], fault: str = "") -> None:
        self.shares = dict(zip(SERVERS, shares, strict=True))
        self.wrong_group = fault == "wrong-group"
        flags = {"waits": ["--wait-ms", str(WAIT_MS)], "hangs-up": ["--hang-up"]}
        self.server_flags: list[str] = flags.get(fault, [])


SCENES = {
    "capacities": Scene((4, 2, 1, 1)),
    **{fault: Scene((1, 1, 1, 1), fault) for fault in ("wrong-group", "waits", "hangs-up")},
}

HAPROXY_CONFIG = """
global
  nbthread 1
  maxconn 4000
defaults
  mode tcp
  timeout connect 3s
  timeout client 1m
  timeout server 1m
frontend leastconn_clients
  bind {host}:{leastconn}
  default_backend leastconn
backend leastconn
  balance leastconn
{plain}
frontend oracle_clients
  bind {host}:{oracle}
  default_backend oracle
backend oracle
  balance leastconn
{weighted}
"""


class Cluster:
    """`targets(contender)` are the addresses of its proxies. Contenders: the modes of Trunkline, "leastconn", "oracle"."""

    def __init__(self, processes: Processes, limits: LimitMaker, scene: Scene, proxies: int) -> None:
        self._processes = processes
        self._scene = scene
        self._limits = limits
        self._hosts = [f"127.0.0.{i + 1}" for i in range(proxies)]
        agents = [f"{kind}_{server}" for server in SERVERS for kind in ("server", "trunk", "agent")]
        admin = [f"proxy_{host}" for host in self._hosts]
        names = [*MODES, "leastconn", "oracle", "grpc", "controller", *agents, *admin]
        self.ports = reserve_ports(names, host="0.0.0.0")  # noqa: S104  # reserved, not listened on

    def targets(self, contender: str) -> list[str]:
        return [f"{host}:{self.ports[contender]}" for host in self._hosts]

    def start(self) -> None:
        for name, share in self._scene.shares.items():
            self._start_server(name, TOTAL_CORES * share / sum(self._scene.shares.values()))
        self._start_controller()
        for host in self._hosts:
            self._start_proxy(host)
            self._start_haproxy(host)
        self._processes.wait_for("every listener", self._all_listen)
        self._processes.wait_for("trunks to all agents", self._all_have_trunks)

    def _all_listen(self) -> bool:
        contenders = (*MODES, "leastconn", "oracle")
        return all(accepts_at(host, self.ports[contender]) for host in self._hosts for contender in contenders)

    def _all_have_trunks(self) -> bool:
        pages = [f"http://127.0.0.1:{self.ports[f'proxy_{host}']}/metrics" for host in self._hosts]
        return all(metric(page, "trunkline_proxy_trunks") >= len(SERVERS) for page in pages)

    def _config(self, name: str, content: dict[str, Any]) -> pathlib.Path:
        """JSON is a subset of YAML."""
        path = self._processes.folder / f"{name}.yaml"
        path.write_text(json.dumps(content, indent=2))
        return path

    def _start_server(self, name: str, cores: float) -> None:
        port = self.ports[f"server_{name}"]
        limit = self._limits.make(name, cores)
        faulty = name == SERVERS[0]
        flags = self._scene.server_flags if faulty else []
        server = [bin_dir() / "echo_server", "--listen", f"127.0.0.1:{port}", "--cost-us", COST_US, *flags]
        limit.add(self._processes.start(f"server_{name}", server, SERVER_CORE))
        # Equal hints: what a server can do has to be found out.
        group = self._limits.make(f"{name}-idle", cores) if faulty and self._scene.wrong_group else limit
        settings = {"target": f"127.0.0.1:{port}", "capacity_hint": 1, **group.agent_settings()}
        agent = {
            "agent_id": name,
            "controller": f"127.0.0.1:{self.ports['grpc']}",
            "trunk_listen": f"127.0.0.1:{self.ports[f'trunk_{name}']}",
            "admin_listen": f"127.0.0.1:{self.ports[f'agent_{name}']}",
            "services": [{"service": mode, **settings} for mode in MODES],
        }
        program = bin_dir() / "trunkline-agent"
        self._processes.start(f"agent_{name}", [program, "--config", self._config(f"agent_{name}", agent)], PROXY_CORE)

    def _start_controller(self) -> None:
        services = []
        for mode in MODES:
            service: dict[str, Any] = {"name": mode, "mode": mode, "listen": f"127.0.0.1:{self.ports[mode]}"}
            if mode == "message":
                service["message"] = {"length_field": {"length": 4}}
            services.append(service)
        config = {
            "grpc_listen": f"127.0.0.1:{self.ports['grpc']}",
            "admin_listen": f"127.0.0.1:{self.ports['controller']}",
            "slow_start": SLOW_START,
            "services": services,
        }
        program = bin_dir() / "trunkline-controller"
        self._processes.start("controller", [program, "--config", self._config("controller", config)], PROXY_CORE)
        ready = f"http://127.0.0.1:{self.ports['controller']}/readyz"
        self._processes.wait_for("the controller", lambda: http_ok(ready))

    def _start_proxy(self, host: str) -> None:
        config = {
            "proxy_id": f"proxy-{host}",
            "controller": f"127.0.0.1:{self.ports['grpc']}",
            "bind_address": host,
            "admin_listen": f"127.0.0.1:{self.ports[f'proxy_{host}']}",
            "workers": 1,
        }
        program = bin_dir() / "trunkline-proxy"
        path = self._config(f"proxy_{host}", config)
        self._processes.start(f"proxy_{host}", [program, "--config", path], PROXY_CORE)

    def _start_haproxy(self, host: str) -> None:
        line = "  server {name} 127.0.0.1:{port} weight {weight}"

        def servers(weight_of: dict[str, int]) -> str:
            return "\n".join(
                line.format(name=name, port=self.ports[f"server_{name}"], weight=weight_of[name]) for name in SERVERS
            )

        text = HAPROXY_CONFIG.format(
            host=host,
            leastconn=self.ports["leastconn"],
            oracle=self.ports["oracle"],
            plain=servers(dict.fromkeys(SERVERS, 1)),
            weighted=servers(self._scene.shares),
        )
        path = self._processes.folder / f"haproxy_{host}.cfg"
        path.write_text(text)
        self._processes.start(f"haproxy_{host}", ["haproxy", "-db", "-f", path], PROXY_CORE)
