"""Clients of Redis that begin with HELLO or AUTH, as today's libraries do, before real redis-servers.

Debian's redis-py is older and sends AUTH only, so `Resp3Client` says what redis-py 8 says.
"""

import contextlib
import pathlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from cluster import Cluster, Proxy, message_service
from redis_server import RedisServer
from waiting import SLOWNESS, eventually

_WORKERS = 2
_SHARED_CONNECTIONS = 4  # the default, per worker, server and version
_MOST_CONNECTIONS = _WORKERS * _SHARED_CONNECTIONS
_PATIENCE_SECONDS = 30 * SLOWNESS
_PASSWORD = "correct horse, battery staple"
# Newer versions of the library translate the server's WRONGPASS.
_REFUSALS = (redis.ResponseError, redis.AuthenticationError)
_WRONG_PASSWORD = "WRONGPASS|invalid username-password pair"


class Resp3Client:
    """A connection that begins like redis-py 8: HELLO 3, maintenance notifications, introduction."""

    def __init__(self, port: int, user: str = "", password: str = "") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_SECONDS)
        self._file = self._socket.makefile("rb")
        self.hello = self.ask("HELLO", "3", *(["AUTH", user, password] if password else []))
        if isinstance(self.hello, dict):
            with pytest.raises(redis.ResponseError, match="unknown subcommand"):
                self.ask("CLIENT", "MAINT_NOTIFICATIONS", "ON", "moving-endpoint-type", "internal-ip")
            # The library ignores errors of servers that do not know it.
            with contextlib.suppress(redis.ResponseError):
                self.ask("CLIENT", "SETINFO", "LIB-NAME", "redis-py")

    def ask(self, *words: str) -> Any:
        return self.ask_together(words)[0]

    def ask_together(self, *commands: tuple[str, ...]) -> list[Any]:
        """Sends the commands in one write and returns their replies; raises the first error."""
        text = b""
        for words in commands:
            parts = [word.encode() for word in words]
            text += b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        self._socket.sendall(text)
        return [self.read() for _ in commands]

    def read(self) -> Any:
        line = self._file.readline()
        assert line.endswith(b"\r\n"), f"the connection ended: {line!r}"
        kind, rest = line[:1], line[1:-2].decode()
        if kind == b"-":
            raise redis.ResponseError(rest)
        if kind == b"_":
            return None
        if kind == b"$":
            return self._file.read(int(rest) + 2)[:-2].decode()
        if kind == b"%":
            return {self.read(): self.read() for _ in range(int(rest))}
        if kind in b"*~>":
            return [self.read() for _ in range(int(rest))]
        return int(rest) if kind == b":" else rest

    def close(self) -> None:
        self._file.close()
        self._socket.close()


class Clients:
    """Clients of one proxy's service `cache`, which are closed after the test."""

    def __init__(self, proxy: Proxy) -> None:
        self.port = proxy.port("cache")
        self._resp2: list[Any] = []
        self._resp3: list[Resp3Client] = []

    def resp2(self, **options: Any) -> Any:
        """Returns a client of Debian's library, with one connection."""
        self._resp2.append(
            redis.Redis(
                port=self.port,
                max_connections=1,
                decode_responses=True,
                socket_timeout=_PATIENCE_SECONDS,
                **options,
            )
        )
        return self._resp2[-1]

    def resp3(self, user: str = "", password: str = "") -> Resp3Client:
        self._resp3.append(Resp3Client(self.port, user, password))
        return self._resp3[-1]

    def close(self) -> None:
        for client in self._resp2:
            client.close()
            client.connection_pool.disconnect()
        for client in self._resp3:
            client.close()


def start(cluster: Cluster, server: RedisServer, codec: dict[str, Any], **options: Any) -> Proxy:
    cluster.add_controller({"cache": message_service({"redis": codec}, server.address, **options)})
    proxy = cluster.add_proxy(workers=_WORKERS)
    cluster.start()
    return proxy


@pytest.fixture
def password_file(cluster: Cluster) -> pathlib.Path:
    file = cluster.path("cache.password")
    file.write_text(_PASSWORD + "\n")
    return file


@pytest.fixture
def closing() -> Iterator[list[Clients]]:
    """Yields a list of clients that are closed after the test."""
    opened: list[Clients] = []
    yield opened
    for clients in opened:
        clients.close()


def clients_of(proxy: Proxy, closing: list[Clients]) -> Clients:
    closing.append(Clients(proxy))
    return closing[-1]


