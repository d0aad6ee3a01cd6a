"""The client's address is preserved end to end, with HAProxy and nginx at both ends of the chain:

    client -> HAProxy or nginx (sends a PROXY header) -> proxy [-> agent] -> HAProxy or nginx (wants one)

The server's answer lists the addresses that it received.
"""

import os
import socket
from typing import Any

import pytest

from cluster import Cluster, Config
from ports import reserve_port
from processes import tool
from servers import EchoServer, ServerStarter
from waiting import eventually

_LIMIT = 3
_NGINX_MODULES = ["/usr/lib/nginx/modules", "/usr/share/nginx/modules"]

# The servers behind Trunkline answer with the client's address and the address to which it had connected.
_HAPROXY_BEHIND = """\
global
  maxconn 200
defaults
  mode http
  timeout client 30s
  timeout server 30s
  timeout connect 10s
frontend told
  bind 127.0.0.1:{port} accept-proxy
  http-request return status 200 content-type text/plain lf-string "%[src] %[src_port] %[dst] %[dst_port]"
"""
_NGINX_BEHIND = """\
daemon off;
{user}
worker_processes 1;
pid {folder}/behind.pid;
error_log stderr warn;
events {{ worker_connections 200; }}
http {{
  access_log off;
  client_body_temp_path {folder}/behind_body;
  proxy_temp_path {folder}/behind_proxy;
  fastcgi_temp_path {folder}/behind_fastcgi;
  uwsgi_temp_path {folder}/behind_uwsgi;
  scgi_temp_path {folder}/behind_scgi;
  server {{
    listen 127.0.0.1:{port} proxy_protocol;
    location / {{
      return 200 "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port";
    }}
  }}
  server {{
    listen 127.0.0.1:{plain_port};
    location / {{ return 200 "plain"; }}
  }}
}}
"""
# The proxies in front of Trunkline listen on a port for each service and header version.
_HAPROXY_BEFORE = """\
global
  maxconn 200
defaults
  mode tcp
  timeout client 30s
  timeout server 30s
  timeout connect 10s
"""
_HAPROXY_PAIR = """\
listen {name}
  bind 127.0.0.1:{port}
  server trunkline 127.0.0.1:{target} {option} check inter 200ms
"""
_NGINX_BEFORE = """\
load_module {module};
daemon off;
{user}
worker_processes 1;
pid {folder}/before.pid;
error_log stderr warn;
events {{ worker_connections 200; }}
stream {{
{servers}
}}
"""
_NGINX_PAIR = "  server {{ listen 127.0.0.1:{port}; proxy_pass 127.0.0.1:{target}; proxy_protocol on; }}"

# By name: the service's configuration, and the server behind it.
_SERVICES: dict[str, tuple[Config, str]] = {
    "tunnel-haproxy": ({"mode": "tunnel", "send_proxy_protocol": "v1", "accept_proxy_protocol": True}, "haproxy"),
    "tunnel-nginx": ({"mode": "tunnel", "send_proxy_protocol": "v2", "accept_proxy_protocol": True}, "nginx"),
    "direct-haproxy": ({"mode": "direct", "send_proxy_protocol": "v2", "accept_proxy_protocol": True}, "haproxy"),
    "direct-nginx": ({"mode": "direct", "send_proxy_protocol": "v1", "accept_proxy_protocol": True}, "nginx"),
    "message-nginx": ({"mode": "message", "message": {"http1": {}}, "accept_proxy_protocol": True}, "plain"),
    "edge-tunnel": ({"mode": "tunnel", "send_proxy_protocol": "v2"}, "nginx"),
    "edge-direct": ({"mode": "direct", "send_proxy_protocol": "v2"}, "haproxy"),
    "insisting": ({"mode": "tunnel"}, "insisting"),
    "limited": (
        {"mode": "tunnel", "accept_proxy_protocol": True, "limits": {"max_clients_per_source": _LIMIT}},
        "echo",
    ),
}
_TELLING = [
    name for name, (_, server) in _SERVICES.items() if name.startswith(("tunnel-", "direct-")) and server != "plain"
]
_ACCEPTING = [name for name, (config, _) in _SERVICES.items() if config.get("accept_proxy_protocol")]


