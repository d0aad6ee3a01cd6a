"""Servers in the test's process, with one thread per connection. A server's behaviour is a function of its socket."""

import contextlib
import os
import socket
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

# Serves one connection, which is closed when the function returns or raises OSError.
Serve = Callable[[socket.socket], None]
S = TypeVar("S", bound="Closable")


class Closable(Protocol):
    def close(self) -> None: ...


class ServerStarter(Protocol):
    """Starts a server that stops after the test: start(EchoServer, "name")."""

    def __call__(self, kind: Callable[..., S], *arguments: Any, **options: Any) -> S: ...


# Bytes per write of a bulk server.
_CHUNK_BYTES = 256 * 1024


class Server:
    """Listens on `unix_path` or a free TCP port, and calls `serve(connection)` for each client.

    An agent connects once to a unix socket and sends no byte, to learn which process listens there.
    """

    def __init__(self, serve: Serve, unix_path: os.PathLike[str] | None = None) -> None:
        self._serve = serve
        self._unix_path = unix_path and str(unix_path)
        self._port = 0
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        # How `serve` ended for each connection: None or an OSError, in the order in which connections ended.
        self.ends: list[OSError | None] = []
        self.accepted = 0
        self.start()

    @property
    def address(self) -> str:
        """Returns the address in the form of an agent's `target`."""
        return f"unix:{self._unix_path}" if self._unix_path else f"127.0.0.1:{self._port}"

    def start(self) -> None:
        if self._unix_path:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(self._unix_path)
        else:
            self._listener = socket.socket()
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind(("127.0.0.1", self._port))
            self._port = self._listener.getsockname()[1]
        self._listener.listen(1024)
        self._accepting = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        self._accepting.start()

    def close(self) -> None:
        """Stops listening and shuts down open connections. `start` listens again at the same address."""
        try:
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        except OSError:
            return
        self._accepting.join()
        self._listener.close()
        if self._unix_path:
            os.unlink(self._unix_path)
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    @property
    def all_ended(self) -> bool:
        """Returns whether the server had clients and all of them are gone."""
        return 0 < self.accepted == len(self.ends)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.accepted += 1
            with self._lock:
                self._connections.add(connection)
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection: socket.socket) -> None:
        end = None
        try:
            self._serve(connection)
        except OSError as error:
            end = error
        with self._lock:
            self._connections.discard(connection)
        connection.close()
        self.ends.append(end)


class EchoServer(Server):
    """Echoes. If it has a `greeting`, it sends that line first, so that a client learns which server it reached."""

    def __init__(self, greeting: str = "", unix_path: os.PathLike[str] | None = None) -> None:
        self._greeting = greeting
        super().__init__(self._echo, unix_path)

    def _echo(self, connection: socket.socket) -> None:
        if self._greeting:
            connection.sendall(self._greeting.encode() + b"\n")
        while data := connection.recv(_CHUNK_BYTES):
            connection.sendall(data)