def test_clients_of_both_versions_share_connections_and_get_their_own_encoding(
    cluster: Cluster, closing: list[Clients]
) -> None:
    server = RedisServer(cluster, "redis")
    clients = clients_of(start(cluster, server, {}), closing)
    old = [clients.resp2() for _ in range(30)]
    new = [clients.resp3() for _ in range(30)]
    assert new[0].hello["server"] == "redis" and new[0].hello["proto"] == 3 and new[0].hello["role"] == "master"
    assert f"redis_version:{new[0].hello['version']}" in server.cli("info", "server").stdout
    old[0].hset("meter", mapping={"volt": "230", "ampere": "16"})
    for i in range(5 * len(old)):
        resp2, resp3 = old[i % len(old)], new[i % len(new)]
        # RESP2 has no map and no null of its own.
        assert resp2.execute_command("ECHO", f"{i}") == f"{i}"
        with socket.create_connection(("127.0.0.1", clients.port), timeout=_PATIENCE_SECONDS) as raw:
            raw.sendall(b"HGETALL meter\r\nGET nothing\r\nQUIT\r\n")
            assert raw.makefile("rb").read().replace(b"\r\n", b" ").endswith(b"$-1 +OK ")
        assert resp3.ask_together(("HGETALL", "meter"), ("GET", "nothing"), ("ECHO", f"{i}")) == [
            {"volt": "230", "ampere": "16"},
            None,
            f"{i}",
        ]
    assert server.connections() <= 2 * _MOST_CONNECTIONS


def test_dedicated_connection_keeps_the_version_of_its_client(cluster: Cluster, closing: list[Clients]) -> None:
    server = RedisServer(cluster, "redis")
    clients = clients_of(start(cluster, server, {}), closing)
    client, other = clients.resp3(), clients.resp3()
    assert client.ask("SUBSCRIBE", "news") == ["subscribe", "news", 1]
    assert client.ask("ECHO", "while subscribed") == "while subscribed"  # RESP3 only
    assert other.ask("PUBLISH", "news", "hello") == 1
    assert client.read() == ["message", "news", "hello"]
    assert other.ask("HGETALL", "none") == {}


def test_version_can_change_on_one_connection(cluster: Cluster, closing: list[Clients]) -> None:
    server = RedisServer(cluster, "redis")
    client = clients_of(start(cluster, server, {}), closing).resp3()
    assert client.ask("HGETALL", "none") == {}
    assert client.ask("HELLO", "2")[:2] == ["server", "redis"]
    assert client.ask("HGETALL", "none") == []
    assert client.ask("HELLO")[4:6] == ["proto", 2]
    assert client.ask("HELLO", "3")["proto"] == 3
    with pytest.raises(redis.ResponseError, match="NOPROTO"):
        client.ask("HELLO", "4")
    assert client.ask("HGETALL", "none") == {}


def test_clients_with_the_password_share_connections(
    cluster: Cluster, password_file: pathlib.Path, closing: list[Clients]
) -> None:
    server = RedisServer(cluster, "redis", password=_PASSWORD)
    proxy = start(cluster, server, {"auth": {"password_file": str(password_file)}})
    clients = clients_of(proxy, closing)
    old = [clients.resp2(password=_PASSWORD, client_name="worker") for _ in range(30)]
    new = [clients.resp3("default", _PASSWORD) for _ in range(30)]
    for i in range(60):
        assert old[i % len(old)].incr("count") == 2 * i + 1
        assert new[i % len(new)].ask("INCR", "count") == 2 * i + 2
    assert server.connections() <= 2 * _MOST_CONNECTIONS
    # A transaction needs a connection that the proxy authenticates for this client alone.
    assert old[0].pipeline(transaction=True).incr("own").incr("own").execute() == [1, 2]
    assert new[0].ask("SUBSCRIBE", "news") == ["subscribe", "news", 1]
    for secret in cluster.folder.iterdir():
        if secret.is_file() and secret != password_file and not secret.name.startswith("redis"):
            assert _PASSWORD not in secret.read_text(errors="replace"), secret
    assert _PASSWORD not in proxy.log()


