"""An agent played by the test, to which a proxy's trunks lead."""

import queue
import socket
import threading

import raw_http2 as h2
from raw_http2 import RawTrunk, settings
from traffic import read_exactly


class FakeAgent:
    """Accepts the proxy's trunks and hands them to the test. `greeting` opens the first of them."""

    def __init__(self, greeting: bytes = settings()) -> None:
        self._greeting = greeting
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._trunks: queue.Queue[RawTrunk] = queue.Queue()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def next_trunk(self) -> RawTrunk:
        return self._trunks.get(timeout=20)

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            trunk = RawTrunk(connection)
            # The proxy's preface is not a frame.
            read_exactly(connection, len(h2.PREFACE))
            trunk.send(self._greeting)
            self._greeting = settings()
            self._trunks.put(trunk)
