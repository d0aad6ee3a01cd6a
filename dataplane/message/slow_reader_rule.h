// Decides how a flow treats its server while its client takes replies more slowly than they come.
//
// A client that reads is never reset for being slow. Up to 256 KiB of its replies are buffered;
// above, the server is not read (backpressure), unless other clients wait for replies behind this
// one on the same connection. For them the server is read on, and the replies are buffered as long
// as memory lasts. When memory is short, they wait for the slow client. Where a connection carries
// one request at a time, no other client waits behind this one, only for its place in the pool.
//
// A client that has stalled while others wait is reset. Stalled means the same as in
// dataplane/memory/memory_rule.h.
//
// Pure. Sizes in bytes.
#pragma once

#include <cstddef>

#include "absl/time/time.h"
#include "dataplane/memory/memory_rule.h"

namespace trunkline {

struct SlowReader {
  size_t buffered_bytes = 0;  // replies that the client has not taken
  absl::Duration age;         // how long the oldest of them has waited
  bool others_wait = false;   // for replies behind this client's, or for its connection
  bool one_at_a_time = false;
  bool memory_short = false;  // buffers must not grow
};

enum class SlowReaderAction {
  kReadOn,  // buffer what the server sends
  kPause,   // do not read the server
  kReset,
};

// Buffered replies above which a client holds up its connection.
inline constexpr size_t kHoldsUpBytes = 256 * 1024;

inline SlowReaderAction ActionFor(const SlowReader& reader) {
  if (reader.buffered_bytes <= kHoldsUpBytes) return SlowReaderAction::kReadOn;
  if (!reader.others_wait) return SlowReaderAction::kPause;
  if (reader.age >= kStalledAfter) return SlowReaderAction::kReset;
  const bool buffers_on = !reader.one_at_a_time && !reader.memory_short;
  return buffers_on ? SlowReaderAction::kReadOn : SlowReaderAction::kPause;
}

}  // namespace trunkline
