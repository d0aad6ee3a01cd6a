// Redis, RESP2 and RESP3: commands of many clients on few connections.
//
// Each command has one reply, in order. What a shared connection cannot carry goes to a connection
// of its own, with the client that sent it: commands that change or need the connection's state or
// block it (the table in redis_commands.cc), requests too large to be held, and inline commands
// with quotes. Clients therefore speak RESP2 on shared connections: HELLO is among those commands.
//
// It knows commands by the names that Redis gives them: with `rename-command` on the server,
// clients must not use new names of the commands in the table.
//
// Codec: immutable, thread-safe; its parsers need not be destroyed before it.
#pragma once

#include <cstddef>
#include <memory>

#include "dataplane/codec/codec.h"

namespace trunkline {

struct RedisOptions {
  // The whole request as it is on the wire. A larger one is not refused: it is streamed.
  size_t max_request_bytes = 64 * 1024;
};

std::unique_ptr<Codec> NewRedisCodec(RedisOptions options);

}  // namespace trunkline
