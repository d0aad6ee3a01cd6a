"""Clients of Redis that begin with HELLO or AUTH, as today's libraries do, before real redis-servers.

Debian's redis-py is older and sends AUTH only, so `Resp3Client` says what redis-py 8 says.
"""

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from cluster import Cluster, Proxy, message_service
from redis_server import RedisServer
from waiting import SLOWNESS

_WORKERS = 2
_SHARED_CONNECTIONS = 4  # the default, per worker, server and version
_MOST_CONNECTIONS = _WORKERS * _SHARED_CONNECTIONS
_PATIENCE_SECONDS = 30 * SLOWNESS
_PASSWORD = "correct horse, battery staple"


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


def test_server_that_asks_for_a_password_itself_checks_its_clients(cluster: Cluster, closing: list[Clients]) -> None:
    server = RedisServer(cluster, "redis", password=_PASSWORD)
    clients = clients_of(start(cluster, server, {}), closing)
    assert clients.resp2(password=_PASSWORD).set("k", "v")
    client = clients.resp3("default", _PASSWORD)
    assert client.ask("GET", "k") == "v"
    with pytest.raises(redis.ResponseError, match="NOAUTH HELLO must be called"):
        clients.resp3()
