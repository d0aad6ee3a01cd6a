// Exponential backoff between retries, capped and jittered. The jitter applies at the cap as well,
// so that a thousand peers of a restarted process do not return in step. Pure: the caller supplies
// the random draw. Externally synchronized.
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

  // Returns the next wait, base * [0.5, 1.0), and increases the base. `uniform` is in [0, 1).
  absl::Duration Next(double uniform);
  // Restarts at the initial wait, after a success that lasted.
  void Reset() { base_ = options_.initial; }

 private:
  Options options_;
  absl::Duration base_;
};

}  // namespace trunkline
