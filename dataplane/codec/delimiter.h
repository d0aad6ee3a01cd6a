// Messages that end with fixed bytes: lines of text, records that end with NUL, frames that end
// with ETX.
//
// The delimiter belongs to the message, so nothing is stripped, and a delimiter alone is a message.
// It may arrive in any number of pieces. The parser remembers the length of a partial match and
// reads no byte twice (Knuth, Morris, Pratt, "Fast Pattern Matching in Strings", SIAM J. Comput. 6,
// 1977); without a partial match, memchr searches for the first byte.
//
// Requests and replies have the same framing, each request has one reply, and a reply is one
// message; or no message has a reply (`one_way`: syslog, Graphite, GELF). The codec knows no quotes
// or escapes. If only some requests of a protocol are like that (memcached's `incr`, but neither
// its `set` with a line of data behind it nor its `quit`), the configuration lists their prefixes.
// A client that sends any other request gets a connection of its own, because an extra reply would
// shift the replies of all other clients.
//
// Codec: immutable, thread-safe; its parsers need not be destroyed before it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "dataplane/codec/codec.h"
#include "dataplane/codec/message_limit.h"

namespace trunkline {

// Delimiters of known protocols have 1 to 5 bytes; each parser has a copy.
constexpr size_t kMaxDelimiterBytes = 16;
// Bound on a prefix of shared_prefixes, far above the length of command names; each request parser
// remembers as many bytes of its message.
constexpr size_t kMaxSharedPrefixBytes = 32;

constexpr std::string_view kNoDelimiterFault = "it reaches max_message_bytes without its delimiter";

struct DelimiterOptions {
  // 1 to kMaxDelimiterBytes bytes of any value.
  std::string delimiter;
  // Bound on a message with its delimiter. A message that reaches it without an end is refused.
  uint64_t max_message_bytes = kDefaultMaxMessageBytes;
  // Only requests with one of these prefixes share connections; all do if there is none.
  std::vector<std::string> shared_prefixes = {};
  // No message has a reply. Not with shared_prefixes.
  bool one_way = false;
};

// Returns INVALID_ARGUMENT with the option, the expected and the actual value.
absl::StatusOr<std::unique_ptr<Codec>> NewDelimiterCodec(const DelimiterOptions& options);

}  // namespace trunkline
