"""Real nginx servers in `message` mode by http1.

wrk, curl and Python's HTTP client are the clients; few connections lead to the servers. WebSockets are those of
Python's library.
"""

import asyncio
import hashlib
import http
import http.client
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
from typing import Any

import pytest
import websockets

from cluster import Cluster, http_get, message_service
from crowd import Crowd
from ports import reserve_port
from processes import run, tool
from traffic import read_exactly
from waiting import SANITIZER, SLOWNESS, eventually, found

_WORKERS = 2
# Per worker and server; far fewer than clients.
_SHARED_CONNECTIONS = 3
_LARGE_BYTES = 32 * 1024 * 1024
# nginx's manual recommends this in front of a WebSocket server.
_SOCKETS_BEHIND = """location /socket/ {{
      proxy_pass http://127.0.0.1:{port};
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
    }}"""
_CONFIG = """\
daemon off;
master_process off;
{user}
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
  map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
  log_format requests '$connection $connection_requests $request_method $request_uri $status';
  access_log {folder}/access.log requests;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests {keepalive_requests};
  keepalive_timeout {keepalive_timeout};
  client_max_body_size 100m;
  server {{
    listen 127.0.0.1:{port};
    root {folder}/www;
    location /status {{ stub_status; access_log off; }}
    location /name {{ return 200 "{name}"; }}
    location /nothing {{ return 204; }}
    location /zipped/ {{ alias {folder}/www/; gzip on; gzip_types *; gzip_proxied any; gzip_min_length 1; }}
    location /put/ {{ dav_methods PUT DELETE; create_full_put_path on; }}
    location /small/ {{ client_max_body_size 10k; dav_methods PUT; }}
    {more}
  }}
}}
"""


class Nginx:
    def __init__(self, cluster: Cluster, name: str, **limits: Any) -> None:
        self.port = reserve_port()
        self.folder = cluster.path(name)
        self.www = self.folder / "www"
        self.www.mkdir(parents=True)
        (self.www / "page").write_text("a page\n")
        (self.www / "empty").write_text("")
        config = self.folder / "nginx.conf"
        config.write_text(
            _CONFIG.format(
                folder=self.folder,
                name=name,
                port=self.port,
                user="user root;" if os.geteuid() == 0 else "",
                **{"keepalive_requests": 1_000_000, "keepalive_timeout": "75s", "more": "", **limits},
            )
        )
        self.process = cluster.add_process(name, [tool("nginx"), "-c", config, "-e", "stderr"])
        self.start()

    def start(self) -> None:
        self.process.start()
        eventually("nginx answers", lambda: http_get(self.port, "/name")[0] == 200)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def connections_so_far(self) -> int:
        """Returns how many connections nginx has ever accepted, including the one that asks."""
        return int(http_get(self.port, "/status")[1].splitlines()[2].split()[0])

    def requests(self) -> list[tuple[str, ...]]:
        """Returns (connection, its request number, method, path, status) of each request, in the order of their ends."""
        return [tuple(line.split()) for line in (self.folder / "access.log").read_text().splitlines()]


