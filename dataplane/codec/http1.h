// HTTP/1.0 and 1.1 (RFC 9112): requests of many clients on keep-alive connections, one request at a
// time on each.
//
// A client gets a connection of its own for CONNECT and for requests with an Upgrade field. A
// request that is too large to be buffered, or whose body waits for a 100, is streamed, because it
// has the shared connection to itself anyway. If a client asks for its connection to be closed, the
// token "close" is blanked, so that the server keeps the shared connection; the reply to the client
// carries "close" instead (http1_reply.h). A server may still close after a request of HTTP/1.0,
// which blanking cannot turn into one of 1.1.
//
// Nothing else of a message changes, and no field influences routing.
//
// Only requests with a method that RFC 9110 9.2.2 defines as idempotent are repeatable: GET, HEAD,
// PUT, DELETE, OPTIONS, TRACE, and those that the configuration adds.
//
// Codec: immutable, thread-safe; its parsers need not be destroyed before it.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/codec/codec.h"

namespace trunkline {

struct Http1Options {
  // Bound on a buffered request, head and body, in bytes on the wire. A larger request is streamed,
  // not refused; its head is bounded by kMaxHttp1RequestHeadBytes.
  size_t max_request_bytes = 64 * 1024;
  // More methods whose requests are repeatable: tokens of at most kMaxHttp1MethodBytes.
  std::vector<std::string> idempotent_methods = {};
};

std::unique_ptr<Codec> NewHttp1Codec(Http1Options options);

}  // namespace trunkline
