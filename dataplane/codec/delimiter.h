// Messages that end with fixed bytes: lines of text, records that end with NUL, frames that end
// with ETX.
//
// The delimiter belongs to the message, so nothing is stripped, and a delimiter alone is a message.
// It may arrive in any number of pieces: what has matched of it so far is remembered, and no byte
// is looked at twice (Knuth, Morris, Pratt, "Fast Pattern Matching in Strings", SIAM J. Comput. 6,
// 1977); where nothing has matched, memchr looks for its first byte.
//
// Requests and replies have the same framing, each request has one reply, and a reply is one
// message. It does not know quotes or escapes. Where that holds for some requests only (memcached's
// `incr`, but neither its `set` with a line of data behind it nor its `quit`), these are named by
// how they begin; a client that asks for anything else gets a connection of its own, or it would
// shift the replies of all others.
//
// Codec: immutable, thread-safe; its parsers need not be destroyed before it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "dataplane/codec/codec.h"
#include "dataplane/codec/message_limit.h"

namespace trunkline {

// Delimiters of known protocols have 1 to 5 bytes; each parser holds a copy.
constexpr size_t kMaxDelimiterBytes = 16;
// Of one of shared_prefixes: longer than names of commands are; each parser of requests remembers
// as much of its message.
constexpr size_t kMaxSharedPrefixBytes = 32;

struct DelimiterOptions {
  // 1 to kMaxDelimiterBytes bytes of any value.
  std::string delimiter;
  // The whole message, delimiter and all. One that has as many bytes and no end is refused.
  uint64_t max_message_bytes = kDefaultMaxMessageBytes;
  // Requests that begin with one of them share connections, others do not. Empty: all do.
  std::vector<std::string> shared_prefixes = {};
};

// INVALID_ARGUMENT names the option, what was expected and what came.
absl::StatusOr<std::unique_ptr<Codec>> NewDelimiterCodec(const DelimiterOptions& options);

}  // namespace trunkline
