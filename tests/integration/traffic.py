"""Clients of a proxy: single requests, a steady load, and byte streams in which every misplaced block shows."""

import hashlib
import random
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from typing import Self

from cluster import Proxy
from waiting import eventually

_BLOCK_BYTES = 1024 * 1024
_PAUSE_SECONDS = 0.005
_LINGER_OFF = struct.pack("ii", 1, 0)


def read_exactly(client: socket.socket, count: int) -> bytes:
    """Returns `count` bytes, or fewer if the stream ends before."""
    parts = []
    while count > 0:
        data = client.recv(min(count, _BLOCK_BYTES))
        if not data:
            break
        parts.append(data)
        count -= len(data)
    return b"".join(parts)


def read_line(client: socket.socket) -> str:
    line = b""
    while not line.endswith(b"\n"):
        data = client.recv(1)
        if not data:
            break
        line += data
    return line.decode().rstrip("\n")


def reset(client: socket.socket) -> None:
    """Closes the connection with RST."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_OFF)
    client.close()


def assert_echo(client: socket.socket, data: bytes) -> None:
    client.sendall(data)
    assert read_exactly(client, len(data)) == data


def ask(proxy: Proxy, service: str = "echo") -> str:
    """Makes one short connection to a greeting EchoServer, checks the echo and returns the greeting."""
    with proxy.connect(service) as client:
        name = read_line(client)
        assert_echo(client, b"x" * 128)
        return name


def ask_many(proxy: Proxy, count: int, service: str = "echo") -> dict[str, int]:
    """Makes `count` short connections and returns how many each server got."""
    counts: dict[str, int] = {}
    for _ in range(count):
        name = ask(proxy, service)
        counts[name] = counts.get(name, 0) + 1
    return counts


class Load:
    """Makes a few hundred short connections per second inside a with block, and records failures."""

    def __init__(self, proxies: Sequence[Proxy], service: str = "echo", threads: int = 3) -> None:
        self._ports = [proxy.port(service) for proxy in proxies]
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(threads)]
        self._done = [0] * threads
        self.failures: list[str] = []

    @property
    def done(self) -> int:
        return sum(self._done)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def run_on(self, count: int, seconds: float = 60) -> None:
        """Waits until `count` more connections are done."""
        target = self.done + count
        eventually(f"{count} more connections", lambda: self.done >= target, seconds)

    def _run(self, index: int) -> None:
        payload = bytes([index]) * 128
        while not self._stop.wait(_PAUSE_SECONDS):
            port = self._ports[(index + self._done[index]) % len(self._ports)]
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
                    read_line(client)
                    assert_echo(client, payload)
            except (OSError, AssertionError) as error:
                self.failures.append(f"after {self.done} connections: {error!r}")
            self._done[index] += 1


class ByteStream:
    """Pseudo-random bytes from a seed. No two blocks are equal, so a lost, doubled or swapped block changes the hash."""

    def __init__(self, seed: int, size: int) -> None:
        self.size = size
        self._block = random.Random(seed).randbytes(_BLOCK_BYTES - 8)

    def blocks(self) -> Iterator[bytes]:
        left = self.size
        number = 0
        while left > 0:
            block = struct.pack("!Q", number) + self._block
            yield block[:left] if left < len(block) else block
            left -= len(block)
            number += 1

    def send(self, connection: socket.socket) -> None:
        for block in self.blocks():
            connection.sendall(block)

    def digest(self) -> str:
        hasher = hashlib.blake2b()
        for block in self.blocks():
            hasher.update(block)
        return hasher.hexdigest()


def receive_digest(connection: socket.socket, size: int | None = None) -> tuple[int, str]:
    """Returns (bytes, hash) of the rest of the stream, or of the next `size` bytes."""
    hasher = hashlib.blake2b()
    count = 0
    buffer = bytearray(_BLOCK_BYTES)
    while size is None or count < size:
        wanted = len(buffer) if size is None else min(len(buffer), size - count)
        received = connection.recv_into(buffer, wanted)
        if received == 0:
            break
        hasher.update(memoryview(buffer)[:received])
        count += received
    return count, hasher.hexdigest()
