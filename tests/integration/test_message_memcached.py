"""A real memcached in `message` mode with libmemcached's clients.

The `memcached` codec knows its text protocol and meta commands. Without it, commands of the text protocol that get one
line for one line use `delimiter`; the binary protocol uses `length_field` with the ids that it carries.
"""

import random
import socket
import struct
import threading
from typing import Any

import pylibmc
import pytest

from cluster import Cluster, message_service
from crowd import Crowd
from ports import reserve_port
from processes import tool
from traffic import read_exactly
from waiting import SANITIZER, SLOWNESS, eventually

_WORKERS = 2
_SHARED_CONNECTIONS = 4  # the default, per worker and server
_CLIENTS = 16
_ROUNDS = 15 if SANITIZER else 60
_REPLY_TIMEOUT_SECONDS = 2
# The binary protocol has a header of 24 bytes with the length of the rest and `opaque`, which the server repeats.
_BINARY = {"length_field": {"offset": 8, "length": 4, "adjustment": 12, "id_offset": 12, "id_length": 4}}
_GET = 0x00
_GET_QUIETLY = 0x09
_NOT_FOUND = 1


class Memcached:
    """One server, reached directly and through a proxy: `text` (memcached), `lines` (delimiter), `frames` (binary)."""

    def __init__(self, cluster: Cluster) -> None:
        self.port = reserve_port()
        cluster.add_process(
            "memcached", [tool("memcached"), "-l", "127.0.0.1", "-p", self.port, "-U", 0, "-u", "root"]
        ).start()
        # libmemcached's client would avoid a server for seconds after one refused connect.
        eventually("memcached listens", self._listens)
        self.direct = client_of(self.port)
        address = f"127.0.0.1:{self.port}"
        cluster.add_controller(
            {
                "text": message_service({"memcached": {}}, address),
                "lines": message_service(
                    {
                        "delimiter": {
                            "delimiter": "\r\n",
                            "shared_prefixes": ["incr ", "decr ", "touch ", "delete ", "version\r\n"],
                        }
                    },
                    address,
                ),
                "frames": message_service(
                    _BINARY, address, max_message_bytes=1024 * 1024, reply_timeout=f"{_REPLY_TIMEOUT_SECONDS}s"
                ),
            }
        )
        self.proxy = cluster.add_proxy(workers=_WORKERS)
        cluster.start()
        # A binary client's "quit" ends the connection that carries it, which other clients share. So these clients stay
        # until the end of the test.
        self._staying: list[Any] = []

    def _listens(self) -> bool:
        socket.create_connection(("127.0.0.1", self.port)).close()
        return True

    def text_client(self, service: str = "lines") -> Any:
        return client_of(self.proxy.port(service))

    def binary_client(self) -> Any:
        self._staying.append(client_of(self.proxy.port("frames"), binary=True))
        return self._staying[-1]

    def connections(self) -> int:
        """Returns how many connections the server has besides the one that asks."""
        ((_, stats),) = self.direct.get_stats()
        return int({str(key): value for key, value in stats.items()}["curr_connections"]) - 1


def client_of(port: int, binary: bool = False) -> Any:
    milliseconds = 30_000 * SLOWNESS
    return pylibmc.Client(
        [f"127.0.0.1:{port}"],
        binary=binary,
        behaviors={
            "connect_timeout": milliseconds,
            "send_timeout": milliseconds * 1000,
            "receive_timeout": milliseconds * 1000,
        },
    )


def binary_get(opcode: int, key: bytes, opaque: int) -> bytes:
    return struct.pack("!BBHBBHIIQ", 0x80, opcode, len(key), 0, 0, 0, len(key), opaque, 0) + key


def read_binary_reply(client: socket.socket) -> tuple[int, int, bytes]:
    """Returns (status, opaque, value)."""
    header = read_exactly(client, 24)
    assert len(header) == 24, "closed"
    _, _, key_size, extras_size, _, status, size, opaque, _ = struct.unpack("!BBHBBHIIQ", header)
    return status, opaque, read_exactly(client, size)[extras_size + key_size :]


@pytest.fixture
def memcached(cluster: Cluster) -> Memcached:
    return Memcached(cluster)


