// How long one attempt to connect to a server may last, in `direct` and `message` mode. In `tunnel`
// mode the agent connects and has a timeout of its own.
#pragma once

#include "absl/time/time.h"

namespace trunkline {

// Returns the part of `left`, the time until a client is given up, that one attempt gets. An
// address or endpoint that does not answer leaves time for two `alternatives` if there are any. The
// part is above a second with the default timeout, so that a lost SYN is sent again before its end.
inline absl::Duration AttemptTime(absl::Duration left, bool alternatives) {
  constexpr double kPart = 0.4;
  return alternatives ? left * kPart : left;
}

}  // namespace trunkline
