"""Sends and receives HTTP/2 frames one by one, valid or not. Nothing here keeps a test from breaking the protocol.

trunk = RawTrunk.dial(agent.trunk_port)
trunk.send(headers(1, connect("echo")), data(1, b"hello"))
trunk.heard(lambda frame: frame.kind == DATA)
"""

import socket
import struct
from collections.abc import Callable
from typing import NamedTuple, Self

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20

NO_ERROR = 0x0
PROTOCOL_ERROR = 0x1
FLOW_CONTROL_ERROR = 0x3
STREAM_CLOSED = 0x5
FRAME_SIZE_ERROR = 0x6
REFUSED_STREAM = 0x7
CANCEL = 0x8
COMPRESSION_ERROR = 0x9
CONNECT_ERROR = 0xA
ENHANCE_YOUR_CALM = 0xB

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = range(1, 6)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LARGEST_WINDOW = 2**31 - 1
_PATIENCE_SECONDS = 20


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes


def frame(kind: int, flags: int, stream: int, payload: bytes = b"", length: int | None = None) -> bytes:
    """Returns a frame. `length` overrides the length field."""
    length = len(payload) if length is None else length
    return struct.pack("!I", length)[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def settings(*pairs: tuple[int, int], flags: int = 0) -> bytes:
    return frame(SETTINGS, flags, 0, b"".join(struct.pack("!HI", key, value) for key, value in pairs))


def headers(stream: int, block: bytes, flags: int = END_HEADERS) -> bytes:
    return frame(HEADERS, flags, stream, block)


def data(stream: int, payload: bytes = b"", flags: int = 0) -> bytes:
    return frame(DATA, flags, stream, payload)


def reset(stream: int, code: int = CANCEL) -> bytes:
    return frame(RST_STREAM, 0, stream, struct.pack("!I", code))


def window_update(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, struct.pack("!I", increment))


def ping(payload: bytes = b"12345678", flags: int = 0) -> bytes:
    return frame(PING, flags, 0, payload)


def goaway(last_stream: int, code: int = NO_ERROR) -> bytes:
    return frame(GOAWAY, 0, 0, struct.pack("!II", last_stream, code))


def field(name: str, value: str) -> bytes:
    """Returns a header field as an HPACK literal without indexing."""
    return b"\x00" + _text(name) + _text(value)


def _text(text: str) -> bytes:
    content = text.encode()
    if len(content) < 127:
        return bytes([len(content)]) + content
    rest = len(content) - 127
    size = b"\x7f"
    while rest >= 128:
        size += bytes([rest % 128 + 128])
        rest //= 128
    return size + bytes([rest]) + content


def connect(service: str) -> bytes:
    """Returns the header block of a CONNECT to a service."""
    return field(":method", "CONNECT") + field(":authority", f"{service}:1")


OK_BLOCK = b"\x88"  # :status 200 in HPACK's static table


def status_of(answer: Frame) -> int:
    """Returns the status of an agent's answer, the first on its connection: static-table index or digits."""
    static = {0x88: 200, 0x89: 204, 0x8C: 400, 0x8D: 404, 0x8E: 500}
    return static.get(answer.payload[0]) or int(answer.payload[-3:])


def code_of(ending: Frame) -> int:
    """Returns the error code of an RST_STREAM or a GOAWAY."""
    at = 0 if ending.kind == RST_STREAM else 4
    return int.from_bytes(ending.payload[at : at + 4], "big")


class RawTrunk:
    """The test's end of an HTTP/2 connection whose other end is under test."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.socket.settimeout(_PATIENCE_SECONDS)
        self._unparsed = b""
        self.frames: list[Frame] = []

    @classmethod
    def dial(cls, port: int, opening: bytes = PREFACE + settings()) -> Self:
        trunk = cls(socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_SECONDS))
        trunk.send(opening)
        return trunk

    def send(self, *frames: bytes) -> bool:
        """Sends frames. Returns false if the other end has closed."""
        try:
            self.socket.sendall(b"".join(frames))
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def next_frame(self) -> Frame | None:
        """Returns the next frame, or None at the end of the connection."""
        while True:
            if len(self._unparsed) >= 9:
                length = int.from_bytes(self._unparsed[:3], "big")
                if len(self._unparsed) >= 9 + length:
                    break
            try:
                received = self.socket.recv(65536)
            except ConnectionResetError:
                return None
            if not received:
                return None
            self._unparsed += received
        kind, flags, stream = struct.unpack("!BBI", self._unparsed[3:9])
        self.frames.append(Frame(kind, flags, stream & LARGEST_WINDOW, self._unparsed[9 : 9 + length]))
        self._unparsed = self._unparsed[9 + length :]
        return self.frames[-1]

    def heard(self, condition: Callable[[Frame], object]) -> Frame:
        """Returns the first frame from now on that meets the condition."""
        while heard := self.next_frame():
            if condition(heard):
                return heard
        raise AssertionError(f"the connection ended; heard at last: {self.frames[-10:]}")

    def answer(self, stream: int) -> Frame:
        """Returns the HEADERS on a stream."""
        return self.heard(lambda heard: heard.kind == HEADERS and heard.stream == stream)

    def open(self, stream: int, service: str) -> Self:
        """Opens a stream to the service and checks that it is connected."""
        self.send(headers(stream, connect(service)))
        assert status_of(self.answer(stream)) == 200
        return self

    def is_alive(self) -> None:
        """Checks that the other end has processed everything sent so far and still answers."""
        # Two PINGs, because the first answer may overtake other frames.
        for payload in (b"stillup1", b"stillup2"):
            self.send(ping(payload))
            self.heard(lambda heard: heard.kind == PING and heard.flags & ACK and heard.payload == payload)

    def goaway_codes(self) -> list[int]:
        """Reads to the end of the connection and returns the codes of its GOAWAYs."""
        while self.next_frame():
            pass
        return [code_of(heard) for heard in self.frames if heard.kind == GOAWAY]

    def goaway_code(self) -> int:
        """Reads to the end of the connection and returns the code of its last GOAWAY."""
        codes = self.goaway_codes()
        assert codes, f"closed without GOAWAY; heard at last: {self.frames[-10:]}"
        return codes[-1]

    def reset_codes(self, stream: int) -> list[int]:
        """Returns the codes of the RST_STREAMs received on the stream so far."""
        return [code_of(heard) for heard in self.frames if heard.kind == RST_STREAM and heard.stream == stream]

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
