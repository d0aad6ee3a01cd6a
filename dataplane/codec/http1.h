// HTTP/1.0 and 1.1 (RFC 9112): requests of many clients on kept-alive connections, one request at a
// time on each.
//
// What a shared connection cannot carry goes to a connection of its own: CONNECT, and requests with
// an Upgrade field. A request that is too large to be held, or whose body waits for a 100, is
// streamed: its connection is lent to it anyway. A client that asks for its connection to be closed
// has the word blanked, so that the server keeps the shared one; a request of HTTP/1.0 cannot be
// turned into one of 1.1 that way, and the server may close after its reply.
//
// Its reply says "close" instead (http1_reply.h). Nothing else of a message changes, and no field
// decides where it goes.
//
// Codec: immutable, thread-safe; its parsers need not be destroyed before it.
#pragma once

#include <cstddef>
#include <memory>

#include "dataplane/codec/codec.h"

namespace trunkline {

struct Http1Options {
  // Head and body as they are on the wire. A larger request is not refused, but streamed; its head
  // has a bound of its own, kMaxHttp1RequestHeadBytes.
  size_t max_request_bytes = 64 * 1024;
};

std::unique_ptr<Codec> NewHttp1Codec(Http1Options options);

}  // namespace trunkline