def test_all_commands_of_libmemcached_share_connections(memcached: Memcached) -> None:
    before = memcached.connections()
    memcached.direct.set("all", "0")

    def work(number: int) -> None:
        for i in range(_ROUNDS):
            client = memcached.text_client("text")
            key, value = f"key{number}", f"{number} {i} END\r\n" * (i % 50 + 1)
            assert client.set(key, value) and client.get(key) == value
            assert client.append(key, "!") and client.prepend(key, "?") and client.get(key) == f"?{value}!"
            assert client.replace(key, "new") and not client.add(key, "too late")
            assert client.set_multi({f"a{number}": "1", f"b{number}": value}) == []
            assert client.get_multi([f"a{number}", "none", f"b{number}"]) == {f"a{number}": "1", f"b{number}": value}
            assert client.incr("all") > 0 and client.incr(f"a{number}", 41) == 42 and client.decr(f"a{number}") == 41
            assert client.touch(key, 1000)
            assert client.delete(key) and not client.delete(key)
            assert client.get(key) is None
            # It says "quit", which must not end the connection that others share.
            client.disconnect_all()

    Crowd(_CLIENTS, work).join()
    assert memcached.direct.get("all") == str(_CLIENTS * _ROUNDS)
    assert memcached.connections() - before <= _WORKERS * _SHARED_CONNECTIONS
    assert memcached.proxy.metric("proxy_shared_protocol_errors_total") == 0


def random_commands(numbers: random.Random, prefix: str) -> bytes:
    """Returns commands whose replies depend only on those with the same prefix."""

    def command() -> str:
        key = f"{prefix}{numbers.randrange(6)}"
        value = numbers.choice(["", "5", "END", "x\r\nmn\r\n", "v" * numbers.randrange(3000)])
        noreply = numbers.choice(["", "", " noreply"])
        quiet = numbers.choice(["", " q", " k q O7", " k"])
        store = numbers.choice(["set", "add", "replace", "append", "prepend"])
        mode = numbers.choice(["", " ME", " MA", " MP", " MR", " MS", " C999999999999"])
        return numbers.choice(
            [
                f"get {key} {prefix}1 none\r\n",
                f"gat 0 {key} \r\n",
                f"{store} {key} 7 0 {len(value)}{noreply}\r\n{value}\r\n",
                f"cas {key} 0 0 {len(value)} 999999999999{noreply}\r\n{value}\r\n",
                f"delete {key}{noreply}\r\n",
                f"incr {key} 3{noreply}\r\n",
                f"touch {key} 0{noreply}\r\n",
                "version\r\n",
                f"mg {key} v s f{quiet}\r\n",
                f"mg {key}{quiet}\r\n",
                f"ms {key} {len(value)}{quiet}{mode}\r\n{value}\r\n",
                f"md {key}{quiet}\r\n",
                f"ma {key} v{quiet}{numbers.choice(['', ' D2', ' MD'])}\r\n",
                f"ma {key} v N0 J3\r\n",
                "mn\r\n",
            ]
        )

    # The server shows the value of the counter that it makes, and hides that of the one that it has.
    quiet_counter = f"ma {prefix}new q v N0 J3\r\n"
    return ("".join(command() for _ in range(200)) + 2 * quiet_counter + f"mg {prefix}new v\r\n").encode()


