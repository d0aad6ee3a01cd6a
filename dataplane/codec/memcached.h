// memcached: the text protocol with its meta commands, for many clients on few connections.
//
// Each command has one reply, in order. Only commands on data share connections, and only in the
// exact form that protocol.txt of memcached 1.6 gives them (memcached_command.h). Any other line
// gives its client a connection of its own: commands about a connection or one server (`stats`,
// `watch`, `lru`, `shutdown` ...), unknown ones, malformed ones, the binary protocol, and requests
// too large to be buffered. The proxy answers `quit` itself: the client's connection closes, the
// shared one stays.
//
// A command with `noreply` or the meta flag `q` has a reply only if something goes wrong, so
// requests and replies would not match one to one. Therefore the option is blanked, the server
// always replies, and the client gets only what memcached 1.6 would have sent: nothing for
// `noreply`, and for `q` everything but EN of mg, HD of ms and md, HD and VA of ma. (Of ma with q
// and N, memcached hides a changed counter and shows a new one, which only it can tell apart: such
// a line is not shared.)
//
// A server that refuses a command with a data block may take the block for commands, so a shared
// connection closes after such a reply.
//
// Commands that read, or write given values to given keys, are repeatable; incr, append, add, cas
// and flush_all are not.
//
// The codec knows no authentication (memcached's -Y): the first client would authenticate a shared
// connection for all others.
//
// Codec: immutable, thread-safe; its parsers need not be destroyed before it.
#pragma once

#include <cstddef>
#include <memory>

#include "dataplane/codec/codec.h"

namespace trunkline {

struct MemcachedOptions {
  // Bound on a buffered request, line and data block, in bytes on the wire. A larger request is
  // streamed, not refused.
  size_t max_request_bytes = 64 * 1024;
};

std::unique_ptr<Codec> NewMemcachedCodec(MemcachedOptions options);

}  // namespace trunkline
