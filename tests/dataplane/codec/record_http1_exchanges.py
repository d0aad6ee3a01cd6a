#!/usr/bin/env python3
"""Writes http1_exchanges.h: the answers of a real nginx, one exchange per line.

    record_http1_exchanges.py > http1_exchanges.h

Starts `nginx` from the PATH on a socket of its own, in a folder that is removed.
"""

import os
import pathlib
import socket
import subprocess
import tempfile
import time

CONFIG = """
daemon off; master_process off; pid {0}/pid; error_log {0}/error.log;
events {{}}
http {{
  access_log off; lingering_close off; client_body_temp_path {0}; proxy_temp_path {0}; fastcgi_temp_path {0}; uwsgi_temp_path {0};
  scgi_temp_path {0};
  server {{
    listen unix:{0}/socket; root {0}/www;
    location /zip/ {{ alias {0}/www/; gzip on; gzip_min_length 1; gzip_types *; gzip_http_version 1.0; }}
    location /put/ {{ dav_methods PUT; root {0}; }}
    location /nothing {{ return 204; }}
    location /moved {{ return 301 /page; }}
  }}
}}
"""
HOST = "Host: example.org\r\n"
REQUESTS = [
    "GET /page HTTP/1.1\r\n" + HOST + "\r\n",
    "\r\nGET /page HTTP/1.1\r\n" + HOST + "\r\n",
    "GET /page HTTP/1.1\r\n" + HOST + "Connection: close\r\n\r\n",
    "GET /page HTTP/1.1\r\n" + HOST + "Connection:      \r\n\r\n",
    "GET /page HTTP/1.1\r\n" + HOST + "Connection:      , TE\r\n\r\n",
    "GET /page HTTP/1.0\r\n\r\n",
    "GET /page HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "HEAD /page HTTP/1.1\r\n" + HOST + "\r\n",
    "GET /empty HTTP/1.1\r\n" + HOST + "\r\n",
    "GET /none HTTP/1.1\r\n" + HOST + "\r\n",
    "HEAD /none HTTP/1.1\r\n" + HOST + "\r\n",
    "GET /page HTTP/1.1\r\n" + HOST + "Range: bytes=1-3\r\n\r\n",
    "GET /page HTTP/1.1\r\n" + HOST + "Range: bytes=0-0,2-3\r\n\r\n",
    "GET /page HTTP/1.1\r\n" + HOST + "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n",
    "GET /nothing HTTP/1.1\r\n" + HOST + "\r\n",
    "GET /moved HTTP/1.1\r\n" + HOST + "\r\n",
    "GET /zip/page HTTP/1.1\r\n" + HOST + "Accept-Encoding: gzip\r\n\r\n",
    "HEAD /zip/page HTTP/1.1\r\n" + HOST + "Accept-Encoding: gzip\r\n\r\n",
    "GET /zip/page HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n",
    "POST /page HTTP/1.1\r\n" + HOST + "Content-Length: 5\r\n\r\nhello",
    "PUT /put/a HTTP/1.1\r\n" + HOST + "Content-Length: 5\r\n\r\nhello",
    "PUT /put/a HTTP/1.1\r\n" + HOST + "Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    "PUT /put/b HTTP/1.1\r\n" + HOST + "Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
    "GET /page HTTP/1.1\r\n\r\n",
    "GET /page HTTP/1.1\r\n" + HOST + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "NONSENSE\r\n\r\n",
]


def literal(data: bytes) -> str:
    # \OOO has three digits, so that a digit after it cannot become part of the escape.
    text = "".join(chr(b) if 32 <= b < 127 and b not in b'"\\?' else "\\%03o" % b for b in data)
    return '"%s"sv' % text.replace("\\015", "\\r").replace("\\012", "\\n")


def exchange(path: str, request: str) -> tuple[bytes, bool]:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    # Only the parser under test could find the end of a reply, so silence marks it.
    connection.settimeout(0.2)
    reply, closed = b"", False
    head, _, body = request.encode().rpartition(b"\r\n\r\n") if "Expect" in request else (request.encode(), b"", b"")
    connection.sendall(head + (b"\r\n\r\n" if body else b""))
    try:
        while not closed:
            data = connection.recv(65536)
            closed = not data
            reply += data
            if body:
                connection.sendall(body)
                body = b""
    except TimeoutError:
        pass
    connection.close()
    return reply, closed


def main() -> None:
    version = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr.strip()
    print("// Recorded by record_http1_exchanges.py from: %s" % version)
    print(
        "// Do not edit.\n// clang-format off\n#pragma once\n\n#include <string_view>\n\nnamespace trunkline::test {\n"
    )
    print(
        "struct Http1Exchange {\n  std::string_view request;\n  std::string_view reply;\n"
        "  bool closed;  // by the server, after it\n};\n"
    )
    print('using std::string_view_literals::operator""sv;\n')
    print("inline constexpr Http1Exchange kHttp1Exchanges[] = {")
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name in ("www", "put"):
            (root / name).mkdir()
        (root / "www/page").write_text("HTTP/1.1 200 OK\r\n\r\n0\r\n\r\n")
        (root / "www/empty").write_text("")
        os.utime(root / "www/page", (0, 0))
        (root / "config").write_text(CONFIG.format(folder))
        server = subprocess.Popen(["nginx", "-e", folder + "/error.log", "-c", folder + "/config", "-p", folder])
        try:
            deadline = time.monotonic() + 10
            while not (root / "socket").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            for request in REQUESTS:
                reply, closed = exchange(str(root / "socket"), request)
                print(
                    "    {%s,\n     %s,\n     %s},"
                    % (literal(request.encode()), literal(reply), "true" if closed else "false")
                )
        finally:
            server.terminate()
            server.wait()
    print("};\n\n}  // namespace trunkline::test")


if __name__ == "__main__":
    main()
