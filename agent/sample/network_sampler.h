// The host's network: bytes through one interface, its speed, and connections that listening
// sockets dropped. Edge: reads files. Externally synchronized.
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
  // `files` outlives the sampler. Empty `interface`: the one of the default route. 0
  // `bits_per_second`: the kernel's word.
  NetworkSampler(const SystemFiles& files, std::string interface, uint64_t bits_per_second);

  void Sample(MonotonicTime now);

  // Both directions.
  double BytesPerSecond(absl::Duration window) const;
  // The busier direction over the link's speed (links are duplex); 0 when the speed is unknown.
  double Utilization(absl::Duration window) const;
  // Of the whole network namespace.
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
