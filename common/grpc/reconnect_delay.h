// The jittered delay before a client of the controller opens its stream again. Externally
// synchronized.
#pragma once

#include <random>

#include "common/base/random.h"
#include "common/grpc/controller_channel.h"

namespace trunkline {

class ReconnectDelay {
 public:
  absl::Duration Next() { return backoff_.Next(random_.Uniform()); }
  // Makes the next delay the shortest one again, after a stream that worked.
  void Reset() { backoff_.Reset(); }

 private:
  Backoff backoff_{kReconnectBackoff};
  FastRandom random_{std::random_device{}()};
};

}  // namespace trunkline
