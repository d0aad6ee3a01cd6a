// The mean time until the answers of each endpoint begin, as one worker sees it, for policy
// least_time.
//
// A mean weights answers by age, with a time constant of 1 s. An endpoint without answers drifts to
// the mean of all, so one that was slow is tried again.
//
// Pure: takes `now`, no clock. Externally synchronized.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "absl/time/time.h"
#include "common/base/clock.h"

namespace trunkline {

class AnswerTimes {
 public:
  static constexpr absl::Duration kMemory = absl::Seconds(1);
  static constexpr absl::Duration kDrift = absl::Seconds(10);

  // Takes another list of endpoints. `kept[i]` is the old index of endpoint i, or SIZE_MAX for a
  // new one.
  void SetEndpoints(std::span<const size_t> kept);
  void OnAnswer(size_t i, absl::Duration time, MonotonicTime now);
  // Moves the endpoints without answers toward the mean of all. O(n); to be called some times per
  // second.
  void Drift(MonotonicTime now);

  // Returns a time in seconds: of the endpoint, or the mean of all while it has none, or 1 while no
  // endpoint has any.
  double Seconds(size_t i) const;

 private:
  struct Mean {
    double seconds = 0;
    bool known = false;
    MonotonicTime answered_at;
  };

  std::vector<Mean> means_;
  double all_ = 0;  // 0 while none is known
  MonotonicTime drifted_at_;
};

}  // namespace trunkline
