"""A real Envoy at either end of a trunk. It binds port 0 and its admin interface tells the port."""

import json
import pathlib
from typing import Any, Self

import peers
from cluster import Config, http_get
from processes import Process
from waiting import eventually

_V3 = "type.googleapis.com/envoy"


def _address(host_and_port: str) -> Config:
    if host_and_port.startswith("unix:"):
        return {"pipe": {"path": host_and_port.removeprefix("unix:")}}
    host, port = host_and_port.rsplit(":", 1)
    return {"socket_address": {"address": host, "port_value": int(port)}}


def _cluster(name: str, target: str, **options: Any) -> Config:
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(target)}}]}],
        },
        # Envoy's defaults do not allow some hundred connections at once.
        "circuit_breakers": {"thresholds": [{"max_connections": 10_000, "max_requests": 10_000}]},
        **options,
    }


def _listener(name: str, filter_name: str, config: Config) -> Config:
    return {
        "name": name,
        "address": _address("127.0.0.1:0"),
        "filter_chains": [{"filters": [{"name": filter_name, "typed_config": config}]}],
    }


def tunnels_to(agent_address: str, service: str) -> Config:
    """Returns a configuration that turns each TCP connection of the listener into a CONNECT to the agent."""
    http2 = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": f"{_V3}.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    tcp_proxy = {
        "@type": f"{_V3}.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "tcp",
        "cluster": "agent",
        "tunneling_config": {"hostname": f"{service}:1"},
    }
    return {
        "listeners": [_listener("front", "envoy.filters.network.tcp_proxy", tcp_proxy)],
        "clusters": [_cluster("agent", agent_address, typed_extension_protocol_options=http2)],
    }


def ends_tunnels_for(server_address: str) -> Config:
    """Returns a configuration that turns each CONNECT to the listener into a TCP connection to the server."""
    route = {
        "match": {"connect_matcher": {}},
        "route": {
            "cluster": "server",
            "timeout": "0s",
            "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}],
        },
    }
    http = {
        "@type": f"{_V3}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "codec_type": "HTTP2",
        "http2_protocol_options": {"allow_connect": True},
        "upgrade_configs": [{"upgrade_type": "CONNECT"}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_V3}.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    return {
        "listeners": [_listener("front", "envoy.filters.network.http_connection_manager", http)],
        "clusters": [_cluster("server", server_address)],
    }


class Envoy(Process):
    def __init__(self, folder: pathlib.Path, name: str, resources: Config) -> None:
        self._admin_path = folder / f"{name}.admin"
        config = folder / f"{name}.json"
        config.write_text(
            json.dumps({"admin": {"address": _address("127.0.0.1:0")}, "static_resources": resources}, indent=2)
        )
        super().__init__(
            folder,
            name,
            [
                peers.envoy(),
                "-c",
                config,
                "--concurrency",
                1,
                "--disable-hot-restart",
                "--log-level",
                "warning",
                "--admin-address-path",
                self._admin_path,
            ],
        )

    def start(self) -> Self:
        super().start()
        eventually(f"{self.name} listens", lambda: self.running and self.port)
        return self

    def _admin(self, path: str) -> str:
        status, body = http_get(self._admin_path.read_text().rsplit(":", 1)[1], path)
        assert status == 200, body
        return body

    @property
    def port(self) -> int:
        """Returns the port of Envoy's listener."""
        # The list is empty until Envoy has read its configuration; eventually() waits out the IndexError.
        listener = json.loads(self._admin("/listeners?format=json")).get("listener_statuses", [])[0]
        return listener["local_address"]["socket_address"]["port_value"]

    def counter(self, name: str) -> int:
        for line in self._admin(f"/stats?filter=^{name}$").splitlines():
            return int(line.rsplit(":", 1)[1])
        raise LookupError(name)
