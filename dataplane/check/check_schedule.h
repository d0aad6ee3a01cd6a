// When the checks of one endpoint begin, from the start of one to the start of the next.
//
// The first checks of many endpoints come soon after each other; the second ones are spread over
// the interval. Each later wait is longer or shorter than the interval by up to the jitter, so that
// proxies which started together do not go on checking together.
//
// Externally synchronized.
#pragma once

#include <cstdint>
#include <utility>

#include "absl/time/time.h"
#include "common/base/random.h"

namespace trunkline {

class CheckSchedule {
 public:
  explicit CheckSchedule(uint64_t random_seed) : random_(random_seed) {}

  // Returns the next wait. `jitter` is a share of `interval`.
  absl::Duration Next(absl::Duration interval, double jitter) {
    if (!std::exchange(spread_, true)) return interval * random_.Uniform();
    return interval * (1 + jitter * (2 * random_.Uniform() - 1));
  }

 private:
  FastRandom random_;
  bool spread_ = false;  // the endpoint has its place in the interval
};

}  // namespace trunkline
