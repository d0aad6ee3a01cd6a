"""Protocol violations at either end of a trunk, and the error code of RFC 9113 that answers each.

A fault is `said` on a connection on which stream 1 is connected. `ends` is what it ends: the connection (a GOAWAY with
the code), the stream (an RST_STREAM with the code, and the connection goes on) or nothing.
"""

import dataclasses

import raw_http2 as h2
from raw_http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    PADDED,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    data,
    field,
    frame,
    headers,
    settings,
    window_update,
)

CONNECTION = "connection"
STREAM = "stream"
NOTHING = "nothing"
# One byte above the default SETTINGS_MAX_FRAME_SIZE.
_TOO_LONG = bytes(16 * 1024 + 1)
UNKNOWN_FRAME_TYPE = 0xBB


@dataclasses.dataclass
class Fault:
    name: str
    said: bytes
    ends: str
    code: int = h2.NO_ERROR

    def __str__(self) -> str:
        return self.name


def _connection(code: int, *named: tuple[str, bytes]) -> list[Fault]:
    return [Fault(name, said, CONNECTION, code) for name, said in named]


FRAME_FAULTS = [
    *_connection(
        h2.PROTOCOL_ERROR,
        ("DATA on stream 0", data(0, b"x")),
        ("DATA on an idle stream", data(9, b"x")),
        ("DATA with more padding than payload", frame(DATA, PADDED, 1, b"\x09abc")),
        ("HEADERS on stream 0", headers(0, h2.OK_BLOCK)),
        ("HEADERS with more padding than payload", frame(HEADERS, PADDED | END_HEADERS, 3, b"\x09abc")),
        ("PRIORITY on stream 0", frame(PRIORITY, 0, 0, bytes(5))),
        ("RST_STREAM on stream 0", h2.reset(0)),
        ("RST_STREAM on an idle stream", h2.reset(9)),
        ("SETTINGS on a stream", frame(SETTINGS, 0, 1)),
        ("SETTINGS with a push that is neither on nor off", settings((h2.ENABLE_PUSH, 2))),
        ("SETTINGS with frames below 16 KiB", settings((MAX_FRAME_SIZE, 16383))),
        ("SETTINGS with frames above 16 MiB", settings((MAX_FRAME_SIZE, 2**24))),
        ("PING on a stream", frame(PING, 0, 1, bytes(8))),
        ("GOAWAY on a stream", frame(GOAWAY, 0, 1, bytes(8))),
        ("WINDOW_UPDATE of 0 on the connection", window_update(0, 0)),
        ("WINDOW_UPDATE of 0 on a stream", window_update(1, 0)),
        ("WINDOW_UPDATE on an idle stream", window_update(9, 1)),
        ("CONTINUATION without HEADERS", frame(CONTINUATION, END_HEADERS, 1, h2.OK_BLOCK)),
        ("CONTINUATION on stream 0", frame(CONTINUATION, END_HEADERS, 0, h2.OK_BLOCK)),
        ("PING inside a header block", headers(1, field("a", "b"), flags=0) + h2.ping()),
        ("DATA inside a header block", headers(1, field("a", "b"), flags=0) + data(1, b"x")),
        (
            "a frame of an unknown type inside a header block",
            headers(1, field("a", "b"), flags=0) + frame(UNKNOWN_FRAME_TYPE, 0, 1),
        ),
        (
            "CONTINUATION of another stream's header block",
            headers(1, field("a", "b"), flags=0) + frame(CONTINUATION, END_HEADERS, 3, field("c", "d")),
        ),
    ),
    *_connection(
        h2.FRAME_SIZE_ERROR,
        ("DATA above 16 KiB", data(1, _TOO_LONG)),
        ("HEADERS above 16 KiB", headers(1, _TOO_LONG)),
        ("SETTINGS above 16 KiB", frame(SETTINGS, 0, 0, _TOO_LONG + bytes(5))),
        ("SETTINGS of half a parameter", frame(SETTINGS, 0, 0, bytes(3))),
        ("SETTINGS acknowledgement with a payload", settings((INITIAL_WINDOW_SIZE, 1), flags=h2.ACK)),
        ("PING of 7 bytes", frame(PING, 0, 0, bytes(7))),
        ("PRIORITY of 4 bytes", frame(PRIORITY, 0, 1, bytes(4))),
        ("RST_STREAM of 3 bytes", frame(RST_STREAM, 0, 1, bytes(3))),
        ("GOAWAY of 7 bytes", frame(GOAWAY, 0, 0, bytes(7))),
        ("WINDOW_UPDATE of 3 bytes", frame(WINDOW_UPDATE, 0, 1, bytes(3))),
    ),
    *_connection(
        h2.FLOW_CONTROL_ERROR,
        ("SETTINGS with a window above 2^31-1", settings((INITIAL_WINDOW_SIZE, 2**31))),
        (
            "SETTINGS that make a stream's window overflow",
            window_update(1, h2.LARGEST_WINDOW - 65535) + settings((INITIAL_WINDOW_SIZE, 65536)),
        ),
        ("WINDOW_UPDATE that makes the connection's window overflow", window_update(0, h2.LARGEST_WINDOW)),
        ("WINDOW_UPDATE that makes a stream's window overflow", window_update(1, h2.LARGEST_WINDOW)),
    ),
    *_connection(
        h2.COMPRESSION_ERROR,
        ("a header block that is not HPACK", headers(1, b"\xff\xff\xff\xff\xff\xff\xff")),
        ("an HPACK index that does not exist", headers(1, b"\xfe")),
        ("an HPACK table above the limit", headers(1, b"\x3f\xe2\x1f" + h2.OK_BLOCK)),
        ("a header block that ends inside a field", headers(1, b"\x00\x05ab")),
    ),
    *_connection(
        h2.STREAM_CLOSED,
        ("DATA after END_STREAM", data(1, b"x", END_STREAM) + data(1, b"y")),
        ("HEADERS after END_STREAM", data(1, b"x", END_STREAM) + headers(1, field("a", "b"), END_HEADERS | END_STREAM)),
    ),
    Fault(
        "trailers on a connected stream",
        headers(1, field("a", "b"), END_HEADERS | END_STREAM),
        STREAM,
        h2.PROTOCOL_ERROR,
    ),
    Fault("HEADERS without an end on a connected stream", headers(1, field("a", "b")), STREAM, h2.PROTOCOL_ERROR),
    Fault(
        "PRIORITY, also of an idle stream", frame(PRIORITY, 0, 1, bytes(5)) + frame(PRIORITY, 0, 99, bytes(5)), NOTHING
    ),
    Fault(
        "frames of unknown types",
        frame(UNKNOWN_FRAME_TYPE, 0xFF, 0, b"abc") + frame(UNKNOWN_FRAME_TYPE, 0, 1, b"abc"),
        NOTHING,
    ),
    Fault("an unknown setting", settings((0xBBBB, 7)), NOTHING),
    Fault("unknown flags", frame(PING, 0xFE, 0, bytes(8)) + data(1, b"", 0x76), NOTHING),
    Fault("the reserved bit of a stream id", frame(DATA, 0, 1 << 31 | 1, b"x"), NOTHING),
    Fault("an answer to a PING that was not sent", h2.ping(flags=h2.ACK), NOTHING),
    Fault(
        "WINDOW_UPDATE and RST_STREAM after END_STREAM",
        data(1, b"x", END_STREAM) + window_update(1, 1) + h2.reset(1),
        NOTHING,
    ),
    Fault("DATA and HEADERS after a reset", h2.reset(1) + data(1, b"late") + headers(1, field("a", "b")), NOTHING),
]
