// Samples the host's network: bytes through one interface, its speed, and connections dropped by
// full accept queues. Edge: reads files. Externally synchronized.
#pragma once

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "agent/sample/rate_window.h"
#include "common/base/clock.h"
#include "common/base/system_files.h"

namespace trunkline {

class NetworkSampler {
 public:
  // `files` outlives the sampler. An empty `interface` selects that of the default route, and 0
  // `bits_per_second` the speed that the kernel states.
  NetworkSampler(const SystemFiles& files, std::string interface, uint64_t bits_per_second);

  void Sample(MonotonicTime now);

  // The sum of both directions.
  double BytesPerSecond(absl::Duration window) const;
  // The busier direction over the link speed, since links are duplex; 0 if the speed is unknown.
  double Utilization(absl::Duration window) const;
  // Covers the whole network namespace.
  double AcceptOverflowsPerSecond(absl::Duration window) const;

  const std::string& interface() const { return interface_; }
  uint64_t bits_per_second() const { return bits_per_second_; }

 private:
  const SystemFiles& files_;
  std::string interface_;
  uint64_t bits_per_second_;
  RateWindow received_;
  RateWindow sent_;
  RateWindow overflows_;
};

}  // namespace trunkline
