// How much CPU a reading costs the server: what makes a load balancer's life hard, made settable.
//
// The cost is a function of the reading and a seed, not a draw: the same reading costs the same on
// any server and on every resend, so two runs with different balancing carry exactly the same work.
// Pure, except BurnCpu.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "examples/metering/metering.pb.h"

namespace trunkline::metering {

struct CostModel {
  // Uniform between these.
  absl::Duration min = absl::ZeroDuration();
  absl::Duration max = absl::ZeroDuration();
  // Uploads cost this many times as much.
  double upload_factor = 10;
  // A share of the readings costs this instead.
  double tail_share = 0;
  absl::Duration tail = absl::ZeroDuration();
  uint64_t seed = 1;

  bool free() const { return max == absl::ZeroDuration() && tail_share == 0; }
};

// "0.5ms-2ms", "1ms" or "0" into min and max.
absl::Status ParseCost(const std::string& text, CostModel* model);
// "1%:50ms" into tail_share and tail; "" is none.
absl::Status ParseTail(const std::string& text, CostModel* model);

absl::Duration CostOf(const CostModel& model, const Reading& reading);

// Keeps the calling thread computing until it has used `cost` of CPU time: time in which the thread
// waits, or its cgroup is throttled, does not count.
void BurnCpu(absl::Duration cost);

}  // namespace trunkline::metering
