"""Active health checks of real nginx and redis servers, as trunkctl, the logs and the metrics show them."""

import http.client
import os
import pathlib
import re
import signal
from typing import Any

import pytest

from cluster import Cluster, Proxy, http_get, message_service
from ports import reserve_port
from processes import Process, run, tool
from waiting import SLOWNESS, eventually

# Often, and patient enough for an instrumented program on a busy machine.
_OFTEN = {"interval": "2s", "timeout": "2s", "rise": 1, "fall": 1}
_QUICK = {"interval": "200ms", "timeout": "200ms", "rise": 1, "fall": 1}
_NGINX = """\
daemon off;
master_process off;
{user}
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location /name {{ return 200 "{name}"; }}
    location /live {{
      if (-f {folder}/down) {{ return 503; }}
      return 200 "{name} lives";
    }}
  }}
}}
"""


class Nginx:
    """A server that says on /live that it is down while its file `down` exists."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        port = reserve_port()
        folder = cluster.path(name)
        folder.mkdir()
        self.down: pathlib.Path = folder / "down"
        self.address = f"127.0.0.1:{port}"
        config = folder / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        config.write_text(_NGINX.format(folder=folder, name=name, port=port, user=user))
        cluster.add_process(name, [tool("nginx"), "-c", config, "-e", "stderr"]).start()
        eventually("nginx answers", lambda: http_get(port, "/name")[0] == 200)


def start_redis(cluster: Cluster, name: str) -> tuple[Process, int]:
    """Returns the server and its port."""
    port = reserve_port()
    options = ["--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", cluster.folder]
    process = cluster.add_process(name, [tool("redis-server"), *options]).start()
    eventually("redis answers", lambda: "PONG" in redis_cli(port, "ping"))
    return process, port


def redis_cli(port: int, *command: object) -> str:
    return run([tool("redis-cli"), "-p", port, *command], check=False).stdout


def health(cluster: Cluster) -> dict[str, tuple[int, int]]:
    """Returns for each endpoint how many proxies find it healthy, and how many check it."""
    return {
        item["weight"]["endpoint_id"]: (item["healthy_proxies"], item["checking_proxies"])
        for item in cluster.ctl_json("endpoints")["endpoints"]
    }


def reached(proxy: Proxy, count: int = 20) -> set[str]:
    """Returns the names of the nginx servers that `count` requests reach."""
    names = set()
    for _ in range(count):
        client = http.client.HTTPConnection("127.0.0.1", proxy.port("web"), timeout=30 * SLOWNESS)
        client.request("GET", "/name")
        names.add(client.getresponse().read().decode())
        client.close()
    return names


def test_nginx_that_answers_503_gets_no_requests_until_it_is_back(cluster: Cluster) -> None:
    servers = [Nginx(cluster, name) for name in ("first", "second")]
    servers[0].down.touch()
    service = message_service({"http1": {}}, *[server.address for server in servers])
    check = {"http": {"path": "/live", "host": "www.example.org"}, **_OFTEN}
    cluster.add_controller({"web": {**service, "health_check": check}})
    proxies = [cluster.add_proxy(name) for name in ("p", "q")]
    cluster.start()
    eventually("both proxies agree", lambda: health(cluster) == {"e0": (0, 2), "e1": (2, 2)})
    for proxy in proxies:
        proxy.wait_for_line(
            rf"endpoint e0 of service web is unhealthy: it failed its first health check: {servers[0].address} gave a "
            r'wrong answer: sent "GET /live HTTP/1.1\\r\\nHost: www.example.org.*got "HTTP/1.1 503 Service'
        )
        assert proxy.metric("proxy_endpoint_check_healthy", endpoint="e0") == 0
        assert proxy.metric("proxy_endpoint_check_healthy", endpoint="e1") == 1
        eventually("all workers avoid it", lambda: proxy.metric("proxy_endpoint_ejecting_workers", endpoint="e0") == 2)
        assert reached(proxy) == {"second"}
    assert cluster.controller.metric("controller_endpoint_healthy_proxies", endpoint="e0") == 0
    assert cluster.controller.metric("controller_endpoint_checking_proxies", endpoint="e0") == 2
    assert re.search(r"\be0\b.* 0/2 ", cluster.ctl("endpoints").stdout)
    servers[0].down.unlink()
    eventually("both proxies see it", lambda: health(cluster) == {"e0": (2, 2), "e1": (2, 2)})
    for proxy in proxies:
        eventually("it is used", lambda: reached(proxy) == {"first", "second"})
        assert proxy.metric("proxy_flow_errors_total") == 0


def test_redis_that_freezes_or_wants_a_password_is_unhealthy(cluster: Cluster) -> None:
    frozen, frozen_port = start_redis(cluster, "redis0")
    _, locked_port = start_redis(cluster, "redis1")
    endpoints = [
        {"endpoint_id": "frozen", "address": f"127.0.0.1:{frozen_port}"},
        {"endpoint_id": "locked", "address": f"127.0.0.1:{locked_port}"},
    ]
    service: dict[str, Any] = {"mode": "direct", "endpoints": endpoints, "health_check": {"redis": {}, **_OFTEN}}
    cluster.add_controller({"cache": service})
    proxy = cluster.add_proxy()
    cluster.start()
    eventually("both are healthy", lambda: health(cluster) == {"frozen": (1, 1), "locked": (1, 1)})
    frozen.send(signal.SIGSTOP)
    proxy.wait_for_line(
        r"endpoint frozen of service cache is unhealthy: .* did not answer in full within 2s: "
        r'sent "PING\\r\\n", got nothing, expected "\+PONG"'
    )
    frozen.send(signal.SIGCONT)
    proxy.wait_for_line("endpoint frozen of service cache is healthy again")
    redis_cli(locked_port, "config", "set", "requirepass", "secret")
    proxy.wait_for_line(r'endpoint locked of service cache is unhealthy: .*got "-NOAUTH Authentication required')
    # With the password, the check passes.
    password = cluster.path("password")
    password.write_text("secret\n")
    service["health_check"] = {"redis": {"auth": {"password_file": str(password)}}, **_OFTEN}
    redis_cli(frozen_port, "config", "set", "requirepass", "secret")
    cluster.controller.config["services"][0].update(service)
    cluster.controller.write_config()
    cluster.ctl("reload")
    proxy.wait_for_line("endpoint locked of service cache is healthy again")
    eventually("both are healthy", lambda: health(cluster) == {"frozen": (1, 1), "locked": (1, 1)})


def test_redis_with_the_credential_of_its_service_is_checked_and_a_new_password_is_learned(cluster: Cluster) -> None:
    _, port = start_redis(cluster, "redis")
    redis_cli(port, "config", "set", "requirepass", "first-secret")
    password = cluster.path("password")
    password.write_text("first-secret\n")
    service = message_service({"redis": {"auth": {"password_file": str(password)}}}, f"127.0.0.1:{port}")
    cluster.add_controller({"cache": {**service, "health_check": {"redis": {}, **_OFTEN}}})
    proxy = cluster.add_proxy()
    cluster.start()
    eventually("it is healthy", lambda: health(cluster) == {"e0": (1, 1)})
    redis_cli(port, "-a", "first-secret", "config", "set", "requirepass", "second-secret")
    proxy.wait_for_line(
        r'endpoint e0 of service cache is unhealthy: .* sent a credential and "PING\\r\\n"; the server refused the '
        r"opening of the connection: WRONGPASS"
    )
    cluster.controller.wait_for_line("all 1 proxies that check endpoint e0 of service cache find it unhealthy")
    password.write_text("second-secret\n")
    cluster.ctl("reload")
    proxy.wait_for_line("endpoint e0 of service cache is healthy again")
    cluster.controller.wait_for_line("endpoint e0 of service cache is healthy again for 1 of the 1 proxies")
    for text in (proxy.log(), cluster.controller.log(), cluster.ctl("snapshot").stdout):
        assert "secret" not in text


def test_metrics_of_checks_are_documented(cluster: Cluster) -> None:
    _, port = start_redis(cluster, "redis")
    service = message_service({"redis": {}}, f"127.0.0.1:{port}")
    cluster.add_controller({"cache": {**service, "health_check": {"redis": {}, **_QUICK}}})
    proxy = cluster.add_proxy()
    cluster.start()
    eventually("it is checked", lambda: proxy.metric("proxy_endpoint_check_passes_total", endpoint="e0") >= 3)
    eventually("the controller knows", lambda: cluster.controller.metric("controller_endpoint_healthy_proxies") == 1)
    page = (pathlib.Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    described = set(re.findall(r"^\| `(trunkline_\w+)` \|", page, re.MULTILINE))
    for program in cluster.programs:
        shown = http_get(program.http_port, "/metrics")[1]
        assert set(re.findall(r"^# TYPE (\w+) ", shown, re.MULTILINE)) <= described
        verdict = run([tool("promtool"), "check", "metrics"], input=shown, check=False)
        assert (verdict.returncode, verdict.stdout, verdict.stderr) == (0, "", ""), program.name


@pytest.mark.parametrize(
    ("service", "error"),
    [
        ({"mode": "tunnel", "health_check": {"tcp": {}}}, "expected only with mode: direct or mode: message"),
        ({"mode": "direct", "health_check": {"tcp": {}, "timeout": "6s"}}, "health_check.timeout: expected at most"),
        ({"mode": "direct", "health_check": {"http": {"expected_statuses": ["ok"]}}}, "expected a status code from"),
        ({"mode": "direct", "health_check": {"tcp": {"send": "AUTH x\r\n"}}}, "send: expected no password"),
        ({"mode": "direct", "health_check": {"tcp": {"send_hex": "xy"}}}, "send_hex: expected two hexadecimal digits"),
    ],
)
def test_checks_that_cannot_work_are_refused(cluster: Cluster, service: dict[str, Any], error: str) -> None:
    cluster.add_controller({"db": service}).write_config()
    refused = cluster.ctl("check", str(cluster.controller.config_path), "controller", check=False)
    assert refused.returncode == 2
    assert error in refused.stdout + refused.stderr
