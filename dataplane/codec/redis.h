// Redis, RESP2 and RESP3: commands of many clients on few connections.
//
// Each command has one reply, in order. A client gets a connection of its own if it sends a command
// that changes or needs the connection's state or blocks it (the table in redis_commands.cc), a
// request too large to be buffered, or an inline command with quotes. Shared connections therefore
// speak RESP2, because HELLO is in that table. The proxy itself answers what concerns the client's
// connection only and changes nothing there: QUIT, CLIENT SETINFO, CLIENT SETNAME and CLIENT
// TRACKING OFF.
//
// Commands that read, or write given values to given places, are repeatable; INCR, LPUSH or EVAL
// are not.
//
// The codec knows commands by their original names. If the server uses `rename-command`, clients
// must not use the new names of commands in the table.
//
// Codec: immutable, thread-safe; its parsers need not be destroyed before it.
#pragma once

#include <cstddef>
#include <memory>

#include "dataplane/codec/codec.h"

namespace trunkline {

struct RedisOptions {
  // Bound on a buffered request, in bytes on the wire. A larger request is streamed, not refused.
  size_t max_request_bytes = 64 * 1024;
};

std::unique_ptr<Codec> NewRedisCodec(RedisOptions options);

}  // namespace trunkline
