"""Real redis-servers in `message` mode, with redis's own client and benchmark and Python's client library."""

import pathlib
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cluster import Cluster, message_service
from crowd import Crowd
from processes import run, tool
from redis_server import RedisServer
from waiting import SANITIZER, SLOWNESS, eventually

_WORKERS = 2
_SHARED_CONNECTIONS = 4  # the default, per worker and server
_PATIENCE_SECONDS = 30 * SLOWNESS


class Keeper:
    """A proxy in front of some redis-servers, and clients of it."""

    def __init__(self, cluster: Cluster, servers: int = 1, **options: Any) -> None:
        self.servers = [RedisServer(cluster, f"redis{i}") for i in range(servers)]
        cluster.add_controller(
            {"cache": message_service({"redis": {}}, *[server.address for server in self.servers], **options)}
        )
        self.proxy = cluster.add_proxy(workers=_WORKERS)
        cluster.start()
        self.server = self.servers[0]
        self._clients: list[redis.Redis] = []

    def client(self) -> Any:
        """Returns a client with one connection, for one thread, that connects with its first command."""
        self._clients.append(
            redis.Redis(
                port=self.proxy.port("cache"),
                max_connections=1,
                decode_responses=True,
                socket_timeout=_PATIENCE_SECONDS,
                retry=Retry(NoBackoff(), 0),  # newer versions of the library hide lost connections
            )
        )
        return self._clients[-1]

    def close(self) -> None:
        for client in self._clients:
            client.close()
            client.connection_pool.disconnect()

    def cli(self, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
        return run([tool("redis-cli"), "-p", self.proxy.port("cache"), *arguments], **options)

    def requests_under_way(self, server: RedisServer) -> float:
        return self.proxy.metric("proxy_endpoint_active_flows", endpoint=f"e{self.servers.index(server)}")


def process_state(pid: int) -> str:
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.fixture
def start_keeper(cluster: Cluster) -> Iterator[Callable[..., Keeper]]:
    started = []

    def start(**options: Any) -> Any:
        started.append(Keeper(cluster, **options))
        return started[-1]

    yield start
    for keeper in started:
        keeper.close()


@pytest.fixture
def keeper(start_keeper: Callable[..., Keeper]) -> Keeper:
    return start_keeper()


def test_a_hundred_clients_ride_on_a_few_connections(keeper: Keeper) -> None:
    clients = [keeper.client() for _ in range(100)]

    def work(number: int) -> None:
        mine = clients[number::10]
        for round_number in range(3 if SANITIZER else 10):
            for i, client in enumerate(mine):
                pipeline = client.pipeline(transaction=False)
                # The replies have different sizes and types.
                for key in range(20):
                    value = f"{number}-{i}-{round_number}-{key}-" + "v" * (key * 37)
                    pipeline.set(f"k{number}:{i}:{key}", value)
                    pipeline.get(f"k{number}:{i}:{key}")
                    pipeline.echo(value)
                    pipeline.lrange(f"none{number}", 0, -1)
                    pipeline.strlen(f"k{number}:{i}:{key}")
                replies = pipeline.execute()
                for key in range(20):
                    value = f"{number}-{i}-{round_number}-{key}-" + "v" * (key * 37)
                    assert replies[5 * key : 5 * key + 5] == [True, value, value, [], len(value)]

    Crowd(10, work).join()
    assert keeper.proxy.metric("proxy_clients") == 100
    assert keeper.server.connections() <= _WORKERS * _SHARED_CONNECTIONS
    assert keeper.proxy.metric("proxy_shared_connections") == keeper.server.connections()


# Newer libraries introduce themselves on every connection. The proxy answers; this server is too old to know SETINFO.
def test_libraries_that_introduce_themselves_are_shared(keeper: Keeper) -> None:
    clients = [keeper.client() for _ in range(50)]
    for client in clients:
        assert client.execute_command("CLIENT", "SETINFO", "LIB-NAME", "redis-py") in ("OK", b"OK")
        assert client.client_setname("worker")
        assert client.execute_command("CLIENT", "TRACKING", "OFF") in ("OK", b"OK")
        assert client.echo("here") == "here"
    assert keeper.server.connections() <= _WORKERS * _SHARED_CONNECTIONS


def test_error_replies_reach_the_client_that_caused_them(keeper: Keeper) -> None:
    good, bad = keeper.client(), keeper.client()
    bad.set("text", "abc")
    for i in range(50):
        with pytest.raises(redis.ResponseError, match="not an integer"):
            bad.incr("text")
        with pytest.raises(redis.ResponseError, match="unknown command"):
            bad.execute_command("NONSENSE")
        assert good.incr("number") == i + 1


def test_transactions_of_many_clients_do_not_mix(keeper: Keeper) -> None:
    rounds = 10 if SANITIZER else 25

    def work(number: int) -> None:
        client = keeper.client()
        for i in range(rounds):
            # Repeats WATCH, GET, MULTI, SET, EXEC until no other client wrote in between.
            client.transaction(
                lambda pipe: (lambda seen: (pipe.multi(), pipe.set("sum", seen + 1)))(int(pipe.get("sum") or 0)), "sum"
            )
            # Sends MULTI to EXEC in one write.
            replies = client.pipeline(transaction=True).incr(f"own{number}").echo(f"{number}").incr("all").execute()
            assert replies[:2] == [i + 1, f"{number}"]

    bystander = keeper.client()
    crowd = Crowd(8, work)
    for i in range(200):
        # On a connection inside a transaction the answer would be QUEUED.
        assert bystander.echo(f"{i}") == f"{i}"
    crowd.join()
    assert bystander.mget("sum", "all") == [f"{8 * rounds}"] * 2


def test_blocking_pops_do_not_delay_other_clients(keeper: Keeper) -> None:
    heard = {}

    def wait_for_one(number: int) -> None:
        client = keeper.client()
        heard[number] = client.blpop(f"list{number}", timeout=_PATIENCE_SECONDS)
        client.connection_pool.disconnect()

    crowd = Crowd(10, wait_for_one)

    def blocked() -> bool:
        return "blocked_clients:10" in keeper.server.cli("info", "clients").stdout

    eventually("all wait at the server", blocked)
    other = keeper.client()
    for i in range(100):
        assert other.echo(f"{i}") == f"{i}"
    for number in range(10):
        other.rpush(f"list{number}", f"for {number}")
    crowd.join()
    assert heard == {number: (f"list{number}", f"for {number}") for number in range(10)}
    # A dedicated connection closes with its client.
    eventually("only shared ones are left", lambda: keeper.server.connections() <= _WORKERS * _SHARED_CONNECTIONS)


def test_subscribers_hear_all_and_only_what_they_asked_for(keeper: Keeper) -> None:
    subscribers = []
    for number in range(5):
        subscriber = keeper.client().pubsub(ignore_subscribe_messages=True)
        subscriber.subscribe(f"news{number}")
        subscribers.append(subscriber)
    eventually(
        "all have subscribed", lambda: keeper.server.cli("pubsub", "channels").stdout.count("news") == len(subscribers)
    )
    publisher = keeper.client()
    for i in range(100):
        assert publisher.publish(f"news{i % 5}", f"number {i}") == 1
    for number, subscriber in enumerate(subscribers):
        heard: list[tuple[str, str]] = []
        while len(heard) < 20:
            message = subscriber.get_message(timeout=_PATIENCE_SECONDS)
            if message is not None:
                heard.append((message["channel"], message["data"]))
        assert heard == [(f"news{number}", f"number {i}") for i in range(number, 100, 5)]
        subscriber.close()


def test_resp3_of_one_client_is_not_forced_on_others(keeper: Keeper) -> None:
    other = keeper.client()
    other.hset("meter", mapping={"volt": "230", "ampere": "16"})
    maps = keeper.cli("-3", "--no-raw", "hgetall", "meter").stdout
    assert '1# "volt" => "230"' in maps, maps
    # The server pushes an invalidation message for a key that redis-cli has read.
    said = keeper.cli("-3", "--show-pushes", "yes", input="client tracking on\nget seen\nset seen 1\nping\n").stdout
    assert "invalidate" in said and "PONG" in said, said
    # RESP3 would return a map; this RESP2 client gets a list of pairs.
    assert other.execute_command("HGETALL", "meter") == {"volt": "230", "ampere": "16"}
    with keeper.proxy.connect("cache") as client:
        client.sendall(b"HGETALL meter\r\n")
        assert client.recv(2) == b"*4"


def test_benchmark_with_pipelines(keeper: Keeper) -> None:
    # A multiple of the pipeline's depth, because redis-benchmark fills the last pipeline.
    requests = 400 * 16 if SANITIZER else 5_000 * 16
    keeper.server.cli("config", "resetstat")
    report = run(
        [
            tool("redis-benchmark"),
            "-p",
            keeper.proxy.port("cache"),
            "-t",
            "set,get",
            "-n",
            requests,
            "-c",
            100,
            "-P",
            16,
            "-r",
            1000,
            "--csv",
        ]
    ).stdout
    # -k 0 uses one connection per request.
    report += run(
        [
            tool("redis-benchmark"),
            "-p",
            keeper.proxy.port("cache"),
            "-t",
            "ping_mbulk",
            "-n",
            requests // 10,
            "-c",
            20,
            "-k",
            0,
            "--csv",
        ]
    ).stdout
    print(report)
    calls = keeper.server.calls()
    assert calls["set"] == requests and calls["get"] == requests and calls["ping"] == requests // 10
    assert keeper.server.connections() <= _WORKERS * _SHARED_CONNECTIONS


class Talkers:
    """Clients that ask without pause, each for its own keys, until they are stopped.

    A client whose connection ends reconnects.
    """

    def __init__(self, keeper: Keeper, count: int) -> None:
        self._keeper = keeper
        self._stop = threading.Event()
        self.errors: list[redis.RedisError] = []
        self.wrong: list[tuple[str, list[object]]] = []
        self.answers = 0
        self._crowd = Crowd(count, self._talk)

    def stop(self) -> None:
        self._stop.set()
        self._crowd.join()

    def _talk(self, number: int) -> None:
        client = None
        asked = 0
        while not self._stop.is_set():
            asked += 1
            if client is None:
                client = self._keeper.client()
            try:
                self._ask(client, number, f"{number}:{asked}:" + "x" * (asked % 50))
            except redis.RedisError as error:
                self.errors.append(error)
                client.connection_pool.disconnect()
                client = None

    def _ask(self, client: redis.Redis, number: int, word: str) -> None:
        pipeline = client.pipeline(transaction=False)
        replies = pipeline.echo(word).set(f"own{number}", word).echo(word[::-1]).get(f"own{number}").execute()
        self.answers += 1
        # Requests are balanced over two servers that do not share data.
        own = replies[3] is None or replies[3].startswith(f"{number}:")
        if replies[:3] != [word, True, word[::-1]] or not own:
            self.wrong.append((word, replies))


@pytest.mark.parametrize("idempotent", [False, True])
def test_killed_server_costs_errors_and_never_a_wrong_answer(
    start_keeper: Callable[..., Keeper], idempotent: bool
) -> None:
    keeper = start_keeper(servers=2, idempotent=idempotent)
    dying = keeper.servers[1]
    talkers = Talkers(keeper, 16)
    eventually("both servers answer", lambda: all(server.calls().get("echo", 0) > 100 for server in keeper.servers))
    assert not talkers.errors
    # SIGSTOP first, so that the server dies with unanswered requests.
    dying.process.send(signal.SIGSTOP)
    eventually("it has stopped", lambda: process_state(dying.process.pid) == "T")
    # The proxy reads what the server sent before within the first scrapes.
    eventually("requests wait for it", lambda: all(keeper.requests_under_way(dying) > 0 for _ in range(5)))
    dying.process.kill()
    answers = talkers.answers
    eventually("the others go on", lambda: talkers.answers > answers + 200)
    dying.start()
    eventually("it is used again", lambda: dying.calls().get("echo", 0) > 100)
    talkers.stop()
    assert not talkers.wrong
    print(f"{talkers.answers} answers, {len(talkers.errors)} errors: {talkers.errors[:2]}")
    if idempotent:
        assert not talkers.errors
    else:
        assert talkers.errors
