"""HTTP/2 by hand: frames as they are said and heard, right or wrong. Nothing here keeps a peer from breaking the protocol.

    trunk = RawTrunk.dial(agent.trunk_port)
    trunk.send(headers(1, connect("echo")), data(1, b"hello"))
    trunk.heard(lambda frame: frame.kind == DATA)
"""

import collections
import socket
import struct

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
CONNECT_ERROR = 0xa
ENHANCE_YOUR_CALM = 0xb

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = range(1, 6)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LARGEST_WINDOW = 2**31 - 1
_PATIENCE_SECONDS = 20

Frame = collections.namedtuple("Frame", "kind flags stream payload")


def frame(kind, flags, stream, payload=b"", length=None):
    """`length` lies about the payload."""
    length = len(payload) if length is None else length
    return struct.pack("!I", length)[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def settings(*pairs, flags=0):
    return frame(SETTINGS, flags, 0, b"".join(struct.pack("!HI", key, value) for key, value in pairs))


def headers(stream, block, flags=END_HEADERS):
    return frame(HEADERS, flags, stream, block)


def data(stream, payload=b"", flags=0):
    return frame(DATA, flags, stream, payload)


def reset(stream, code=CANCEL):
    return frame(RST_STREAM, 0, stream, struct.pack("!I", code))


def window_update(stream, increment):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack("!I", increment))


def ping(payload=b"12345678", flags=0):
    return frame(PING, flags, 0, payload)


def goaway(last_stream, code=NO_ERROR):
    return frame(GOAWAY, 0, 0, struct.pack("!II", last_stream, code))


def field(name, value):
    """A header field as HPACK's literal without an index."""
    return b"\x00" + _text(name) + _text(value)


def _text(text):
    text = text.encode()
    if len(text) < 127:
        return bytes([len(text)]) + text
    rest = len(text) - 127
    size = b"\x7f"
    while rest >= 128:
        size += bytes([rest % 128 + 128])
        rest //= 128
    return size + bytes([rest]) + text


def connect(service):
    """The header block of a CONNECT to a service."""
    return field(":method", "CONNECT") + field(":authority", f"{service}:1")


OK_BLOCK = b"\x88"  # :status 200 of the static table


def status_of(answer):
    """The status of an answer, the first on its connection, of our own agents: static table or digits."""
    static = {0x88: 200, 0x89: 204, 0x8c: 400, 0x8d: 404, 0x8e: 500}
    return static.get(answer.payload[0]) or int(answer.payload[-3:])


def code_of(ending):
    """The error code of an RST_STREAM or a GOAWAY."""
    at = 0 if ending.kind == RST_STREAM else 4
    return int.from_bytes(ending.payload[at:at + 4], "big")


class RawTrunk:
    """One end of an HTTP/2 connection whose other end is under test."""

    def __init__(self, connection):
        self.socket = connection
        self.socket.settimeout(_PATIENCE_SECONDS)
        self._unparsed = b""
        self.frames = []

    @classmethod
    def dial(cls, port, opening=PREFACE + settings()):
        trunk = cls(socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_SECONDS))
        trunk.send(opening)
        return trunk

    def send(self, *frames):
        """False: the other end has closed."""
        try:
            self.socket.sendall(b"".join(frames))
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def next_frame(self):
        """None at the end of the connection."""
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
        self.frames.append(Frame(kind, flags, stream & LARGEST_WINDOW, self._unparsed[9:9 + length]))
        self._unparsed = self._unparsed[9 + length:]
        return self.frames[-1]

    def heard(self, condition):
        """The first frame from now on that meets the condition."""
        while heard := self.next_frame():
            if condition(heard):
                return heard
        raise AssertionError(f"the connection ended; heard at last: {self.frames[-10:]}")

    def answer(self, stream):
        """The HEADERS on a stream."""
        return self.heard(lambda heard: heard.kind == HEADERS and heard.stream == stream)

    def open(self, stream, service):
        """A stream that the server behind the service has taken."""
        self.send(headers(stream, connect(service)))
        assert status_of(self.answer(stream)) == 200
        return self

    def is_alive(self):
        """Everything sent so far was taken, its answers were heard, and the other end goes on."""
        # Twice: the first answer may overtake others.
        for payload in (b"stillup1", b"stillup2"):
            self.send(ping(payload))
            self.heard(lambda heard, payload=payload: heard.kind == PING and heard.flags & ACK and heard.payload == payload)

    def goaway_codes(self):
        """Reads to the end of the connection; the codes of its GOAWAYs."""
        while self.next_frame():
            pass
        return [code_of(heard) for heard in self.frames if heard.kind == GOAWAY]

    def goaway_code(self):
        """Reads to the end of the connection; the code of its last GOAWAY."""
        codes = self.goaway_codes()
        assert codes, f"closed without GOAWAY; heard at last: {self.frames[-10:]}"
        return codes[-1]

    def reset_codes(self, stream):
        """Of the RST_STREAMs heard so far."""
        return [code_of(heard) for heard in self.frames if heard.kind == RST_STREAM and heard.stream == stream]

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
