// Redis, RESP2 and RESP3: commands of many clients on few connections.
//
// Each command has one reply, in order. A client gets a connection of its own if it sends a command
// that changes or needs the connection's state or blocks it (the table in redis_commands.cc), a
// request too large to be buffered, or an inline command with quotes. The proxy itself answers what
// concerns the client's connection only and changes nothing there: QUIT, CLIENT SETINFO, CLIENT
// SETNAME and CLIENT TRACKING OFF.
//
// A shared connection speaks RESP2 or RESP3, its variant. HELLO moves a client to connections of
// the version that it names; the server's own reply to HELLO comes from there.
//
// With a credential, the proxy opens every connection with it and checks what clients give in AUTH
// and HELLO. Without one, AUTH gives a client a dedicated connection.
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
#include <optional>

#include "dataplane/codec/codec.h"
#include "dataplane/codec/redis_introduction.h"

namespace trunkline {

struct RedisOptions {
  // Bound on a buffered request, in bytes on the wire. A larger request is streamed, not refused.
  size_t max_request_bytes = 64 * 1024;
  std::optional<RedisCredential> credential = std::nullopt;
};

std::unique_ptr<Codec> NewRedisCodec(RedisOptions options);

}  // namespace trunkline