class Site:
    """A proxy in front of some nginx servers."""

    def __init__(self, cluster: Cluster, servers: int = 1, idempotent: bool = False, **limits: Any) -> None:
        self.servers = [Nginx(cluster, f"nginx{i}", **limits) for i in range(servers)]
        self.server = self.servers[0]
        service = message_service(
            {"http1": {}},
            *[server.address for server in self.servers],
            shared_connections=_SHARED_CONNECTIONS,
            idempotent=idempotent,
        )
        # A server may be restarting while a request waits for it.
        cluster.add_controller({"web": {**service, "limits": {"connect_timeout": "20s"}}})
        self.proxy = cluster.add_proxy(workers=_WORKERS)
        cluster.start()
        self._counted = self.server.connections_so_far()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.proxy.port('web')}/{path}"

    def curl(self, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
        return run([tool("curl"), "-sS", "--max-time", 60 * SLOWNESS, *arguments], **options)

    def client(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.proxy.port("web"), timeout=30 * SLOWNESS)

    def new_connections(self) -> int:
        """Returns how many connections the first server has accepted from the proxy since the last call."""
        counted, self._counted = self._counted, self.server.connections_so_far()
        return self._counted - counted - 1

    def ask(self, client: http.client.HTTPConnection, path: str = "name") -> tuple[int, str]:
        client.request("GET", f"/{path}")
        reply = client.getresponse()
        return reply.status, reply.read().decode()


@pytest.fixture
def site(cluster: Cluster) -> Site:
    return Site(cluster)


def digest(path: pathlib.Path) -> str:
    return hashlib.blake2b(path.read_bytes()).hexdigest()


def test_clients_of_wrk_share_kept_connections(site: Site) -> None:
    report = run([tool("wrk"), "-t1", "-c64", "-d2s", "--timeout", "20s", site.url("page")]).stdout
    print(report)
    assert "Socket errors" not in report and "Non-2xx" not in report, report
    kept = int(found(r"(\d+) requests in", report))
    assert kept > (100 if SANITIZER else 2000)
    # Clients that connect for each request are invisible to the server. wrk reports an error if a connection closes and
    # the reply did not announce it.
    report = run(
        [tool("wrk"), "-t1", "-c32", "-d1s", "--timeout", "20s", "-H", "Connection: close", site.url("page")]
    ).stdout
    print(report)
    assert "Socket errors" not in report and "Non-2xx" not in report, report
    assert site.new_connections() <= _WORKERS * _SHARED_CONNECTIONS
    assert len({request[0] for request in site.server.requests() if request[3] == "/page"}) <= (
        _WORKERS * _SHARED_CONNECTIONS
    )


def test_server_that_ends_its_connections_after_some_requests_costs_no_request(cluster: Cluster) -> None:
    site = Site(cluster, keepalive_requests=10)
    report = run([tool("wrk"), "-t1", "-c16", "-d1s", "--timeout", "20s", site.url("page")]).stdout
    print(report)
    assert "Socket errors" not in report and "Non-2xx" not in report, report
    assert max(int(request[1]) for request in site.server.requests()) == 10


def test_replies_without_a_body_do_not_shift_the_next(site: Site) -> None:
    etag = found(r"ETag: (\S+)", site.curl("-i", site.url("page")).stdout)
    client = site.client()
    for _ in range(3):
        for method, path, fields, status, body in [
            ("HEAD", "/page", {}, 200, ""),
            ("GET", "/page", {}, 200, "a page\n"),
            ("GET", "/nothing", {}, 204, ""),
            ("GET", "/name", {}, 200, "nginx0"),
            ("GET", "/page", {"If-None-Match": etag}, 304, ""),
            ("GET", "/empty", {}, 200, ""),
            ("HEAD", "/none", {}, 404, ""),
            ("GET", "/page", {"Range": "bytes=2-5"}, 206, "page"),
        ]:
            client.request(method, path, headers=fields)
            reply = client.getresponse()
            assert (reply.status, reply.read().decode()) == (status, body), (method, path)
    client.close()
    # curl's connection and this one.
    assert site.proxy.metric("proxy_clients_accepted_total") == 2
    assert site.new_connections() <= 2


def test_pipelined_requests_are_answered_in_their_order(site: Site) -> None:
    for i in range(20):
        (site.server.www / f"{i}").write_text(f"file {i} " + "x" * (i * 1000))
    with site.proxy.connect("web") as client:
        client.sendall(
            b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % i for i in range(19))
            + b"GET /19 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        )
        answers = read_exactly(client, 10_000_000).decode()
    bodies = re.findall(r"file (\d+) (x*)", answers)
    assert [(int(number), len(rest)) for number, rest in bodies] == [(i, i * 1000) for i in range(20)]
    # The "close" applied to the client's connection only.
    assert site.ask(site.client()) == (200, "nginx0")
    assert site.new_connections() <= _WORKERS


def test_close_and_old_clients_end_as_they_asked(site: Site) -> None:
    with site.proxy.connect("web") as client:
        client.sendall(b"GET /page HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        # The reply ends with a FIN.
        assert read_exactly(client, 10_000).endswith(b"\r\n\r\na page\n")
    assert site.curl("--http1.0", site.url("page"), site.url("page")).stdout == "a page\n" * 2


def test_clients_are_told_of_the_close_that_they_asked_for(site: Site) -> None:
    for path in ["page", "name", "nothing", "none"]:
        client = site.client()
        client.request("GET", f"/{path}", headers={"Connection": "close"})
        reply = client.getresponse()
        assert reply.will_close and reply.getheader("Connection") == "close", path
        reply.read()
        client.close()
        # curl prints this line when the reply announces the close.
        said = site.curl("-v", "-H", "Connection: close", site.url(path), site.url(path)).stderr
        assert len(re.findall(r"\* (Closing|shutting down) connection", said)) == 2, said
        assert "keep-alive" not in said.lower(), said
    # The server connections outlived all of them, and replies to other clients announce no close.
    said = site.curl("-v", site.url("page"), site.url("page")).stderr
    assert "* Re-using existing " in said and "Connection: close" not in said, said
    assert site.new_connections() <= _WORKERS


def test_close_by_the_server_closes_the_clients_connection(cluster: Cluster) -> None:
    site = Site(cluster, keepalive_requests=1)
    client = site.client()
    for _ in range(3):
        client.request("GET", "/page")
        reply = client.getresponse()
        assert reply.will_close and reply.getheader("Connection") == "close"
        assert reply.read() == b"a page\n"
        assert client.sock is None
    assert site.new_connections() == 3


@pytest.mark.parametrize(
    "how",
    [
        pytest.param([], id="length"),
        pytest.param(["-H", "Transfer-Encoding: chunked"], id="chunked"),
        pytest.param(["-H", "Expect: 100-continue"], id="expect"),
        pytest.param(["-H", "Expect:"], id="at_once"),
        pytest.param(["-H", "Transfer-Encoding: chunked", "-H", "Expect: 100-continue"], id="chunked_expect"),
    ],
)
def test_large_bodies_arrive_whole(site: Site, cluster: Cluster, how: list[str]) -> None:
    source, target = cluster.path("source"), cluster.path("target")
    source.write_bytes(os.urandom(_LARGE_BYTES))
    # One connection carries the upload, the download and a small request after them.
    said = site.curl(
        "-v",
        *how,
        "-T",
        source,
        site.url("put/large"),
        "--next",
        "-sS",
        "-o",
        target,
        site.url("put/large"),
        "--next",
        "-sS",
        site.url("name"),
    )
    assert said.stdout == "nginx0"
    assert digest(site.server.www / "put" / "large") == digest(source) == digest(target)
    assert "201 Created" in said.stderr
    if "Expect: 100-continue" in how:
        assert "100 Continue" in said.stderr
    assert site.proxy.metric("proxy_clients_accepted_total") == 1


def test_chunked_replies_arrive_whole(site: Site, cluster: Cluster) -> None:
    words = random.Random(1).choices([f"word{i} " for i in range(1000)], k=500_000)
    (site.server.www / "words").write_text("".join(words))
    said = site.curl(
        "-v", "--compressed", "-o", cluster.path("target"), site.url("zipped/words"), "--next", "-sS", site.url("name")
    )
    assert "Transfer-Encoding: chunked" in said.stderr
    assert cluster.path("target").read_text() == "".join(words)
    assert said.stdout == "nginx0"


def test_bodies_of_many_clients_do_not_mix(site: Site) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")

    def work(number: int) -> None:
        numbers = random.Random(seed + number)
        client = site.client()
        for i in range(5 if SANITIZER else 15):
            body = numbers.randbytes(numbers.choice([0, 1, 1000, 60_000, 70_000, 500_000]))
            # An iterator has no length, so the body is chunked.
            client.request("PUT", f"/put/{number}", body=iter([body, b""]) if i % 2 else body)
            reply = client.getresponse()
            assert (reply.status, reply.read()) == (201 if i == 0 else 204, b"")
            client.request("GET", f"/put/{number}")
            reply = client.getresponse()
            assert (reply.status, reply.read()) == (200, body)
        client.close()

    Crowd(12, work).join()
    assert site.new_connections() <= _WORKERS * _SHARED_CONNECTIONS


def test_body_that_the_server_refuses_in_the_middle_is_answered(site: Site, cluster: Cluster) -> None:
    source = cluster.path("source")
    source.write_bytes(os.urandom(_LARGE_BYTES))
    # The server answers 413 and closes after the request's head, while the client is still sending.
    for _ in range(10):
        said = site.curl(
            "-o", "/dev/null", "-w", "%{http_code}", "-H", "Expect:", "-T", source, site.url("small/x"), check=False
        )
        assert said.stdout == "413", said.stderr
    # A client that expects 100-continue sends no byte of the body.
    said = site.curl(
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{size_upload}",
        "-H",
        "Expect: 100-continue",
        "-T",
        source,
        site.url("small/x"),
        check=False,
    )
    assert said.stdout == "413 0", said.stderr
    assert site.ask(site.client()) == (200, "nginx0")


def test_server_that_dies_between_requests_costs_no_request(cluster: Cluster) -> None:
    site = Site(cluster, servers=2)
    client = site.client()
    names = set()

    def both_have_answered() -> bool:
        names.add(site.ask(client)[1])
        return len(names) == 2

    eventually("both have answered", both_have_answered)
    site.server.process.kill()
    for _ in range(50):
        assert site.ask(client) == (200, "nginx1")
    site.server.start()
    eventually("it is used again", lambda: site.ask(client) == (200, "nginx0"))
    # The client kept its one connection.
    assert site.proxy.metric("proxy_clients_accepted_total") == 1
    client.close()


def test_server_that_closes_idle_connections_is_asked_on_new_ones(cluster: Cluster) -> None:
    site = Site(cluster, keepalive_timeout="100ms")
    client = site.client()
    for _ in range(3):
        assert site.ask(client) == (200, "nginx0")
        eventually("it has closed it", lambda: site.proxy.metric("proxy_shared_connections") == 0)
    assert site.proxy.metric("proxy_clients_accepted_total") == 1
    assert site.new_connections() == 3
    client.close()


@pytest.mark.parametrize("idempotent", [False, True])
def test_request_in_flight_at_a_dying_server_is_resent_only_if_idempotent(cluster: Cluster, idempotent: bool) -> None:
    site = Site(cluster, idempotent=idempotent)
    client = site.client()
    assert site.ask(client) == (200, "nginx0")
    site.server.process.send(signal.SIGSTOP)
    client.request("GET", "/name")
    eventually("the request is in flight", lambda: site.proxy.metric("proxy_shared_requests_total") == 2)
    site.server.process.kill()
    if idempotent:
        site.server.start()
    reply = client.getresponse()
    # The proxy may resend only requests of an idempotent service.
    assert reply.status == (200 if idempotent else 502)
    assert reply.will_close == (not idempotent)
    reply.read()
    client.close()


@pytest.mark.parametrize("behind_nginx", [False, True], ids=["alone", "behind_nginx"])
def test_websocket_has_a_connection_of_its_own(cluster: Cluster, behind_nginx: bool) -> None:
    async def echo(peer: Any) -> None:
        async for message in peer:
            await peer.send(message)

    async def plain(first: Any, second: Any) -> Any:
        """Answers a plain request. The library passes path and headers, in newer versions connection and request."""
        old = isinstance(first, str)
        if (first if old else second.path) != "/socket/plain":
            return None
        return (http.HTTPStatus.OK, [], b"no socket\n") if old else first.respond(http.HTTPStatus.OK, "no socket\n")

    async def talk(url: str, number: int) -> None:
        async with websockets.connect(url, max_size=None) as client:
            for i in range(20):
                message = os.urandom(i * 5000) if i % 2 else f"{number}: {i}"
                await client.send(message)
                assert await client.recv() == message
            # To the proxy, the WebSocket is a plain byte stream that lasts until one end closes it.
            await (await client.ping())

    async def all_of_it() -> None:
        async with websockets.serve(echo, sock=listener, process_request=plain, max_size=None):
            await asyncio.gather(*[talk(url, number) for number in range(10)])
            # A request without an upgrade uses a shared connection.
            said = await asyncio.to_thread(run, [tool("curl"), "-sS", url.replace("ws", "http") + "plain"])
            assert said.stdout == "no socket\n"
            assert proxy.metric("proxy_shared_requests_total") == 1
            await asyncio.to_thread(eventually, "no client is left", lambda: proxy.metric("proxy_clients") == 0)

    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    nginx = Nginx(cluster, "nginx", more=_SOCKETS_BEHIND.format(port=port)) if behind_nginx else None
    cluster.add_controller({"web": message_service({"http1": {}}, nginx.address if nginx else f"127.0.0.1:{port}")})
    proxy = cluster.add_proxy(workers=_WORKERS)
    cluster.start()
    url = f"ws://127.0.0.1:{proxy.port('web')}/socket/"
    asyncio.run(asyncio.wait_for(all_of_it(), 60 * SLOWNESS))
    if nginx:

        def upgraded() -> set[str]:
            return {connection for connection, _, *what in nginx.requests() if what == ["GET", "/socket/", "101"]}

        # nginx logs a request once its connection has ended.
        eventually("nginx has logged all ten WebSockets", lambda: len(upgraded()) == 10)


def test_unsupported_upgrade_is_answered_and_its_client_goes_on(site: Site) -> None:
    client = site.client()
    for _ in range(3):
        client.request("GET", "/name", headers={"Connection": "Upgrade", "Upgrade": "websocket"})
        reply = client.getresponse()
        assert (reply.status, reply.read()) == (200, b"nginx0")
        assert site.ask(client) == (200, "nginx0")
    # A request to upgrade gets a dedicated connection, because only the server knows which protocol follows.
    assert site.proxy.metric("proxy_shared_requests_total") == 0
    client.close()