def _nginx_module() -> str | None:
    for folder in _NGINX_MODULES:
        if os.path.exists(f"{folder}/ngx_stream_module.so"):
            return f"{folder}/ngx_stream_module.so"
    pytest.fail("nginx has no stream module: ./dev setup test installs it")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Chain:
    """The whole chain. `before(kind, service)` returns the port to which a client connects."""

    def __init__(self, cluster: Cluster, servers: ServerStarter) -> None:
        self.cluster = cluster
        user = "user root;" if os.geteuid() == 0 else ""
        ports = {name: reserve_port() for name in ("haproxy", "nginx", "plain")}
        self._start(
            "haproxy-behind",
            [tool("haproxy"), "-db", "-f"],
            _HAPROXY_BEHIND.format(port=ports["haproxy"]),
            [ports["haproxy"]],
        )
        self._start(
            "nginx-behind",
            [tool("nginx"), "-e", "stderr", "-c"],
            _NGINX_BEHIND.format(port=ports["nginx"], plain_port=ports["plain"], user=user, folder=cluster.folder),
            [ports["nginx"], ports["plain"]],
        )
        targets: dict[str, Any] = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
        targets["echo"] = servers(EchoServer).address
        targets["insisting"] = {"target": targets["nginx"], "send_proxy_protocol": "v2"}
        cluster.add_controller({name: config for name, (config, _) in _SERVICES.items()})
        cluster.add_agent("a", {name: targets[server] for name, (_, server) in _SERVICES.items()})
        self.proxy = cluster.add_proxy()
        cluster.start()
        self._before: dict[tuple[str, str], int] = {}
        self._start_haproxy_before()
        self._start_nginx_before(user)

    def _start(self, name: str, command: list[str], config: str, ports: list[int]) -> None:
        path = self.cluster.path(f"{name}.conf")
        path.write_text(config)
        self.cluster.add_process(name, [*command, path]).start()
        eventually(f"{name} listens", lambda: all(map(_listens, ports)))

    def _pair(self, kind: str, service: str) -> Config:
        self._before[kind, service] = reserve_port()
        return {"port": self._before[kind, service], "target": self.proxy.port(service)}

    def _start_haproxy_before(self) -> None:
        options = {"haproxy-v1": "send-proxy", "haproxy-v2": "send-proxy-v2"}
        config = _HAPROXY_BEFORE + "".join(
            _HAPROXY_PAIR.format(name=f"{kind}-{service}", option=option, **self._pair(kind, service))
            for kind, option in options.items()
            for service in _ACCEPTING
        )
        ports = [port for (kind, _), port in self._before.items() if kind in options]
        self._start("haproxy-before", [tool("haproxy"), "-db", "-f"], config, ports)

    def _start_nginx_before(self, user: str | None) -> None:
        pairs = [_NGINX_PAIR.format(**self._pair("nginx", service)) for service in _ACCEPTING]
        config = _NGINX_BEFORE.format(
            module=_nginx_module(), user=user, folder=self.cluster.folder, servers="\n".join(pairs)
        )
        ports = [port for (kind, _), port in self._before.items() if kind == "nginx"]
        self._start("nginx-before", [tool("nginx"), "-e", "stderr", "-c"], config, ports)

    def before(self, kind: str, service: str) -> int:
        return self._before[kind, service]

    def errors(self, cause: str) -> float:
        return self.proxy.metric("proxy_flow_errors_total", cause=cause)


def connect(port: int, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(source, 0))


def ask(client: socket.socket) -> str:
    """Sends one request and returns the body of the answer, which is empty if there was none."""
    try:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        reply = b""
        while piece := client.recv(65536):
            reply += piece
    except ConnectionError:
        return ""
    head, _, body = reply.partition(b"\r\n\r\n")
    return body.decode() if head.startswith(b"HTTP/1.1 200") else ""


def told(*ends: tuple[str, int]) -> str:
    """Returns the expected answer: the client's address, and the one to which it connected."""
    return " ".join(f"{host} {port}" for host, port in ends)


@pytest.fixture
def chain(cluster: Cluster, servers: ServerStarter) -> Chain:
    return Chain(cluster, servers)


def test_clients_address_is_known_from_end_to_end(chain: Chain) -> None:
    for kind in ("haproxy-v1", "haproxy-v2", "nginx"):
        for service in _TELLING:
            for source in ("127.0.0.1", "127.0.0.9"):
                with connect(chain.before(kind, service), source) as client:
                    expected = told(client.getsockname(), client.getpeername())
                    assert ask(client) == expected, (kind, service)
    assert chain.errors("proxy_header") == 0, "of clients or of HAProxy's checks"


def test_client_of_a_shared_connection_comes_behind_a_header(chain: Chain) -> None:
    for kind in ("haproxy-v1", "haproxy-v2", "nginx"):
        with connect(chain.before(kind, "message-nginx")) as client:
            assert ask(client) == "plain", kind


def test_address_of_a_direct_client_reaches_the_server(chain: Chain) -> None:
    for service in ("edge-tunnel", "edge-direct"):
        with connect(chain.proxy.port(service), "127.0.0.5") as client:
            assert ask(client) == told(client.getsockname(), client.getpeername()), service


def test_agent_sends_a_local_header_to_a_server_that_insists_on_one(chain: Chain) -> None:
    with connect(chain.proxy.port("insisting")) as client:
        # nginx treats a LOCAL header as an unknown client.
        assert ask(client).strip() == ""
    assert chain.errors("server_reset") == 0
    with connect(chain.proxy.port("insisting")) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200")


def test_client_without_a_header_is_reset(chain: Chain) -> None:
    for count, service in enumerate(_ACCEPTING, start=1):
        with connect(chain.proxy.port(service)) as client:
            assert ask(client) == "", service
        eventually("it is counted", lambda: chain.errors("proxy_header") == count)


def test_one_source_cannot_take_all_places(chain: Chain) -> None:
    port = chain.before("haproxy-v2", "limited")

    def served(client: socket.socket) -> bool:
        try:
            client.sendall(b"hello")
            return client.recv(5) == b"hello"
        except ConnectionError:
            return False

    def admitted(source: str) -> socket.socket | None:
        """Returns a served client, or None. HAProxy's own checks occupy a place for a moment."""
        client = connect(port, source)
        if served(client):
            return client
        client.close()
        return None

    # HAProxy's checks come from 127.0.0.1.
    clients = [eventually("there is a place", lambda: admitted("127.0.0.2")) for _ in range(_LIMIT)]
    before = chain.errors("source_limit")
    for _ in range(3):
        assert admitted("127.0.0.2") is None
    assert chain.errors("source_limit") >= before + 3
    other = eventually("another source is served", lambda: admitted("127.0.0.3"))
    clients.pop().close()
    clients.append(eventually("the place is free again", lambda: admitted("127.0.0.2")))
    for client in [*clients, other]:
        assert served(client)
        client.close()
