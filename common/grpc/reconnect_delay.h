// The jittered delay before a client of the controller opens its stream again.
//
// After a stream that lasted, the first delay is nearly none and some more are short: an orderly
// restart or a reload of the controller takes about a second, and clients may be waiting for what
// its agents announce. Then the delays grow, as they do after streams that the controller ends
// soon. Externally synchronized.
#pragma once

#include <random>

#include "common/base/random.h"
#include "common/grpc/controller_channel.h"

namespace trunkline {

class ReconnectDelay {
 public:
  // A stream that lasted this long worked.
  static constexpr absl::Duration kStableStream = absl::Seconds(10);
  // Bounds the first delay after it; spreads the agents of a large fleet.
  static constexpr absl::Duration kAtOnce = absl::Milliseconds(100);
  // Delays of the initial length that follow it: two seconds.
  static constexpr int kShortDelays = 10;

  explicit ReconnectDelay(uint64_t seed = std::random_device{}()) : random_(seed) {}

  absl::Duration Next() {
    const double uniform = random_.Uniform();
    if (at_once_) {
      at_once_ = false;
      return kAtOnce * uniform;
    }
    if (short_left_ > 0) {
      --short_left_;
      backoff_.Reset();
    }
    return backoff_.Next(uniform);
  }
  // The controller answered: the next delay has the initial length.
  void Reset() { backoff_.Reset(); }
  // A stream ended after this time.
  void OnStreamEnd(absl::Duration lasted) {
    if (lasted < kStableStream) return;
    at_once_ = true;
    short_left_ = kShortDelays;
  }

 private:
  Backoff backoff_{kReconnectBackoff};
  FastRandom random_;
  bool at_once_ = false;
  int short_left_ = 0;
};

}  // namespace trunkline
