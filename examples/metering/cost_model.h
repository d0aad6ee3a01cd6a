// The CPU time that a reading costs the server, with a settable spread and tail, since unequal
// costs are what make load balancing hard.
//
// The cost is a function of the reading and a seed: a reading costs the same on every server and
// resend, so two runs with different balancing do exactly the same work. Pure, except BurnCpu.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "examples/metering/metering.pb.h"

namespace trunkline::metering {

struct CostModel {
  // The cost is uniform between these.
  absl::Duration min = absl::ZeroDuration();
  absl::Duration max = absl::ZeroDuration();
  // Uploads cost this many times as much.
  double upload_factor = 10;
  // This share of the readings costs `tail` instead.
  double tail_share = 0;
  absl::Duration tail = absl::ZeroDuration();
  uint64_t seed = 1;

  bool free() const { return max == absl::ZeroDuration() && tail_share == 0; }
};

// Parses "0.5ms-2ms", "1ms" or "0" into min and max.
absl::Status ParseCost(const std::string& text, CostModel* model);
// Parses "1%:50ms" into tail_share and tail; "" means no tail.
absl::Status ParseTail(const std::string& text, CostModel* model);

absl::Duration CostOf(const CostModel& model, const Reading& reading);

// Computes on the calling thread until it has used `cost` of CPU time. Time in which the thread
// waits or its cgroup is throttled does not count.
void BurnCpu(absl::Duration cost);

}  // namespace trunkline::metering