def replies_to(port: int, commands: bytes) -> bytes:
    """Returns what a client that sends all commands at once gets until the server closes behind its `quit`."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        sending = threading.Thread(target=client.sendall, args=(commands + b"quit\r\n",))
        sending.start()
        replies = b"".join(iter(lambda: client.recv(65536), b""))
        sending.join()
        return replies


def test_quiet_and_noreply_commands_get_the_bytes_that_the_server_itself_sends(memcached: Memcached) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")

    def work(number: int) -> None:
        for i in range(10):
            through = random_commands(random.Random(seed + 100 * number + i), f"p{number:02}:{i}:")
            direct = through.replace(f"p{number:02}:".encode(), f"d{number:02}:".encode())
            expected = replies_to(memcached.port, direct).replace(f"d{number:02}:".encode(), f"p{number:02}:".encode())
            assert replies_to(memcached.proxy.port("text"), through) == expected

    Crowd(_CLIENTS, work).join()
    assert memcached.proxy.metric("proxy_shared_protocol_errors_total") == 0


def test_error_for_a_noreply_command_reaches_nobody(memcached: Memcached) -> None:
    def disturb(number: int) -> None:
        with memcached.proxy.connect("text") as client:
            # memcached answers the flag with an error although it is quiet, and the text is no number.
            client.sendall(f"set text{number} 0 0 1 noreply\r\nx\r\n".encode())
            for _ in range(_ROUNDS):
                client.sendall(f"incr text{number} 1 noreply\r\nma text{number} q\r\n".encode())
                assert read_exactly(client, 62) == b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"

    def count(number: int) -> None:
        with memcached.proxy.connect("text") as client:
            client.sendall(f"set number{number} 0 0 1\r\n0\r\n".encode())
            assert read_exactly(client, 8) == b"STORED\r\n"
            for i in range(1, _ROUNDS + 1):
                client.sendall(f"incr number{number} 1\r\n".encode())
                reply = f"{i}\r\n".encode()
                assert read_exactly(client, len(reply)) == reply

    crowds = [Crowd(4, disturb), Crowd(4, count)]
    for crowd in crowds:
        crowd.join()


def test_commands_about_the_server_give_their_client_a_connection_of_its_own(memcached: Memcached) -> None:
    with memcached.proxy.connect("text") as client:
        client.sendall(b"version\r\nstats\r\nnonsense\r\nget none\r\nverbosity 1\r\nquit\r\n")
        replies = b"".join(iter(lambda: client.recv(65536), b""))
    assert replies.startswith(b"VERSION ")
    assert b"\r\nSTAT pid " in replies
    assert replies.endswith(b"\r\nEND\r\nERROR\r\nEND\r\nOK\r\n")


def test_one_line_commands_share_connections_by_delimiter(memcached: Memcached) -> None:
    before = memcached.connections()
    for number in range(_CLIENTS):
        memcached.direct.set(f"counter{number}", "0")
        memcached.direct.set(f"gone{number}", "x")

    def work(number: int) -> None:
        client = memcached.text_client()
        for i in range(_ROUNDS):
            assert client.incr(f"counter{number}", 1000 + number) == (i + 1) * (1000 + number)
            assert client.incr("all") > 0
            assert client.touch(f"counter{number}", 1000)
            assert client.delete(f"gone{number}") == (i == 0)
            with pytest.raises(pylibmc.NotFound):
                client.decr(f"gone{number}")

    memcached.direct.set("all", "0")
    Crowd(_CLIENTS, work).join()
    assert memcached.direct.get("all") == str(_CLIENTS * _ROUNDS)
    eventually(
        "clients that sent quit are gone", lambda: memcached.connections() - before <= _WORKERS * _SHARED_CONNECTIONS
    )
    assert memcached.proxy.metric("proxy_shared_requests_total") == _CLIENTS * _ROUNDS * 5
    assert memcached.proxy.metric("proxy_shared_replies_total") == _CLIENTS * _ROUNDS * 5


def test_all_other_commands_have_a_connection_of_their_own_by_delimiter(memcached: Memcached) -> None:
    memcached.direct.set("counter", "0")
    asking = threading.Event()

    def count(_: object) -> None:
        client = memcached.text_client()
        seen = 0
        while not asking.is_set():
            seen, before = client.incr("counter"), seen
            assert seen > before

    def store(number: int) -> None:
        # Each client uses commands that need a dedicated connection, and leaves with a "quit".
        for i in range(_ROUNDS):
            client = memcached.text_client()
            value = f"{number} {i}\r\n" * (i + 1)
            assert client.touch("counter", 1000)
            assert client.set(f"key{number}", value) and client.get(f"key{number}") == value
            assert client.set_multi({f"a{number}": "1", f"b{number}": "2"}) == []
            assert client.get_multi([f"a{number}", f"b{number}", "none"]) == {f"a{number}": "1", f"b{number}": "2"}
            client.disconnect_all()

    counting = Crowd(4, count)
    try:
        Crowd(4, store).join()
    finally:
        asking.set()
    counting.join()
    assert memcached.proxy.metric("proxy_shared_protocol_errors_total") == 0


def test_binary_protocol_shares_connections_by_its_ids(memcached: Memcached) -> None:
    before = memcached.connections()
    seed = random.randrange(2**32)
    print(f"seed {seed}")

    # Every client numbers its requests (`opaque`) from 1.
    def work(number: int) -> None:
        client = memcached.binary_client()
        numbers = random.Random(seed + number)
        for i in range(_ROUNDS):
            key = f"key{number}"
            value = f"{number}-{i}-" + "v" * numbers.choice([0, 100, 10_000, 400_000 if i % 10 == 0 else 1])
            assert client.set(key, value)
            assert client.get(key) == value
            assert client.append(key, "!") and client.get(key) == value + "!"
            assert not client.add(key, "too late")
            assert client.get(f"none{number}") is None
            assert client.delete(key)
            assert not client.delete(key)

    Crowd(_CLIENTS, work).join()
    assert memcached.connections() - before <= _WORKERS * _SHARED_CONNECTIONS
    assert memcached.proxy.metric("proxy_shared_replies_unmatched_total") == 0


def test_request_without_a_reply_ends_only_its_client(memcached: Memcached) -> None:
    memcached.direct.set("here", "value")
    with memcached.proxy.connect("frames") as quiet, memcached.proxy.connect("frames") as other:
        # A quiet get has no reply on a miss, so replies and requests do not match one to one.
        quiet.sendall(binary_get(_GET_QUIETLY, b"none", 5) + binary_get(_GET, b"here", 6))
        assert read_binary_reply(quiet) == (0, 6, b"value")
        with pytest.raises(ConnectionResetError):
            read_exactly(quiet, 1)
        assert memcached.proxy.metric("proxy_shared_reply_timeouts_total") == 1
        other.sendall(binary_get(_GET, b"here", 5) + binary_get(_GET, b"none", 6))
        assert read_binary_reply(other) == (0, 5, b"value")
        assert read_binary_reply(other)[:2] == (_NOT_FOUND, 6)
