// How long to wait before trying again: exponential, capped, jittered after the cap as well, so
// that a thousand peers of one restarted process do not come back in step. Pure: the random draw is
// the caller's. Externally synchronized.
#pragma once

#include "absl/time/time.h"

namespace trunkline {

class Backoff {
 public:
  struct Options {
    absl::Duration initial = absl::Milliseconds(100);
    absl::Duration max = absl::Seconds(30);
    double factor = 2.0;
  };

  explicit Backoff(Options options) : options_(options), base_(options.initial) {}

  // The next wait: base * [0.5, 1.0), then the base grows. `uniform` in [0, 1).
  absl::Duration Next(double uniform);
  // After a success that lasted.
  void Reset() { base_ = options_.initial; }

 private:
  Options options_;
  absl::Duration base_;
};

}  // namespace trunkline