def test_clients_without_the_password_reach_no_server(
    cluster: Cluster, password_file: pathlib.Path, closing: list[Clients]
) -> None:
    server = RedisServer(cluster, "redis", password=_PASSWORD)
    clients = clients_of(start(cluster, server, {"auth": {"password_file": str(password_file)}}), closing)
    before = sum(server.calls().values())
    with pytest.raises(redis.AuthenticationError):
        clients.resp2().get("k")
    with pytest.raises(_REFUSALS, match=_WRONG_PASSWORD):
        clients.resp2(password="guess").get("k")
    with pytest.raises(redis.ResponseError, match="NOAUTH"):
        clients.resp3()
    with pytest.raises(_REFUSALS, match=_WRONG_PASSWORD):
        clients.resp3("default", "guess")
    with pytest.raises(_REFUSALS, match=_WRONG_PASSWORD):
        clients.resp3("admin", _PASSWORD)
    # Each question is a call itself, and needs AUTH.
    assert sum(server.calls().values()) - before <= 2


def test_user_of_an_access_list_shares_connections_with_its_rights_only(
    cluster: Cluster, password_file: pathlib.Path, closing: list[Clients]
) -> None:
    server = RedisServer(cluster, "redis", password="of the default user")
    server.cli("acl", "setuser", "app", "on", f">{_PASSWORD}", "~app:*", "+@all", "-@dangerous")
    proxy = start(cluster, server, {"auth": {"user": "app", "password_file": str(password_file)}})
    clients = clients_of(proxy, closing)
    old = [clients.resp2(username="app", password=_PASSWORD) for _ in range(20)]
    new = [clients.resp3("app", _PASSWORD) for _ in range(20)]
    for resp2, resp3 in zip(old, new, strict=True):
        assert resp2.set("app:k", "v") and resp3.ask("GET", "app:k") == "v"
        with pytest.raises(redis.ResponseError, match="NOPERM|No permissions|no permissions"):
            resp2.set("other", "v")
    assert server.connections() <= 2 * _MOST_CONNECTIONS
    with pytest.raises(_REFUSALS, match=_WRONG_PASSWORD):
        clients.resp2(password="of the default user").get("app:k")


def test_server_that_asks_for_a_password_itself_checks_its_clients(cluster: Cluster, closing: list[Clients]) -> None:
    server = RedisServer(cluster, "redis", password=_PASSWORD)
    clients = clients_of(start(cluster, server, {}), closing)
    assert clients.resp2(password=_PASSWORD).set("k", "v")
    client = clients.resp3("default", _PASSWORD)
    assert client.ask("GET", "k") == "v"
    with pytest.raises(redis.ResponseError, match="NOAUTH HELLO must be called"):
        clients.resp3()


def test_service_without_its_password_file_is_refused_until_the_file_is_there(
    cluster: Cluster, password_file: pathlib.Path, closing: list[Clients]
) -> None:
    password_file.unlink()
    server = RedisServer(cluster, "redis", password=_PASSWORD)
    other = RedisServer(cluster, "other")
    cluster.add_controller(
        {
            "cache": message_service({"redis": {"auth": {"password_file": str(password_file)}}}, server.address),
            "open": message_service({"redis": {}}, other.address),
        }
    )
    proxy = cluster.add_proxy(workers=_WORKERS)
    cluster.controller.start()
    proxy.start()
    proxy.wait_for_line(r"service cache.*refused.*cannot read \S+cache.password: No such file")
    with proxy.connect("open") as client:
        client.sendall(b"PING\r\n")
        assert client.recv(7) == b"+PONG\r\n"
    password_file.write_text(_PASSWORD)
    cluster.ctl("reload")
    assert clients_of(proxy, closing).resp2(password=_PASSWORD).set("k", "v")


def test_new_password_is_in_use_after_a_reload(
    cluster: Cluster, password_file: pathlib.Path, closing: list[Clients]
) -> None:
    server = RedisServer(cluster, "redis", password=_PASSWORD)
    proxy = start(cluster, server, {"auth": {"password_file": str(password_file)}})
    clients = clients_of(proxy, closing)
    assert clients.resp2(password=_PASSWORD).set("k", "v")
    server.cli("acl", "setuser", "default", ">another")
    password_file.write_text("another\n")
    cluster.ctl("reload")

    def takes_the_new_one() -> bool:
        try:
            return bool(clients.resp2(password="another").get("k") == "v")
        except redis.ResponseError:
            return False

    eventually("the proxy has the new password", takes_the_new_one)
    with pytest.raises(_REFUSALS, match=_WRONG_PASSWORD):
        clients.resp2(password=_PASSWORD).get("k")
