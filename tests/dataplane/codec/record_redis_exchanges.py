#!/usr/bin/env python3
"""Writes redis_exchanges.h: the answers of a real redis-server, one exchange per line.

    record_redis_exchanges.py > redis_exchanges.h

Starts `redis-server` from the PATH on a socket of its own. `DEBUG PROTOCOL` makes it speak each type of the protocol.
"""

import pathlib
import socket
import subprocess
import tempfile
import time

COMMANDS = [
    ["PING"],
    ["ECHO", ""],
    ["SET", "key", "value"],
    ["GET", "key"],
    ["GET", "nothing"],
    ["INCR", "n"],
    ["DECRBY", "n", "9"],
    ["INCR", "key"],
    ["NOSUCH", "a"],
    ["", "x"],
    ["SETEX", "t", "100", "with\r\n+OK\r\nin it"],
    ["GET", "t"],
    ["RPUSH", "list", "a", "b", ""],
    ["LRANGE", "list", "0", "-1"],
    ["LRANGE", "none", "0", "-1"],
    ["MGET", "key", "nothing", "n"],
    ["HSET", "h", "f", "1", "g", "2"],
    ["HGETALL", "h"],
    ["SADD", "s", "x"],
    ["SMEMBERS", "s"],
    ["ZADD", "z", "1.5", "m", "inf", "k"],
    ["ZRANGE", "z", "0", "-1", "WITHSCORES"],
    ["XADD", "x", "1-1", "f", "v"],
    ["XRANGE", "x", "-", "+"],
    ["XREAD", "STREAMS", "x", "0"],
    ["LPOP", "none", "2"],
    ["EVAL", "return {1,{2,{3,'x'}},false,{ok='fine'}}", "0"],
    ["EVAL", "return {err='ODD a\\r\\nb'}", "0"],
    ["SCAN", "0", "COUNT", "100"],
    ["CONFIG", "GET", "maxmemory*"],
    ["COMMAND", "INFO", "get"],
    ["COMMAND", "DOCS", "set"],
    ["PUBLISH", "c", "m"],
    ["SCRIPT", "EXISTS", "00"],
] + [
    ["DEBUG", "PROTOCOL", kind]
    for kind in (
        "string",
        "integer",
        "double",
        "null",
        "array",
        "set",
        "map",
        "attrib",
        "push",
        "verbatim",
        "true",
        "false",
        "bignum",
    )
]


def encode(words: list[str]) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in (x.encode() for x in words))


def literal(data: bytes) -> str:
    # \OOO has three digits, so that a digit after it cannot become part of the escape.
    text = "".join(chr(b) if 32 <= b < 127 and b not in b'"\\?' else "\\%03o" % b for b in data)
    return '"%s"sv' % text.replace("\\015", "\\r").replace("\\012", "\\n")


class Server:
    def __init__(self, folder: str) -> None:
        self.path = str(pathlib.Path(folder, "socket"))
        self.process = subprocess.Popen(
            [
                "redis-server",
                "--port",
                "0",
                "--unixsocket",
                self.path,
                "--save",
                "",
                "--dir",
                folder,
                "--enable-debug-command",
                "yes",
            ],
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 10
        while not pathlib.Path(self.path).exists() and time.monotonic() < deadline:
            time.sleep(0.01)

    def exchange(self, connection: socket.socket, request: bytes) -> bytes:
        connection.sendall(request)
        # Only the parser under test could find the end of a reply, so silence marks it.
        connection.settimeout(0.2)
        reply = b""
        try:
            while data := connection.recv(65536):
                reply += data
        except TimeoutError:
            pass
        return reply

    def connect(self, resp3: bool) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self.path)
        if resp3:
            self.exchange(connection, b"HELLO 3\r\n")
        return connection


def main() -> None:
    version = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout
    print("// Recorded by record_redis_exchanges.py from: %s" % version.split(" sha")[0])
    print(
        "// Do not edit.\n// clang-format off\n#pragma once\n\n#include <string_view>\n\nnamespace trunkline::test {\n"
    )
    print("struct RedisExchange {\n  std::string_view request;\n  std::string_view reply;\n};\n")
    print('using std::string_view_literals::operator""sv;\n')
    with tempfile.TemporaryDirectory() as folder:
        server = Server(folder)
        try:
            for resp3 in (False, True):
                print("inline constexpr RedisExchange kRedisExchanges%s[] = {" % ("Resp3" if resp3 else "Resp2"))
                connection = server.connect(resp3)
                server.exchange(connection, b"FLUSHALL\r\n")
                for words in COMMANDS:
                    request = encode(words)
                    print("    {%s,\n     %s}," % (literal(request), literal(server.exchange(connection, request))))
                print("};\n")
        finally:
            server.process.terminate()
            server.process.wait()
    print("}  // namespace trunkline::test")


if __name__ == "__main__":
    main()
