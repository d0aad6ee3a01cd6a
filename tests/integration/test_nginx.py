"""A real nginx through `tunnel`: wrk's load, curl's kept connections and a large download."""

import hashlib
import os

import pytest

from cluster import Cluster, Proxy
from processes import run, tool
from waiting import SANITIZER, eventually, found

_LARGE_BYTES = 64 * 1024 * 1024
_CAUSES = ["no_endpoint", "connect_refused", "server_reset", "trunk_lost", "client_reset", "timeout", "shutdown"]
_CONFIG = """\
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  sendfile on;
  keepalive_requests 1000000;
  server {{
    listen unix:{folder}/nginx.sock;
    root {folder}/www;
  }}
}}
"""


@pytest.fixture
def proxy(cluster: Cluster) -> Proxy:
    www = cluster.path("www")
    www.mkdir()
    (www / "small").write_text("small answer\n")
    (www / "large").write_bytes(os.urandom(_LARGE_BYTES))
    config = cluster.path("nginx.conf")
    config.write_text(_CONFIG.format(folder=cluster.folder, user="user root;" if os.geteuid() == 0 else ""))
    cluster.add_process("nginx", [tool("nginx"), "-c", config, "-e", "stderr"]).start()
    eventually("nginx listens", lambda: cluster.path("nginx.sock").exists())
    cluster.add_controller({"web": {}})
    cluster.add_agent("a", {"web": f"unix:{cluster.path('nginx.sock')}"})
    proxy = cluster.add_proxy()
    cluster.start()
    return proxy


def url(proxy: Proxy, path: str) -> str:
    return f"http://127.0.0.1:{proxy.port('web')}/{path}"


def test_wrk_sees_no_error(proxy: Proxy) -> None:
    before = proxy.metric("proxy_clients_accepted_total")
    report = run([tool("wrk"), "-t1", "-c50", "-d3s", "--timeout", "20s", url(proxy, "small")]).stdout
    print(report)
    assert "Socket errors" not in report and "Non-2xx" not in report, report
    assert int(found(r"(\d+) requests in", report)) > (100 if SANITIZER else 2000)
    assert 50 <= proxy.metric("proxy_clients_accepted_total") - before <= 60
    # Every request uses a connection of its own.
    report = run(
        [tool("wrk"), "-t1", "-c20", "-d2s", "--timeout", "20s", "-H", "Connection: close", url(proxy, "small")]
    ).stdout
    print(report)
    assert "Non-2xx" not in report, report
    eventually("no client is left", lambda: proxy.metric("proxy_clients") == 0)
    # wrk aborts the requests in flight when its time is over.
    causes = {cause: proxy.metric("proxy_flow_errors_total", cause=cause) for cause in _CAUSES}
    assert causes.pop("client_reset") <= 70
    assert set(causes.values()) == {0}, causes


def test_curl_keeps_its_connection(proxy: Proxy) -> None:
    report = run([tool("curl"), "-sv", url(proxy, "small"), url(proxy, "small"), url(proxy, "small")])
    assert report.stdout == "small answer\n" * 3
    assert report.stderr.count("* Re-using existing ") == 2, report.stderr
    assert proxy.metric("proxy_clients_accepted_total") == 1


def test_large_download_is_whole(proxy: Proxy, cluster: Cluster) -> None:
    expected = hashlib.blake2b(cluster.path("www/large").read_bytes()).hexdigest()
    target = cluster.path("download")
    report = run([tool("curl"), "-sS", "-o", target, "-w", "%{speed_download}", url(proxy, "large")])
    print(f"{float(report.stdout) / 1e6:.0f} MB/s")
    assert hashlib.blake2b(target.read_bytes()).hexdigest() == expected
    # A client that leaves in the middle of a download leaves nothing behind.
    run([tool("curl"), "-sS", "-o", "/dev/null", "--max-filesize", _LARGE_BYTES // 2, url(proxy, "large")], check=False)
    eventually("no client is left", lambda: proxy.metric("proxy_clients") == 0)
