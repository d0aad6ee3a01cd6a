// Recorded by record_http1_exchanges.py from: nginx version: nginx/1.22.1
// Do not edit.
// clang-format off
#pragma once

#include <string_view>

namespace trunkline::test {

struct Http1Exchange {
  std::string_view request;
  std::string_view reply;
  bool closed;  // by the server, after it
};

using std::string_view_literals::operator""sv;

inline constexpr Http1Exchange kHttp1Exchanges[] = {
    {"GET /page HTTP/1.1\r\nHost: example.org\r\n\r\n"sv,
     "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 07:32:21 GMT\r\nContent-Type: text/plain\r\nContent-Length: 24\r\nLast-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\nConnection: keep-alive\r\nETag: \0420-18\042\r\nAccept-Ranges: bytes\r\n\r\nHTTP/1.1 200 OK\r\n\r\n0\r\n\r\n"sv,
     false},
    {"\r\nGET /page HTTP/1.1\r\nHost: example.org\r\n\r\n"sv,
     "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 07:32:22 GMT\r\nContent-Type: text/plain\r\nContent-Length: 24\r\nLast-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\nConnection: keep-alive\r\nETag: \0420-18\042\r\nAccept-Ranges: bytes\r\n\r\nHTTP/1.1 200 OK\r\n\r\n0\r\n\r\n"sv,
     false},
    {"GET /page HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n\r\n"sv,
     "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 07:32:22 GMT\r\nContent-Type: text/plain\r\nContent-Length: 24\r\nLast-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\nConnection: close\r\nETag: \0420-18\042\r\nAccept-Ranges: bytes\r\n\r\nHTTP/1.1 200 OK\r\n\r\n0\r\n\r\n"sv,
     true},
    {"GET /page HTTP/1.1\r\nHost: example.org\r\nConnection:      \r\n\r\n"sv,
     "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 07:32:22 GMT\r\nContent-Type: text/plain\r\nContent-Length: 24\r\nLast-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\nConnection: keep-alive\r\nETag: \0420-18\042\r\nAccept-Ranges: bytes\r\n\r\nHTTP/1.1 200 OK\r\n\r\n0\r\n\r\n"sv,
     false},
    {"GET /page HTTP/1.1\r\nHost: example.org\r\nConnection:      , TE\r\n\r\n"sv,
     "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 07:32:22 GMT\r\nContent-Type: text/plain\r\nContent-Length: 24\r\nLast-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\nConnection: keep-alive\r\nETag: \0420-18\042\r\nAccept-Ranges: bytes\r\n\r\nHTTP/1.1 200 OK\r\n\r\n0\r\n\r\n"sv,
     false},
    {"GET /page HTTP/1.0\r\n\r\n"sv,
     "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 07:32:22 GMT\r\nContent-Type: text/plain\r\nContent-Length: 24\r\nLast-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\nConnection: close\r\nETag: \0420-18\042\r\nAccept-Ranges: bytes\r\n\r\nHTTP/1.1 200 OK\r\n\r\n0\r\n\r\n"sv,
     true},
    {"GET /page HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"sv,
     "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 07:32:22 GMT\r\nContent-Type: text/plain\r\nContent-Length: 24\r\nLast-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\nConnection: keep-alive\r\nETag: \0420-18\042\r\nAccept-Ranges: bytes\r\n\r\nHTTP/1.1 200 OK\r\n\r\n0\r\n\r\n"sv,
     false},
    {"HEAD /page HTTP/1.1\r\nHost: example.org\r\n\r\n"sv,
     "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 07:32:22 GMT\r\nContent-Type: text/plain\r\nContent-Length: 24\r\nLast-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\nConnection: keep-alive\r\nETag: \0420-18\042\r\nAccept-Ranges: bytes\r\n\r\n"sv,
     false},
    {"GET /empty HTTP/1.1\r\nHost: example.org\r\n\r\n"sv,
     "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 07:32:23 GMT\r\nContent-Type: text/plain\r\nContent-Length: 0\r\nLast-Modified: Mon, 23 Nov 2026 07:32:21 GMT\r\nConnection: keep-alive\r\nETag: \0426b03ec05-0\042\r\nAccept-Ranges: bytes\r\n\r\n"sv,
     false},
    {"GET /none HTTP/1.1\r\nHost: example.org\r\n\r\n"sv,
     "HTTP/1.1 404 Not Found\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 07:32:23 GMT\r\nContent-Type: text/html\r\nContent-Length: 153\r\nConnection: keep-alive\r\n\r\n<html>\r\n<head><title>404 Not Found</title></head>\r\n<body>\r\n<center><h1>404 Not Found</h1></center>\r\n<hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n"sv,
     false},
    {"HEAD /none HTTP/1.1\r\nHost: example.org\r\n\r\n"sv,
     "HTTP/1.1 404 Not Found\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 07:32:23 GMT\r\nContent-Type: text/html\r\nContent-Length: 153\r\nConnection: keep-alive\r\n\r\n"sv,
     false},
    {"GET /page HTTP/1.1\r\nHost: example.org\r\nRange: bytes=1-3\r\n\r\n"sv,
     "HTTP/1.1 206 Partial Content\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 07:32:23 GMT\r\nContent-Type: text/plain\r\nContent-Length: 3\r\nLast-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\nConnection: keep-alive\r\nETag: \0420-18\042\r\nContent-Range: bytes 1-3/24\r\n\r\nTTP"sv,
     false},
    {"GET /page HTTP/1.1\r\nHost: example.org\r\nRange: bytes=0-0,2-3\r\n\r\n"sv,
     "HTTP/1.1 206 Partial Content\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 07:32:23 GMT\r\nContent-Type: multipart/byteranges; boundary=00000000000000000001\r\nContent-Length: 197\r\nLast-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\nConnection: keep-alive\r\nETag: \0420-18\042\r\n\r\n\r\n--00000000000000000001\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-0/24\r\n\r\nH\r\n--00000000000000000001\r\nContent-Type: text/plain\r\nContent-Range: bytes 2-3/24\r\n\r\nTP\r\n--00000000000000000001--\r\n"sv,
     false},
    {"GET /page HTTP/1.1\r\nHost: example.org\r\nIf-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n"sv,
     "HTTP/1.1 304 Not Modified\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 07:32:24 GMT\r\nLast-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\nConnection: keep-alive\r\nETag: \0420-18\042\r\n\r\n"sv,
     false},
    {"GET /nothing HTTP/1.1\r\nHost: example.org\r\n\r\n"sv,
     "HTTP/1.1 204 No Content\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 07:32:24 GMT\r\nConnection: keep-alive\r\n\r\n"sv,
     false},
    {"GET /moved HTTP/1.1\r\nHost: example.org\r\n\r\n"sv,
     "HTTP/1.1 301 Moved Permanently\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 07:32:24 GMT\r\nContent-Type: text/html\r\nContent-Length: 169\r\nLocation: http://example.org/page\r\nConnection: keep-alive\r\n\r\n<html>\r\n<head><title>301 Moved Permanently</title></head>\r\n<body>\r\n<center><h1>301 Moved Permanently</h1></center>\r\n<hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n"sv,
     false},
    {"GET /zip/page HTTP/1.1\r\nHost: example.org\r\nAccept-Encoding: gzip\r\n\r\n"sv,
     "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 07:32:24 GMT\r\nContent-Type: text/plain\r\nLast-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\nETag: W/\0420-18\042\r\nContent-Encoding: gzip\r\n\r\n29\r\n\037\213\010\000\000\000\000\000\004\003\363\010\011\011\3207\3243T020P\360\367\346\345\342\3452\000\021\000\211s\237\342\030\000\000\000\r\n0\r\n\r\n"sv,
     false},
    {"HEAD /zip/page HTTP/1.1\r\nHost: example.org\r\nAccept-Encoding: gzip\r\n\r\n"sv,
     "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 07:32:24 GMT\r\nContent-Type: text/plain\r\nLast-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\nConnection: keep-alive\r\nETag: W/\0420-18\042\r\nContent-Encoding: gzip\r\n\r\n"sv,
     false},
    {"GET /zip/page HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n"sv,
     "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 07:32:25 GMT\r\nContent-Type: text/plain\r\nLast-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\nConnection: close\r\nETag: W/\0420-18\042\r\nContent-Encoding: gzip\r\n\r\n\037\213\010\000\000\000\000\000\004\003\363\010\011\011\3207\3243T020P\360\367\346\345\342\3452\000\021\000\211s\237\342\030\000\000\000"sv,
     true},
    {"POST /page HTTP/1.1\r\nHost: example.org\r\nContent-Length: 5\r\n\r\nhello"sv,
     "HTTP/1.1 405 Not Allowed\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 07:32:25 GMT\r\nContent-Type: text/html\r\nContent-Length: 157\r\nConnection: keep-alive\r\n\r\n<html>\r\n<head><title>405 Not Allowed</title></head>\r\n<body>\r\n<center><h1>405 Not Allowed</h1></center>\r\n<hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n"sv,
     false},
    {"PUT /put/a HTTP/1.1\r\nHost: example.org\r\nContent-Length: 5\r\n\r\nhello"sv,
     "HTTP/1.1 201 Created\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 07:32:25 GMT\r\nContent-Length: 0\r\nLocation: http://example.org/put/a\r\nConnection: keep-alive\r\n\r\n"sv,
     false},
    {"PUT /put/a HTTP/1.1\r\nHost: example.org\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello"sv,
     "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 07:32:25 GMT\r\nConnection: keep-alive\r\n\r\n"sv,
     false},
    {"PUT /put/b HTTP/1.1\r\nHost: example.org\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"sv,
     "HTTP/1.1 201 Created\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 07:32:25 GMT\r\nContent-Length: 0\r\nLocation: http://example.org/put/b\r\nConnection: keep-alive\r\n\r\n"sv,
     false},
    {"GET /page HTTP/1.1\r\n\r\n"sv,
     "HTTP/1.1 400 Bad Request\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 07:32:25 GMT\r\nContent-Type: text/html\r\nContent-Length: 157\r\nConnection: close\r\n\r\n<html>\r\n<head><title>400 Bad Request</title></head>\r\n<body>\r\n<center><h1>400 Bad Request</h1></center>\r\n<hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n"sv,
     true},
    {"GET /page HTTP/1.1\r\nHost: example.org\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"sv,
     "HTTP/1.1 400 Bad Request\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 07:32:25 GMT\r\nContent-Type: text/html\r\nContent-Length: 157\r\nConnection: close\r\n\r\n<html>\r\n<head><title>400 Bad Request</title></head>\r\n<body>\r\n<center><h1>400 Bad Request</h1></center>\r\n<hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n"sv,
     true},
    {"NONSENSE\r\n\r\n"sv,
     "HTTP/1.1 400 Bad Request\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 07:32:25 GMT\r\nContent-Type: text/html\r\nContent-Length: 157\r\nConnection: close\r\n\r\n<html>\r\n<head><title>400 Bad Request</title></head>\r\n<body>\r\n<center><h1>400 Bad Request</h1></center>\r\n<hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n"sv,
     true},
};

}  // namespace trunkline::test
