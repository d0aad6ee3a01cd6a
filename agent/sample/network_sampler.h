// Samples the host's network: bytes through one interface, its speed, and connections dropped by
// full accept queues. Edge: reads files. Externally synchronized.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "agent/sample/rate_window.h"
#include "common/base/clock.h"
#include "common/base/system_files.h"

namespace trunkline {

class NetworkSampler {
 public:
  // `files` outlives the sampler. An empty `interface` selects that of the default route, of IPv4
  // if it has one, else of IPv6, and follows it as routes change. 0 `bits_per_second` selects the
  // speed that the kernel states.
  NetworkSampler(const SystemFiles& files, std::string interface, uint64_t bits_per_second);

  // Returns a sentence for the log when the interface changes or stops being readable.
  std::optional<std::string> Sample(MonotonicTime now);

  // These return nothing while the value is unknown: until its source was read twice, or if it
  // cannot be read.
  //
  // The sum of both directions.
  std::optional<double> BytesPerSecond(absl::Duration window) const;
  // The busier direction over the link speed, since links are duplex; also unknown without a speed.
  std::optional<double> Utilization(absl::Duration window) const;
  // Covers the whole network namespace.
  std::optional<double> AcceptOverflowsPerSecond(absl::Duration window) const;

  const std::string& interface() const { return interface_; }
  uint64_t bits_per_second() const { return bits_per_second_; }
  // Why the throughput is unknown; empty if it is known.
  const std::string& error() const { return error_; }

 private:
  // Takes the interface of the default route, unless one is configured.
  void FollowRoutes();
  // Returns why the counters cannot be read, or OK.
  absl::Status SampleInterface(MonotonicTime now);

  const SystemFiles& files_;
  const bool follows_routes_;
  const uint64_t configured_bits_per_second_;
  std::string interface_;
  uint64_t bits_per_second_ = 0;
  std::string error_;
  RateWindow received_;
  RateWindow sent_;
  RateWindow overflows_;
};

}  // namespace trunkline
