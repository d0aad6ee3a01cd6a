"""Local servers inside the test's process, a thread for each connection. What a server does is a function of its socket."""

import contextlib
import os
import socket
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

# Serves one connection; it is closed when this returns or raises OSError.
Serve = Callable[[socket.socket], None]
S = TypeVar("S", bound="Closable")


class Closable(Protocol):
    def close(self) -> None: ...


class ServerStarter(Protocol):
    """Starts a server for the time of a test: start(EchoServer, "name")."""

    def __call__(self, kind: Callable[..., S], *arguments: Any, **options: Any) -> S: ...


# One write of a bulk server.
_CHUNK_BYTES = 256 * 1024


class Server:
    """Listens at once, on `unix_path` or a free TCP port, and calls `serve(connection)` for each client.

    An agent connects once to a unix socket, without a byte, to learn which process listens there.
    """

    def __init__(self, serve: Serve, unix_path: os.PathLike[str] | None = None) -> None:
        self._serve = serve
        self._unix_path = unix_path and str(unix_path)
        self._port = 0
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        # What each connection's serve ended with: None or an OSError, in the order of their ends.
        self.ends: list[OSError | None] = []
        self.accepted = 0
        self.start()

    @property
    def address(self) -> str:
        """As an agent's `target` names it."""
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
        """Stops listening and breaks what is open; `start` listens again at the same address."""
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
        """It had clients, and all of them are gone."""
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
    """Sends back what comes. With a `greeting` it speaks first, so that a client learns which server it has."""

    def __init__(self, greeting: str = "", unix_path: os.PathLike[str] | None = None) -> None:
        self._greeting = greeting
        super().__init__(self._echo, unix_path)

    def _echo(self, connection: socket.socket) -> None:
        if self._greeting:
            connection.sendall(self._greeting.encode() + b"\n")
        while data := connection.recv(_CHUNK_BYTES):
            connection.sendall(data)
